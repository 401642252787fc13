"""Choosing k: what is tried, how it is measured, and what the true classes say."""

from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest

from kmstream.choose import Choice, check_ks, compare_ks, read_classes
from kmstream.choose.compare import leave_out
from kmstream.choose.fits import measure_ks
from kmstream.config import Config
from kmstream.engine import single_threaded
from kmstream.errors import ConfigError, DataError, SchemaMismatchError, TooFewRowsError
from kmstream.pipeline import choose_k, refresh
from kmstream.scan import scan_for_fit


def make_separated(k: int, seed: int) -> np.ndarray:
    """Rows around k centers that are at least six standard deviations apart, in clusters of various sizes."""
    rng = np.random.default_rng((k, seed))
    centers: list[np.ndarray] = []
    while len(centers) < k:
        center = rng.uniform(-6, 6, 2) * k**0.5
        if all(np.linalg.norm(center - other) > 6 for other in centers):
            centers.append(center)
    ids = rng.choice(k, 1500, p=np.linspace(1, 2, k) / np.linspace(1, 2, k).sum())
    return np.array(centers)[ids] + rng.normal(size=(1500, 2))


@pytest.fixture
def compare(run_of) -> Callable[..., Choice]:
    """Compare some k on the dataset of a configuration."""

    def compare_here(config: Config, ks: Sequence[int], truth: str | None = None) -> Choice:
        run = run_of(config)
        with single_threaded():
            scan, scaling = scan_for_fit(run, None)
            classified = read_classes(run, scaling, truth) if truth else None
            return compare_ks(run, scan, scaling, ks, classified)

    return compare_here


@pytest.fixture
def made(data, files, blobs, config) -> Callable[..., Config]:
    """Make a configuration about 600 rows in three blobs."""
    files(data, {"a.parquet": blobs(400), "b.parquet": blobs(200, seed=1)})
    return config


# --- what is tried ---------------------------------------------------------------------------------------------------


def test_check_ks_gives_each_k_once_in_order():
    assert check_ks([5, 2, 3, 2]) == [2, 3, 5]


@pytest.mark.parametrize("ks", [[], [1, 2], [0], [-3]])
def test_check_ks_refuses_none_or_one_below_2(ks):
    with pytest.raises(ConfigError, match="expected at least"):
        check_ks(ks)


def test_leave_out_notes_each_k_beyond_the_distinct_rows():
    X = np.array([[0.0], [-0.0], [1.0], [2.0], [2.0]], np.float32)
    assert leave_out([2, 3, 4, 9], X) == ([2, 3], ("k=4 and 9 left out: 3 distinct rows among 5 sampled",))
    assert leave_out([2, 3], X) == ([2, 3], ())


def test_leave_out_refuses_data_with_too_few_distinct_rows_for_any_k():
    with pytest.raises(TooFewRowsError, match="only 2 distinct rows among 3 sampled; expected at least k=3"):
        leave_out([3, 4], np.array([[0.0], [0.0], [1.0]], np.float32))


# --- what comes of it ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("k", "seed"), [(3, 0), (4, 1), (5, 2), (6, 3), (8, 4), (10, 5), (3, 6), (5, 7)])
def test_compare_ks_recommends_the_true_number_of_well_separated_blobs(compare, config, data, files, k, seed):
    files(data, {"a.parquet": pa.table(make_separated(k, seed).T.tolist(), names=["x", "y"])})
    made = config(model={"random_state": seed, "n_init": 5})
    assert compare(made, range(max(2, k - 1), k + 2)).advice.k == k


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["uniform", "gaussian"])
def test_compare_ks_recommends_no_k_for_one_cloud(compare, config, data, files, shape):
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(1500, 2)) * 3 if shape == "uniform" else rng.normal(size=(1500, 2))
    files(data, {"a.parquet": pa.table(X.T.tolist(), names=["x", "y"])})
    advice = compare(config(), range(2, 7)).advice
    assert advice.k is None
    assert advice.reason.startswith("no k stands out: ")


@pytest.mark.parametrize("weight", [0.0, 1e-3])
def test_compare_ks_counts_rows_by_their_weights(compare, config, data, files, blobs, weight):
    table = blobs(400)
    weights = np.where(np.asarray(table["truth"]) == 2, weight, 1.0)
    files(data, {"a.parquet": table.append_column("w", pa.array(weights))})
    assert compare(config(features={"weight": "w"}), [2, 3, 4]).advice.k == 2


def test_compare_ks_leaves_the_stability_open_where_a_half_has_too_few_distinct_rows(compare, config, data, files):
    files(data, {"a.parquet": pa.table({"x": np.arange(6.0)})})
    found = compare(config(features={"numeric": ["x"]}), [2, 5]).candidates
    assert [one.stability is None for one in found] == [False, True]


@pytest.mark.slow
def test_compare_ks_finds_the_same_with_any_number_of_workers(compare, made):
    one, four = (compare(made(engine={"workers": n}), range(2, 6)) for n in (1, 4))
    assert one == four


def test_measure_ks_works_on_this_machine_wherever_spans_are_read(made, run_of):
    run = run_of(made(engine={"dask_address": "tcp://127.0.0.1:1"}))
    with single_threaded():
        assert measure_ks(run, make_separated(3, 0).astype(np.float32), [3], None)[0].k == 3


# --- true classes ----------------------------------------------------------------------------------------------------


def test_true_classes_agree_with_the_right_k(compare, made):
    two, three = compare(made(), [2, 3], truth="truth").candidates
    assert three.ari == pytest.approx(1.0)
    assert three.nmi == pytest.approx(1.0)
    assert two.ari < 0.9


