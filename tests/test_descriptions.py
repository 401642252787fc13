"""Segments in words: what is told of each, and the names proposed."""

import numpy as np
import pytest
from builders import summarise_segments

from kmstream.config import FeaturesConfig
from kmstream.descriptions import Contrast, contrast_segments, describe_segments, suggest_names
from kmstream.features import Scaling
from kmstream.summary import ClusterSummary


def contrast(names, average, sd, means, *, n_numeric=None, shares=None):
    """A contrast whose z are (mean - average) / sd, as they are without log1p."""
    means, average = np.array(means, dtype=float), np.array(average, dtype=float)
    n_numeric = sum("=" not in name for name in names) if n_numeric is None else n_numeric
    shares = np.full(len(means), 1 / len(means)) if shares is None else np.array(shares)
    return Contrast(tuple(names), n_numeric, means, average, (means - average) / np.array(sd, dtype=float), shares)


def one(mean, average, sd, *, name="x", others=()):
    """What is said of a segment in one feature."""
    means = [[mean], *([other] for other in others or [average])]
    return describe_segments(contrast([name], [average], [sd], means))[0]


CUSTOMERS = contrast(
    ["recency_days", "frequency", "monetary"],
    [92.0, 2.2, 612.0],
    [100.0, 3.0, 850.0],
    [[12.0, 6.5, 1905.0], [240.0, 1.1, 205.0], [85.0, 2.1, 600.0], [30.0, 20.0, 9180.0]],
)
FLIGHTS = contrast(
    ["dep_delay", "arr_delay", "distance", "hour"],
    [12.4, 6.8, 1045.0, 13.1],
    [40.0, 44.0, 735.0, 4.7],
    [[206.0, 206.0, 990.0, 15.0], [75.0, 77.0, 900.0, 15.5], [1.0, -8.0, 2500.0, 11.5], [-1.0, -9.0, 690.0, 8.6]],
)
SHOPS = contrast(
    ["basket", "channel=phone", "channel=store", "channel=web", "payment=credit card", "payment=invoice"],
    [40.0, 0.2, 0.5, 0.3, 0.7, 0.3],
    [20.0, 0.4, 0.5, 0.46, 0.46, 0.46],
    [
        [40.0, 0.02, 0.0, 0.98, 0.72, 0.28],
        [41.0, 0.2, 0.8, 0.0, 0.68, 0.32],
        [39.0, 0.45, 0.3, 0.25, 0.02, 0.98],
        [40.0, 0.0, 0.6, 0.4, 1.0, 0.0],
    ],
)


def test_customers_are_described_in_their_units():
    assert describe_segments(CUSTOMERS) == (
        "monetary 3.1 times the average (1,905 against 612), frequency 3 times (6.5 against 2.2), "
        "recency_days an eighth of it",
        "recency_days 2.6 times the average (240 against 92), monetary a third of it (205 against 612), "
        "frequency half of it",
        "close to the average in everything",
        "monetary 15 times the average (9,180 against 612), frequency 9.1 times (20 against 2.2), "
        "recency_days a third of it",
    )


def test_customers_get_names_that_tell_them_apart():
    assert suggest_names(CUSTOMERS) == (
        "very-high-monetary-high-frequency",
        "high-recency_days",
        "average",
        "very-high-monetary-very-high-frequency",
    )


def test_flights_early_or_late_have_no_ratio_of_delays():
    assert describe_segments(FLIGHTS) == (
        "dep_delay far above the average (206 against 12.4), arr_delay far above it (206 against 6.8), "
        "hour a little above it",
        "arr_delay far above the average (77 against 6.8), dep_delay far above it (75 against 12.4), "
        "hour a little above it",
        "distance 2.4 times the average (2,500 against 1,045), hour a little below it (11.5 against 13.1)",
        "hour below the average (8.6 against 13.1), distance two thirds of it (690 against 1,045), "
        "arr_delay a little below it",
    )


def test_of_two_delayed_segments_the_less_delayed_is_told_by_its_rank():
    names = ("very-high-dep_delay", "second-highest-arr_delay", "very-high-distance", "low-hour")
    assert suggest_names(FLIGHTS) == names


def test_categories_are_described_by_what_is_frequent():
    assert describe_segments(SHOPS) == (
        "almost only channel=web (98 % against 30 % overall)",
        "mostly channel=store (80 % against 50 % overall)",
        "almost only payment=invoice (98 % against 30 % overall), more often channel=phone (45 % against 20 % overall)",
        "only payment=credit card (100 % against 70 % overall), never channel=phone (0 % against 20 % overall)",
    )


