"""The figures of drift over all rows, as people read them."""

import pytest
from builders import observe_rows

from kmstream.config import DriftConfig, Threshold
from kmstream.drift import compare
from kmstream.drift_figures import AT_A_GLANCE, FIGURES, MEASURES, tell_measures, write_figure


def test_every_figure_of_the_totals_is_told_of_in_their_order():
    observed = observe_rows([[0.0], [1.0], [10.0]], [[0.0], [10.0]], ("a", "b"))
    assert list(compare(None, observed, DriftConfig(), ["x"]).totals) == list(FIGURES)


def test_what_is_shown_at_a_glance_has_a_short_name_and_says_how_to_read_it():
    assert AT_A_GLANCE == ("share_psi", "centroid_shift_radii", "inertia_ratio", "outlier_share")
    assert [FIGURES[key].column for key in AT_A_GLANCE] == ["PSI", "shift", "inertia", "outliers"]
    assert all(FIGURES[key].meaning for key in AT_A_GLANCE)


def test_measures_are_what_the_configuration_has_thresholds_of():
    fields = DriftConfig.model_fields.items()
    assert set(MEASURES) == {key for key, field in fields if isinstance(field.default, Threshold)}


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("share_psi", 0.31449, "0.314"),
        ("share_change", 0.05, "5.0 points"),
        ("outlier_share", 0.031, "3.1 %"),
        ("share_chi2_p", 1e-9, "< 0.0001"),
        ("share_change", -0.05, "-5.0 points"),
        ("rows", 12960, "12,960"),
        ("inertia_ratio", None, "\u2013"),
        ("version", "v000003", "v000003"),
    ],
)
def test_write_figure_writes_each_in_its_unit(key, value, text):
    assert write_figure(key, value).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("measures", "text"),
    [
        ([], ""),
        (["share_change"], "changes of shares"),
        (["centroid_shift", "outlier_share"], "shifts of centroids and outliers"),
        (
            ["share_psi", "inertia_ratio", "feature_psi"],
            "the PSI of the shares, inertia and the PSI of features",
        ),
    ],
)
def test_tell_measures_is_a_list_with_and_before_the_last(measures, text):
    assert tell_measures(measures) == text


def test_write_figure_writes_limits_with_the_digits_asked_for():
    assert [write_figure("inertia_ratio", 1.0549), write_figure("inertia_ratio", 1.0549, digits=4)] == ["1.05", "1.055"]