def test_read_classes_leaves_out_rows_without_a_class_and_those_that_cannot_be_used(run_of, data, files, blobs, config):
    table = blobs(300)
    x = np.asarray(table["x"]).copy()
    x[:50] = np.nan
    classes = pa.array([None if i % 3 == 0 else float(one) for i, one in enumerate(table["truth"].to_pylist())])
    other = table.select(["id", "x", "y"]).append_column("truth", table["truth"])  # integers in another file
    holed = table.set_column(1, "x", pa.array(x)).set_column(3, "truth", classes)
    files(data, {"a.parquet": holed, "b.parquet": other})
    run = run_of(config(features={"on_missing": "skip"}))
    found = read_classes(run, scan_for_fit(run, None)[1], "truth")
    kept = [i for i in range(50, 300) if i % 3]
    assert len(found.X) == 300 + len(kept)
    truth = np.asarray(table["truth"])
    assert np.array_equal(found.classes, [*truth[kept], *truth])  # 1 and 1.0 are one class


def test_a_class_can_be_a_feature_or_in_the_folder_name_too(compare, data, files, blobs, config):
    files(data, {f"side={side}/a.parquet": blobs(100, centers=((10.0 * (side == "r"), 0.0),), weights=(1,))
                 for side in "lr"})  # fmt: skip
    assert compare(config(), [2], truth="side").candidates[0].ari == pytest.approx(1.0)
    assert compare(config(), [2], truth="x").candidates[0].nmi > 0


# --- the verb --------------------------------------------------------------------------------------------------------


def test_choose_k_recommends_the_number_of_blobs_and_publishes_nothing(made, tmp_path, tree, now):
    result = choose_k(made(), range(2, 6), now=now)
    assert result.recommended == 3
    assert (result.rows, result.sample_rows, result.scaling) == (600, 600, "new")
    assert tree(tmp_path / "out") == ["reports", "reports/choose-k.html"]
    best = result.k[1]
    assert (best.k, best.silhouette > 0.7, best.stability > 0.98) == (3, True, True)
    inertia = [one.inertia_per_row for one in result.k]
    assert inertia == sorted(inertia, reverse=True)


def test_choose_k_is_in_the_frozen_scaling_of_the_current_model(published, config, tmp_path):
    before = (tmp_path / "out/models/CURRENT").read_bytes()
    assert choose_k(config(), [2]).scaling == "v000001"
    assert (tmp_path / "out/models/CURRENT").read_bytes() == before
    assert not list((tmp_path / "out").glob("models/v000002"))
    assert choose_k(config(features={"numeric": ["x"]}), [2]).scaling == "new"


def test_choose_k_of_features_that_have_no_rows_is_an_error(data, files, config):
    files(data, {"a.parquet": pa.table({"x": pa.array([None, None], pa.float64()), "y": [1.0, 2.0]})})
    with pytest.raises(TooFewRowsError, match="can be used"):
        choose_k(config(features={"on_missing": "skip"}))


def test_choose_k_reports_progress_of_each_stage(made):
    stages: dict[str, list[int]] = {}

    class Watch:
        def start(self, stage: str, rows: int) -> None:
            self.stage = stage
            stages[stage] = [rows, 0]

        def advance(self, rows: int) -> None:
            stages[self.stage][1] += rows

    choose_k(made(), [2, 3], progress=Watch(), truth="truth")
    assert list(stages) == ["scan", "read classes", "fit each k", "fit halves"]
    assert all(total == done for total, done in stages.values())


def test_the_page_can_be_read_without_a_network_and_shows_names_as_they_are(data, files, blobs, config, now):
    table = blobs(100)
    files(data, {"a.parquet": table.append_column("<b>", table["truth"])})
    found = choose_k(config(), [2, 3], truth="<b>", now=now)
    page = (data.parent / "out/reports/choose-k.html").read_text()
    body = page[page.index("<body>") :]
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert "NMI with <span" not in body
    assert "&lt;b&gt;" in body
    assert "<b>" not in body
    assert found.reason[1:] in body
    assert all(f">{one.k}<" in body for one in found.k)


def test_choose_k_refuses_a_truth_column_that_is_not_in_every_file_before_a_row_is_read(made, data, files, blobs):
    files(data, {"b.parquet": blobs(50).drop_columns(["truth"])})
    message = "truth column 'truth' is missing; the file has 'id', 'x', 'y'"
    with pytest.raises(SchemaMismatchError, match=message) as told:
        choose_k(made(), truth="truth")
    assert "in b.parquet" in told.value.__notes__


def test_choose_k_refuses_a_truth_column_of_lists_or_without_any_class(config, data, files, blobs):
    nested = blobs(10).append_column("tags", pa.array([[1]] * 10)).append_column("none", pa.nulls(10, pa.string()))
    files(data, {"a.parquet": nested, "b.parquet": nested})
    with pytest.raises(SchemaMismatchError, match="has type list"):
        choose_k(config(), truth="tags")
    with pytest.raises(DataError, match="'none' is null in all 20 sampled rows"):
        choose_k(config(), truth="none")


@pytest.mark.slow
def test_choose_k_agrees_with_the_refresh_that_follows(made):
    chosen = choose_k(made(), range(2, 6)).recommended
    settings = made(model={"n_clusters": chosen})
    result = refresh(settings)
    inertia = next(one.inertia_per_row for one in choose_k(settings, [chosen]).k if one.k == chosen)
    assert result.inertia_per_row == pytest.approx(inertia, rel=1e-3)