def test_categories_name_segments_with_hyphens_for_blanks():
    assert suggest_names(SHOPS) == ("channel-web", "channel-store", "payment-invoice", "payment-credit-card")
    more = contrast(["c=a", "c=b"], [0.2, 0.8], [0.4, 10.0], [[0.4, 0.6], [0.19, 0.81], [0.5, 0.6]])
    assert suggest_names(more) == ("more-c-a", "average", "c-a")
    rare = contrast(["c=a", "c=b"], [0.5, 0.5], [0.5, 1.0], [[0.05, 0.6], [0.3, 0.6]])
    assert suggest_names(rare) == ("rarely-c-a", "less-c-a")


@pytest.mark.parametrize(
    ("mean", "average", "sd", "text"),
    [
        (300.0, 100.0, 100.0, "x 3 times the average (300 against 100)"),
        (150.0, 100.0, 50.0, "x 1.5 times the average (150 against 100)"),  # as wide a spread as ratios take
        (160.0, 100.0, 200.0, "x 1.6 times the average (160 against 100)"),  # as far off as is told
        (1040.0, 100.0, 1000.0, "x 10 times the average (1,040 against 100)"),
        (149.0, 100.0, 100.0, "x a little above the average (149 against 100)"),
        (1000.0, 10.0, 100.0, "x 100 times the average (1,000 against 10)"),
        (1234.0, 10.0, 100.0, "x over 100 times the average (1,234 against 10)"),
        (67.0, 100.0, 60.0, "x two thirds of the average (67 against 100)"),
        (4.0, 7.0, 6.0, "x half of the average (4 against 7)"),
        (50.0, 100.0, 100.0, "x half of the average (50 against 100)"),
        (10.0, 100.0, 100.0, "x a tenth of the average (10 against 100)"),
        (2.0, 21.0, 20.0, "x under a tenth of the average (2 against 21)"),
        (0.0, 100.0, 100.0, "x below the average (0 against 100)"),
        (1.6, 1.0, 0.2, "x far above the average (1.6 against 1)"),  # a spread too narrow for ratios
        (-3.0, 2.0, 10.0, "x a little below the average (-3 against 2)"),
        (5.0, -2.0, 7.0, "x above the average (5 against -2)"),
        (1e-17, 1.0, 1.0, "x under a tenth of the average (0 against 1)"),
        (2011.2, 2010.9, 0.5, "x a little above the average (2,011.2 against 2,010.9)"),
        (999.6, 1009.6, 20.0, "x a little below the average (1,000 against 1,010)"),
        (2e15, 1e15, 1e15, "x 2 times the average (2.00e+15 against 1.00e+15)"),
        (3e300, 1e300, 1e300, "x 3 times the average (3.00e+300 against 1.00e+300)"),
        (2e-9, 1e-9, 1e-9, "x 2 times the average (2e-09 against 1e-09)"),
        (1.00001e-9, 1e-9, 5e-15, "x far above the average"),  # no figure would show it
        (1.0000003, 1.0000001, 5e-8, "x far above the average"),  # nor would six decimals
        (1.2, 1.0, 1.0, "close to the average in everything"),
    ],
)
def test_the_words_follow_the_distance_and_the_size(mean, average, sd, text):
    assert one(mean, average, sd) == text


@pytest.mark.parametrize(
    ("share", "average", "text"),
    [
        (0.5, 0.3, "mostly c=a (50 % against 30 % overall)"),
        (0.49, 0.3, "more often c=a (49 % against 30 % overall)"),
        (0.95, 0.7, "almost only c=a (95 % against 70 % overall)"),
        (0.9432, 0.7, "more often c=a (94.3 % against 70 % overall)"),
        (0.3, 0.6, "less often c=a (30 % against 60 % overall)"),
        (0.1234, 0.6, "less often c=a (12 % against 60 % overall)"),
        (0.0567, 0.6, "less often c=a (5.7 % against 60 % overall)"),
        (0.05, 0.6, "hardly ever c=a (5 % against 60 % overall)"),
        (0.0005, 0.6, "hardly ever c=a (0.1 % against 60 % overall)"),
        (0.9995, 0.7, "almost only c=a (over 99.9 % against 70 % overall)"),
        (0.35, 0.3, "close to the average in everything"),
    ],
)
def test_the_words_of_a_category_follow_its_share(share, average, text):
    assert describe_segments(contrast(["c=a"], [average], [0.25], [[share], [average]]))[0] == text


def test_figures_that_say_nothing_are_left_out():
    found = Contrast(
        ("x",), 1, np.array([[np.inf], [0.0]]), np.array([0.0]), np.array([[2.0], [-1.0]]), np.full(2, 0.5)
    )
    assert describe_segments(found)[0] == "x far above the average"


def test_a_negative_mean_of_any_segment_rules_out_ratios():
    assert one(300.0, 100.0, 100.0, others=[-5.0]) == "x far above the average (300 against 100)"
    assert one(300.0, 100.0, 100.0, others=[0.0]) == "x 3 times the average (300 against 100)"
    assert one(3e6, 1e6, 1e6, others=[-1e-5]) == "x 3 times the average (3,000,000 against 1,000,000)"  # rounding


