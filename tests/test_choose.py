"""Choosing k: each k fitted to the sample, the true classes, and what is recommended."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from kmstream.choose import assess, check_ks, find_elbow, leave_out, recommend
from kmstream.config import Config
from kmstream.engine import Silent, single_threaded
from kmstream.errors import ConfigError, DataError, SchemaMismatchError, TooFewRowsError
from kmstream.pipeline import choose_k, refresh
from kmstream.results import Candidate, ChoiceResult
from kmstream.run import Run


def candidates(*figures: tuple[int, float | None, float | None], smallest: float = 0.1) -> list[Candidate]:
    """One per (k, silhouette, stability)."""
    return [Candidate(k, 1 / k, silhouette, 1.0, 9.0, stability, smallest) for k, silhouette, stability in figures]


def make_separated(k: int, seed: int, n_features: int = 2) -> np.ndarray:
    """Rows around k centers that are at least six standard deviations apart, in clusters of various sizes."""
    rng = np.random.default_rng((k, seed))
    centers: list[np.ndarray] = []
    while len(centers) < k:
        center = rng.uniform(-6, 6, n_features) * k**0.5
        if all(np.linalg.norm(center - other) > 6 for other in centers):
            centers.append(center)
    ids = rng.choice(k, 1500, p=np.linspace(1, 2, k) / np.linspace(1, 2, k).sum())
    X = np.array(centers)[ids] + rng.normal(size=(1500, n_features))
    return (X - X.mean(axis=0)) / X.std(axis=0)


def advise(config: Config, X: np.ndarray, ks: range) -> Any:
    run: Any = type("Unread", (), {"config": config, "progress": Silent()})  # no dataset is read
    with single_threaded():
        return recommend(assess(run, X.astype(np.float32), ks, None), min_share=0.001)


def choose(config: Config, ks: Any = range(2, 6), **options: Any) -> ChoiceResult:
    return choose_k(config, ks, **options)


def figures(result: ChoiceResult) -> list[Candidate]:
    return list(result.k)


# --- what is recommended ---------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("k", "seed"), [(3, 0), (4, 1), (5, 2), (6, 3), (8, 4), (10, 5), (3, 6), (5, 7)])
def test_the_true_number_of_well_separated_blobs_is_recommended(config, k, seed):
    made = config(model={"random_state": seed, "n_init": 5})
    assert advise(made, make_separated(k, seed), range(max(2, k - 1), k + 2)).k == k


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["uniform", "gaussian"])
def test_no_k_stands_out_in_one_cloud(config, shape):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(1500, 2)) * 3 if shape == "uniform" else rng.normal(size=(1500, 2))
    advice = advise(config(), X, range(2, 7))
    assert advice.k is None
    assert advice.reason.startswith("no k stands out: ")


def test_the_highest_silhouette_of_a_stable_k_is_recommended():
    advice = recommend(candidates((2, 0.5, 0.99), (3, 0.6, 0.95), (4, 0.7, 0.5)), min_share=0.01)
    assert advice.k == 3
    assert "0.60, reasonable structure" in advice.reason
    assert "2 k whose refits on halves agree (ARI 0.95)" in advice.reason


def test_of_silhouettes_that_are_alike_the_finest_of_the_stablest_is_recommended():
    advice = recommend(candidates((4, 0.74, 1.0), (5, 0.76, 1.0), (6, 0.75, 0.995), (7, 0.74, 0.93)), min_share=0.01)
    assert advice.k == 6
    assert "close to the highest (0.76, of 5)" in advice.reason
    assert "4 and 7 come close" in advice.reason


def test_a_k_that_the_gate_would_hold_is_not_recommended_and_is_named():
    tiny = candidates((2, 0.9, 1.0), smallest=0.0004)
    advice = recommend([*tiny, *candidates((3, 0.6, 0.99), (4, 0.5, 0.99))], min_share=0.001)
    assert advice.k == 3
    assert "2 would make a segment of less than 0.001 of the rows" in advice.reason


def test_the_largest_k_tried_is_recommended_with_the_advice_to_try_more():
    assert "try larger ones" in recommend(candidates((2, 0.5, 1.0), (3, 0.7, 1.0)), min_share=0).reason


@pytest.mark.parametrize(
    ("tried", "why"),
    [
        (candidates((5, 0.9, 1.0)), "5 is the only one tried"),
        (candidates((2, 0.6, 0.5), (3, 0.5, 0.3)), "disagree at every k (ARI 0.50 at best, at 2)"),
        (candidates((2, 0.2, 0.99), (3, 0.1, 0.95)), "the highest silhouette of a stable k is 0.20 (2)"),
        (candidates((2, 0.40, 0.99), (3, 0.41, 0.95), (4, 0.3, 0.9)), "the silhouettes of 2 and 3 are close to 0.41"),
        (candidates((2, 0.9, 1.0), (3, 0.9, 1.0), smallest=0.0), "each would make a segment of less than"),
        (candidates((2, None, None), (3, None, 1.0)), "too few distinct rows"),
    ],
    ids=["one", "unstable", "no structure", "flat", "tiny segments", "no rows"],
)
def test_where_no_k_stands_out_it_says_so_and_why(tried, why):
    advice = recommend(tried, min_share=0.001)
    assert advice.k is None
    assert advice.reason.startswith("no k stands out: ")
    assert why in advice.reason


@pytest.mark.parametrize(
    ("inertia", "elbow"),
    [
        ([10, 6, 2, 1.9, 1.8], 4),
        ([10, 8, 6, 4, 2], None),
        ([1, 1, 1, 1, 1], None),
        ([3.0, 2.0], None),
    ],
)
def test_the_elbow_is_where_the_inertia_bends(inertia, elbow):
    assert find_elbow(list(range(2, 2 + len(inertia))), inertia) == elbow


# --- what is tried ---------------------------------------------------------------------------------------------------


def test_each_k_is_tried_once_in_order():
    assert check_ks([5, 2, 3, 2]) == [2, 3, 5]


@pytest.mark.parametrize("ks", [[], [1, 2], [0], [-3]])
def test_no_k_or_one_below_2_is_refused(ks):
    with pytest.raises(ConfigError, match="expected at least"):
        check_ks(ks)


def test_a_k_beyond_the_distinct_rows_is_left_out_with_a_note():
    X = np.array([[0.0], [-0.0], [1.0], [2.0], [2.0]], np.float32)
    ks, note = leave_out([2, 3, 4, 9], X)
    assert ks == [2, 3]
    assert note == "k=4 and 9 left out: 3 distinct rows among 5 sampled"
    assert leave_out([2, 3], X) == ([2, 3], "")


def test_if_every_k_is_beyond_the_distinct_rows_it_is_an_error_of_the_data():
    with pytest.raises(TooFewRowsError, match="only 2 distinct rows among 3 sampled; expected at least k=3"):
        leave_out([3, 4], np.array([[0.0], [0.0], [1.0]], np.float32))


# --- the verb --------------------------------------------------------------------------------------------------------


@pytest.fixture
def made(data, files, blobs, config) -> Callable[..., Config]:
    """Make a configuration about 600 rows in three blobs."""
    files(data, {"a.parquet": blobs(400), "b.parquet": blobs(200, seed=1)})
    return config


def test_choose_k_recommends_the_number_of_blobs_and_publishes_nothing(made, tmp_path, tree, now):
    result = choose(made(), now=now)
    assert result.recommended == 3
    assert (result.rows, result.sample_rows, result.scaling) == (600, 600, "new")
    assert tree(tmp_path / "out") == ["reports", "reports/choose-k.html"]
    best = figures(result)[1]
    assert (best.k, best.silhouette > 0.7, best.stability > 0.98) == (3, True, True)
    inertia = [one.inertia_per_row for one in figures(result)]
    assert inertia == sorted(inertia, reverse=True)


@pytest.mark.slow
def test_choose_k_is_the_same_for_any_number_of_workers(made):
    one, four = (figures(choose(made(engine={"workers": n}))) for n in (1, 4))
    assert one == four


def test_choose_k_is_in_the_frozen_scaling_of_the_current_model(published, config, tmp_path):
    before = (tmp_path / "out/models/CURRENT").read_bytes()
    found = choose(config())
    assert found.scaling == "v000001"
    assert (tmp_path / "out/models/CURRENT").read_bytes() == before
    assert not list((tmp_path / "out").glob("models/v000002"))


def test_choose_k_tries_other_features_in_a_new_scaling(published, config):
    assert choose(config(features={"numeric": ["x"]})).scaling == "new"


def test_choose_k_of_features_that_have_no_rows_is_an_error(data, files, config):
    files(data, {"a.parquet": pa.table({"x": pa.array([None, None], pa.float64()), "y": [1.0, 2.0]})})
    with pytest.raises(TooFewRowsError, match="can be used"):
        choose(config(features={"on_missing": "skip"}))


def test_choose_k_reports_progress_of_each_stage(made):
    stages: dict[str, list[int]] = {}

    class Watch:
        def start(self, stage: str, rows: int) -> None:
            self.stage = stage
            stages[stage] = [rows, 0]

        def advance(self, rows: int) -> None:
            stages[self.stage][1] += rows

    choose(made(), progress=Watch(), truth="truth")
    assert list(stages) == ["scan", "read classes", "fit each k", "fit halves"]
    assert all(total == done for total, done in stages.values())


def test_the_page_can_be_read_without_a_network_and_shows_names_as_they_are(made, tmp_path, files, blobs, now):
    table = blobs(100)
    files(tmp_path / "data", {name: table.append_column("<b>", table["truth"]) for name in ("a.parquet", "b.parquet")})
    found = choose(made(), truth="<b>", now=now)
    page = (tmp_path / "out/reports/choose-k.html").read_text()
    body = page[page.index("<body>") :]
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "NMI with <span" not in body
    assert "&lt;b&gt;" in body
    assert "<b>" not in body
    assert found.reason[1:] in body
    assert all(f">{one.k}<" in body for one in figures(found))


def test_rows_that_count_for_more_weigh_more(made, data, files, blobs):
    table = blobs(400)
    weights = np.where(np.asarray(table["truth"]) == 2, 0.0, 1.0)
    files(data, {name: table.append_column("w", pa.array(weights)) for name in ("a.parquet", "b.parquet")})
    assert choose(made(features={"weight": "w"})).recommended == 2


# --- true classes ----------------------------------------------------------------------------------------------------


def test_the_true_classes_agree_with_the_right_k(made):
    found = {one.k: one for one in figures(choose(made(), truth="truth"))}
    assert found[3].ari == pytest.approx(1.0)
    assert found[3].nmi == pytest.approx(1.0)
    assert found[2].ari < 0.9


def test_rows_without_a_class_and_those_that_cannot_be_used_are_left_out(data, files, blobs, config):
    table = blobs(300)
    x = np.asarray(table["x"]).copy()
    x[:50] = np.nan
    classes = pa.array([None if i % 3 == 0 else float(one) for i, one in enumerate(table["truth"].to_pylist())])
    other = table.select(["id", "x", "y"]).append_column("truth", table["truth"])  # integers in another file
    holed = table.set_column(1, "x", pa.array(x)).set_column(3, "truth", classes)
    files(data, {"a.parquet": holed, "b.parquet": other})
    found = choose(config(features={"on_missing": "skip"}), [3], truth="truth")
    assert found.truth_rows == 300 + sum(1 for i in range(50, 300) if i % 3)
    assert figures(found)[0].ari > 0.99  # 1 and 1.0 are one class


def test_the_class_can_be_a_feature_or_in_the_folder_name_too(data, files, blobs, config):
    files(data, {f"side={side}/a.parquet": blobs(100, centers=((10.0 * (side == "r"), 0.0),), weights=(1,))
                 for side in "lr"})  # fmt: skip
    assert figures(choose(config(), [2], truth="side"))[0].ari == pytest.approx(1.0)
    assert figures(choose(config(), [2], truth="x"))[0].nmi > 0


def test_a_column_that_is_not_in_every_file_is_refused_before_a_row_is_read(made, data, files, blobs):
    files(data, {"b.parquet": blobs(50).drop_columns(["truth"])})
    with pytest.raises(
        SchemaMismatchError, match="truth column 'truth' is missing; the file has 'id', 'x', 'y'"
    ) as told:
        choose(made(), truth="truth")
    assert "in b.parquet" in told.value.__notes__


def test_a_column_of_lists_or_without_any_class_is_refused(made, data, files, blobs):
    nested = blobs(10).append_column("tags", pa.array([[1]] * 10)).append_column("none", pa.nulls(10, pa.string()))
    files(data, {"a.parquet": nested, "b.parquet": nested})
    with pytest.raises(SchemaMismatchError, match="has type list"):
        choose(made(), truth="tags")
    with pytest.raises(DataError, match="'none' is null in all 20 sampled rows"):
        choose(made(), truth="none")


@pytest.mark.slow
def test_choose_k_agrees_with_the_refresh_that_follows(made):
    chosen = choose(made()).recommended
    settings = made(model={"n_clusters": chosen})
    result = refresh(settings)
    inertia = next(one.inertia_per_row for one in figures(choose(settings)) if one.k == chosen)
    assert result.inertia_per_row == pytest.approx(inertia, rel=1e-3)


def test_a_half_with_too_few_distinct_rows_leaves_the_stability_open(config):
    X = np.arange(6, dtype=np.float64)[:, None]
    run: Any = type("Unread", (), {"config": config(), "progress": Silent()})
    with single_threaded():
        found = assess(run, X.astype(np.float32), [2, 5], None)
    assert found[1].stability is None
    assert replace(found[1], stability=None) == found[1]


def test_work_is_done_on_this_machine_wherever_spans_are_read(made, run_of):
    run: Run = run_of(made(engine={"dask_address": "tcp://127.0.0.1:1"}))
    with single_threaded():
        assert assess(run, make_separated(3, 0).astype(np.float32), [3], None)[0].k == 3
