"""The scratch copy: the same bits as Parquet, and nothing is left of it."""

import gc
import os
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmstream.engine import single_threaded
from kmstream.errors import CorruptFileError, InvalidFeatureError, OutputError
from kmstream.matrices import open_matrices
from kmstream.scan import make_scaling, scan_dataset
from kmstream.scratch import bytes_per_row

ALL, NOTHING = "1GiB", 0
FEATURES = {"numeric": ["x", "y"], "categorical": ["kind"], "on_missing": "skip"}
N_FEATURES = 4
ROW = bytes_per_row(N_FEATURES, weighted=True)


def make_table(n_rows, seed=0):
    """Rows with holes, weights that are no whole numbers, categories; seed 0 lacks one of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n_rows)
    x[rng.random(n_rows) < 0.05] = np.nan
    kinds = rng.choice(["a", "b"] if seed == 0 else ["a", "b", "new"], n_rows)
    return pa.table({"x": x, "y": rng.gamma(2.0, size=n_rows), "kind": kinds, "w": rng.random(n_rows)})


@pytest.fixture(scope="module")
def scaling_of_seed_0(tmp_path_factory, config_in, files, run_of):
    base = tmp_path_factory.mktemp("scaling")
    files(base / "data", {"a.parquet": make_table(2000)})
    run = run_of(config_in(base, features=FEATURES))
    return make_scaling(run.config.features, scan_dataset(run, statistics=True))


@pytest.fixture
def opened(config, data, run_of, scaling_of_seed_0, tmp_path):
    """Open the matrices of the dataset, with a scratch copy of so many bytes."""

    def open_here(limit, *, chunk_rows=100, weighted=True, **features):
        weight = {"weight": "w"} if weighted else {}
        made = config(features=FEATURES | weight | features, engine={"scratch_limit": limit})
        return open_matrices(run_of(made, chunk_rows=chunk_rows), scaling_of_seed_0, tmp_path / "scratch")

    return open_here


@pytest.fixture
def spans(config, run_of):
    """Give the spans of the dataset."""
    return lambda: run_of(config(features=FEATURES)).dataset.spans


def bits(batches):
    """Every batch with every bit."""
    return [
        (rows.X.shape, rows.X.tobytes(), rows.keep.tobytes(), None if rows.weights is None else rows.weights.tobytes())
        for rows in batches
    ]


def from_parquet(matrices, span):
    return bits(rows for rows, _ in matrices.decode(span))


def same(one, two):
    return (one.bins.dtype, one.bins.tolist(), one.skipped, one.unseen) == (
        two.bins.dtype,
        two.bins.tolist(),
        two.skipped,
        two.unseen,
    )


# --- the same rows ---------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=3),
    chunk_rows=st.integers(1, 400),
    limit=st.sampled_from([NOTHING, 100 * ROW, 300 * ROW, ALL]),
    weighted=st.booleans(),
    on_missing=st.sampled_from(["skip", "mean"]),
)
def test_rows_and_counts_from_the_copy_have_the_bits_of_those_from_parquet(
    tmp_path_factory, config_in, files, run_of, scaling_of_seed_0, sizes, chunk_rows, limit, weighted, on_missing
):
    base = tmp_path_factory.mktemp("copy")
    files(base / "data", {f"{i}.parquet": make_table(size, i) for i, size in enumerate(sizes)}, row_group_size=77)
    features = FEATURES | {"on_missing": on_missing} | ({"weight": "w"} if weighted else {})
    run = run_of(config_in(base, features=features, engine={"scratch_limit": limit}), chunk_rows=chunk_rows)
    with open_matrices(run, scaling_of_seed_0, base / "scratch") as matrices:
        for span in run.dataset.spans:
            expected = from_parquet(matrices, span)
            assert [shape[0] for shape, *_ in expected[:-1]] == [chunk_rows] * (len(expected) - 1)
            assert sum(shape[0] for shape, *_ in expected) == span.rows
            for _ in range(3):  # the first pass writes, those after it read
                assert bits(matrices.read(span)) == expected
            *_, (_, counts) = matrices.decode(span)
            counted = list(matrices.read_counted(span))
            assert bits(rows for rows, _ in counted) == expected
            assert same(counted[-1][1], counts)
            assert (matrices.scratch is not None and matrices.scratch.holds(span)) == (
                matrices.scratch is not None and matrices.scratch.takes(span)
            )
    assert not (base / "scratch").exists()


@pytest.mark.parametrize("n_files", [0, 1, 2, 3])
def test_open_matrices_copies_the_first_spans_that_fit_the_limit(opened, data, files, tmp_path, n_files, spans):
    files(data, {f"{i}.parquet": make_table(200, i) for i in range(3)})
    for limit in (200 * ROW * n_files, 200 * ROW * n_files + 200 * ROW - 1):
        with opened(limit) as matrices:
            these = spans()
            for span in these:
                list(matrices.read(span))
            held = [matrices.scratch is not None and matrices.scratch.holds(span) for span in these]
            assert held == [i < n_files for i in range(3)]
            if n_files:
                copies = [path for path in (tmp_path / "scratch").iterdir() if path.suffix != ".json"]
                assert sum(path.stat().st_size for path in copies) == 200 * ROW * n_files
            else:
                assert not (tmp_path / "scratch").exists()


def test_bytes_per_row_is_what_a_row_takes(opened, data, files, tmp_path, spans):
    files(data, {"a.parquet": make_table(200)})
    for weighted in (False, True):
        with opened(ALL, weighted=weighted) as matrices:
            (span,) = spans()
            list(matrices.read(span))
            (copy,) = [path for path in (tmp_path / "scratch").iterdir() if path.suffix != ".json"]
            assert copy.stat().st_size == 200 * bytes_per_row(N_FEATURES, weighted=weighted)


def test_files_of_one_name_in_two_folders_have_copies_of_their_own(opened, data, files, spans):
    files(data, {f"m={i}/a.parquet": make_table(50, i) for i in range(2)})
    with opened(ALL) as matrices:
        for span in spans():
            list(matrices.read(span))
        found = [bits(matrices.read(span)) for span in spans()]
        assert found == [from_parquet(matrices, span) for span in spans()]
        assert found[0] != found[1]


def test_copies_are_written_and_read_by_many_threads(opened, data, files, spans):
    files(data, {f"{i}.parquet": make_table(2000, i) for i in range(6)})
    with opened(ALL, chunk_rows=64) as matrices:
        these, wrong = spans(), []

        def work(span):
            expected = from_parquet(matrices, span)
            wrong.extend(span for _ in range(3) if bits(matrices.read(span)) != expected)

        threads = [threading.Thread(target=work, args=(span,)) for span in these]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_matrices_go_to_another_process_and_find_the_copy_there(opened, data, files, spans):
    files(data, {"a.parquet": make_table(200)})
    with opened(ALL) as matrices:
        (span,) = spans()
        expected = bits(matrices.read(span))
        again, there = pickle.loads(pickle.dumps((matrices, span)))
        assert again.scratch.holds(there)
        assert bits(again.read(there)) == expected


def test_there_is_no_copy_on_a_cluster(config, data, files, run_of, scaling_of_seed_0, tmp_path):
    files(data, {"a.parquet": make_table(200)})
    engine = {"dask_address": "tcp://nobody:1", "scratch_limit": ALL}
    run = run_of(config(features=FEATURES, engine=engine))
    with open_matrices(run, scaling_of_seed_0, tmp_path / "scratch") as matrices:
        assert matrices.scratch is None


def test_scaled_rows_are_read_again_from_the_copy_not_from_parquet(config, data, files, blobs, run_of, tmp_path):
    """The first pass of the fit leaves a copy; after that the files are only copied, never decoded."""
    files(data, {"a.parquet": blobs(5000)})
    run = run_of(config(engine={"scratch_limit": ALL}))
    with single_threaded():
        scaling = make_scaling(run.config.features, scan_dataset(run, statistics=True))
        with open_matrices(run, scaling, tmp_path / "scratch") as matrices:
            (span,) = run.dataset.spans
            expected = bits(matrices.read(span))
            (data / "a.parquet").unlink()
            assert bits(matrices.read(span)) == expected
            assert bits(rows for rows, _ in matrices.read_counted(span)) == expected


# --- copies that are not whole ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_batches", [0, 1, 2, 3])
@pytest.mark.parametrize("how", ["closed", "forgotten"])
def test_a_span_abandoned_half_way_is_not_taken_for_whole(opened, data, files, n_batches, how, spans):
    """Also after its last batch: whoever leaves then has not been told that there are no more."""
    files(data, {"a.parquet": make_table(250)})
    with opened(ALL) as matrices:
        (span,) = spans()
        reader = matrices.read(span)
        for _ in range(n_batches):
            next(reader)
        if how == "closed":
            reader.close()
        del reader
        gc.collect()
        assert not matrices.scratch.holds(span)
        assert bits(matrices.read(span)) == from_parquet(matrices, span)
        assert matrices.scratch.holds(span)
        assert bits(matrices.read(span)) == from_parquet(matrices, span)


def test_a_span_whose_rows_are_refused_half_way_is_not_taken_for_whole(opened, data, files, spans):
    table = make_table(250).set_column(0, "x", pa.array([1.0] * 230 + [None] * 20))
    files(data, {"a.parquet": table})
    with opened(ALL, on_missing="error") as matrices:
        (span,) = spans()
        for _ in range(2):
            with pytest.raises(InvalidFeatureError, match="'x' is missing in 20 of 50 rows"):
                list(matrices.read(span))
            assert not matrices.scratch.holds(span)


def test_counts_are_those_of_the_copy_however_it_was_made(opened, data, files, spans):
    files(data, {"a.parquet": make_table(250, seed=1)})
    for weighted in (True, False):
        with opened(ALL, weighted=weighted) as matrices:
            (span,) = spans()
            *_, (_, expected) = matrices.decode(span)
            abandoned = matrices.read(span)
            next(abandoned)
            abandoned.close()
            list(matrices.read(span))
            found = matrices.scratch.read_counts(span)
            assert same(found, expected)
            assert found.bins.dtype == (np.float64 if weighted else np.int64)
            assert found.unseen["kind"] > 0
            assert found.skipped["x: missing"] > 0


def test_rows_pass_through_without_a_copy_where_the_disk_is_full(opened, data, files, tmp_path, spans):
    files(data, {"a.parquet": make_table(5000)})
    with opened(ALL) as matrices:
        (name,) = matrices.scratch.names
        (tmp_path / "scratch" / name).symlink_to("/dev/full")
        (span,) = spans()
        for _ in range(2):
            assert bits(matrices.read(span)) == from_parquet(matrices, span)
            assert not matrices.scratch.holds(span)
            assert list((tmp_path / "scratch").iterdir()) == []
            (tmp_path / "scratch" / name).symlink_to("/dev/full")
    assert not (tmp_path / "scratch").exists()


def test_a_copy_leaves_room_for_the_outputs(opened, data, files, monkeypatch):
    files(data, {"a.parquet": make_table(5000)})
    outputs = (data / "a.parquet").stat().st_size + 24 * 5000
    for free, there in [(outputs + 2 * 5000 * ROW, True), (outputs + 2 * 5000 * ROW - 2, False), (10, False)]:
        monkeypatch.setattr("shutil.disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        with opened(ALL) as matrices:
            assert (matrices.scratch is not None) == there


def test_a_copy_that_was_cut_off_is_noticed(opened, data, files, tmp_path, spans):
    files(data, {"a.parquet": make_table(5000)})
    with opened(ALL) as matrices:
        (span,), (name,) = spans(), matrices.scratch.names
        list(matrices.read(span))
        os.truncate(tmp_path / "scratch" / name, 1000)
        with pytest.raises(OutputError, match=r"ends too early: 1000 bytes; expected 1600"):
            list(matrices.read(span))


def test_a_file_that_vanished_is_not_blamed_on_the_copy(opened, data, files, spans):
    files(data, {"a.parquet": make_table(500)})
    with opened(ALL) as matrices:
        (span,) = spans()
        (data / "a.parquet").unlink()
        with pytest.raises(CorruptFileError, match=r"a\.parquet has changed.*no such file"):
            list(matrices.read(span))


# --- what is left ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_nothing_is_left_of_the_copy_whatever_ends_the_block(opened, data, files, tmp_path, error, spans):
    files(data, {"a.parquet": make_table(250)})

    def fail():
        with opened(ALL) as matrices:
            (span,) = spans()
            list(matrices.read(span))
            assert list((tmp_path / "scratch").iterdir())
            raise error

    with pytest.raises(type(error)):
        fail()
    assert not (tmp_path / "scratch").exists()


@pytest.mark.parametrize("limit", [NOTHING, ALL])
def test_leftovers_of_a_killed_run_are_removed_and_not_read(opened, data, files, tmp_path, limit, spans):
    files(data, {"a.parquet": make_table(250)})
    with opened(ALL) as matrices:
        (span,), folder = spans(), tmp_path / "scratch"
        list(matrices.read(span))
        left = {path.name: bytes(reversed(path.read_bytes())) for path in folder.iterdir()}
    folder.mkdir()
    for name, content in (left | {"junk": b"x"}).items():
        (folder / name).write_bytes(content if not name.endswith(".json") else b"{}")
    with opened(limit) as matrices:
        assert bits(matrices.read(span)) == from_parquet(matrices, span)
        assert not (folder / "junk").exists()
    assert not folder.exists()