def test_the_first_feature_is_told_whatever_its_length():
    told = one(300.0, 100.0, 100.0, name="x" * 200)
    assert told == f"{'x' * 200} 3 times the average (300 against 100)"


def test_the_second_feature_is_told_with_its_figures_up_to_120_characters():
    for name, figures in (("y" * 54, " (2 against 0)"), ("y" * 55, "")):
        found = contrast(["x", name], [0.0, 0.0], [1.0, 1.0], [[3.0, 2.0], [-3.0, -2.0]])
        assert describe_segments(found)[0] == f"x far above the average (3 against 0), {name} far above it{figures}"


def test_a_name_with_line_ends_stays_on_one_line():
    found = contrast(["annual\n income (k$)"], [10.0], [1.0], [[12.0], [8.0]])
    assert describe_segments(found)[0] == "annual income (k$) far above the average (12 against 10)"
    assert suggest_names(found) == ("very-high-annual-income-(k$)", "very-low-annual-income-(k$)")


def test_the_smallest_and_the_largest_shares_are_not_rounded_away():
    found = contrast(["c=a", "c=b"], [0.5, 0.0001], [0.5, 0.01], [[0.9999, 0.02], [0.0001, 0.0]])
    assert describe_segments(found) == (
        "more often c=b (2 % against under 0.1 % overall), almost only c=a (over 99.9 % against 50 % overall)",
        "hardly ever c=a (under 0.1 % against 50 % overall)",
    )


def test_one_segment_is_all_rows_and_an_empty_one_has_none():
    alone = contrast(["x"], [1.0], [1.0], [[1.0]])
    assert (describe_segments(alone), suggest_names(alone)) == (("all rows",), ("all-rows",))
    missing = contrast(["x"], [1.0], [1.0], [[1.0], [np.nan], [9.0]], shares=[1.0, 0.0, 0.0])
    assert describe_segments(missing) == ("all rows", "no rows", "no rows")
    assert suggest_names(missing) == ("all-rows", "no-rows", "no-rows-2")
    nothing = contrast(["x"], [np.nan], [1.0], [[np.nan], [np.nan]], shares=[0.0, 0.0])
    assert describe_segments(nothing) == ("no rows", "no rows")


def test_the_mean_of_an_empty_segment_changes_no_name_of_another():
    found = contrast(["x"], [0.0], [1.0], [[1.0], [-1.0], [-1.2]], shares=[0.5, 0.5, 0.0])
    assert suggest_names(found) == ("high-x", "low-x", "no-rows")


def test_twice_the_average_or_half_of_it_is_clear_and_too_near_to_tell_is_not():
    found = contrast(["x"], [100.0], [150.0], [[200.0], [50.0], [190.0], [52.0]])
    assert suggest_names(found) == ("high-x", "low-x", "fairly-high-x", "fairly-low-x")
    assert one(3.0, 1.0, 10.0, others=[5.0]) == "close to the average in everything"


def test_features_as_far_off_are_told_in_the_order_of_the_columns():
    names, mean = [f"x{j}" for j in range(40)], np.repeat([1.0, 2.0], 20)
    found = contrast(names, [0.0] * 40, [1.0] * 40, [mean, -mean])
    assert [text.split()[0] for text in describe_segments(found)[0].split(", ")] == names[20:23]


def test_a_category_with_an_equals_sign_belongs_to_its_feature():
    found = contrast(["c=a", "c=b=b"], [0.3, 0.7], [1.0, 0.4], [[0.6, 0.2], [0.3, 0.9]])
    assert describe_segments(found)[0] == "mostly c=a (60 % against 30 % overall)"
    assert suggest_names(found)[1] == "c-b=b"


def test_nan_in_one_feature_leaves_the_others():
    found = contrast(["x", "y"], [np.nan, 1.0], [1.0, 1.0], [[np.nan, 3.0], [1.0, 0.9]])
    assert describe_segments(found) == ("y 3 times the average (3 against 1)", "close to the average in everything")


def test_segments_told_by_the_same_words_take_in_the_next_feature():
    found = contrast(["x", "y"], [0.0, 0.0], [1.0, 1.0], [[1.0, 0.5], [1.2, -0.8], [-0.6, 0.0]])
    assert suggest_names(found) == ("high-x-fairly-high-y", "high-x-low-y", "fairly-low-x")


def test_segments_alike_in_words_are_told_by_rank_and_twins_by_a_number():
    shares = [0.2, 0.2, 0.2, 0.2, 0.05, 0.15]
    found = contrast(["x"], [0.0], [1.0], [[3.0], [2.0], [5.0], [4.0], [-1.0], [-1.0]], shares=shares)
    assert suggest_names(found)[:4] == ("third-highest-x", "4th-highest-x", "highest-x", "second-highest-x")
    assert suggest_names(found)[4:] == ("lowest-x-2", "lowest-x")  # the larger one without a number


def test_ranks_are_written_as_people_write_them():
    n = 125
    z = np.linspace(4.0, 2.0, n)[:, None]
    found = suggest_names(Contrast(("x",), 1, z, np.zeros(1), z, np.full(n, 1 / n)))
    ranks = (2, 3, 4, 11, 12, 13, 14, 21, 22, 23, 101, 111)
    shown = " ".join(found[rank - 1].removesuffix("-highest-x") for rank in ranks)
    assert found[0] == "highest-x"
    assert shown == "second third 4th 11th 12th 13th 14th 21st 22nd 23rd 101st 111th"


def test_segments_alike_in_a_category_are_told_by_who_has_most_and_least_of_it():
    found = contrast(["c=a"], [0.27], [0.3], [[0.45], [0.4], [0.1], [0.12]])
    assert suggest_names(found) == ("most-c-a", "second-most-c-a", "least-c-a", "second-least-c-a")


def test_a_segment_of_the_third_rank_is_told_by_a_feature_too_faint_for_its_description():
    found = contrast(["x", "y"], [0.0, 0.0], [1.0, 1.0], [[1.0, 0.05], [1.1, -0.1], [1.2, 0.0], [-3.3, 0.0]])
    assert suggest_names(found) == ("high-x-slightly-high-y", "second-highest-x", "highest-x", "very-low-x")
    assert describe_segments(found)[0] == "x above the average (1 against 0)"


def test_a_feature_alone_names_no_segment_where_another_is_as_far_off_in_it():
    found = contrast(["x", "y"], [0.0, 0.0], [1.0, 1.0], [[2.0, 0.4], [2.0, -3.0], [-2.0, 1.0]])
    assert suggest_names(found) == ("very-high-x-fairly-high-y", "very-low-y", "very-low-x")


def test_a_number_told_after_a_category_names_the_average_again():
    found = contrast(["x", "c=a"], [10.0, 0.3], [1.0, 0.2], [[12.0, 0.8], [9.0, 0.3]])
    assert describe_segments(found)[0] == (
        "mostly c=a (80 % against 30 % overall), x far above the average (12 against 10)"
    )


def test_a_name_used_before_is_passed_over():
    found = contrast(["x", "y"], [0.0, 0.0], [1.0, 1.0], [[2.0, 0.8], [-2.0, -0.4]])
    used = ["Very-High-x"]
    assert suggest_names(found, used)[0] == "very-high-x-high-y"
    used.append("very-high-x-high-y")
    assert suggest_names(found, used)[0] == "highest-x"
    used += ["highest-x", "highest-y"]
    assert suggest_names(found, used) == ("very-high-x-2", "very-low-x")


def test_contrast_segments_takes_logs_back_and_measures_spread_over_all_rows():
    features = FeaturesConfig(numeric=("n", "spent"), categorical=("c",), log1p=("spent",))
    scaling = Scaling(np.array([10.0, 2.0]), np.array([2.0, 0.5]), np.zeros(2), np.zeros((2, 0)), (("a", "b"),))
    summary = ClusterSummary(
        np.array([30, 10, 0]),
        np.array([[-1.0, 0.0, 1.0, 0.0], [3.0, 2.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]]),
        np.array([[30.0, 0.0, 0.0, 0.0], [10.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]),
        np.zeros(3),
        np.zeros((3, 1)),
    )
    found = contrast_segments(summary, features, scaling)
    assert (found.names, found.n_numeric) == (("n", "spent", "c=a", "c=b"), 2)
    np.testing.assert_allclose(found.shares, [0.75, 0.25, 0])
    np.testing.assert_allclose(found.average, [10, np.expm1(2.25), 0.75, 0.25])
    np.testing.assert_allclose(found.means[:2], [[8, np.expm1(2), 1, 0], [16, np.expm1(3), 0, 1]])
    np.testing.assert_allclose(found.z[0], [-0.5, -1 / np.sqrt(3), 1 / np.sqrt(3), -1 / np.sqrt(3)])


def test_contrast_segments_of_a_constant_feature_and_of_no_rows_has_no_differences():
    features = FeaturesConfig(numeric=("x",))
    scaling = Scaling(np.zeros(1), np.ones(1), np.zeros(1), np.zeros((1, 0)))
    constant = contrast_segments(summarise_segments([0.1, 0.1], [0.1]), features, scaling)
    assert describe_segments(constant) == ("close to the average in everything",) * 2
    empty = ClusterSummary.empty(2, 1)
    assert describe_segments(contrast_segments(empty, features, scaling)) == ("no rows", "no rows")
