"""What a run will cost: rows, bytes, passes and memory from footers alone."""

from pathlib import Path

import pyarrow as pa
import pytest

from kmstream.assignments import read_manifest
from kmstream.config import EngineConfig
from kmstream.dataset import SPAN_ROWS, open_dataset
from kmstream.engine import count_workers
from kmstream.errors import MemoryLimitError
from kmstream.pipeline import refresh
from kmstream.plan import MAX_CHUNK_ROWS, make_plan, max_appended_rows


@pytest.fixture
def plan_of(config, data, files, blobs):
    files(data, {"a.parquet": blobs(3000), "b.parquet": blobs(500)})

    def plan(**sections):
        made = config(**sections)
        return make_plan(made, open_dataset(made))

    return plan


def test_make_plan_counts_rows_bytes_and_passes(plan_of, data):
    plan = plan_of()
    assert (plan.partitions, plan.rows, plan.n_features_read) == (2, 3500, 2)
    assert plan.bytes == sum(path.stat().st_size for path in data.iterdir())
    assert plan.passes == {"scan": 1, "mini-batch": 2, "exact": 2, "assign": 1}
    assert plan_of(model={"algorithm": "lloyd"}).passes["mini-batch"] == 0
    assert plan.bytes < plan.bytes_to_read < 6 * plan.bytes


def test_make_plan_takes_chunk_rows_from_the_memory_limit(plan_of):
    chunks = [plan_of(engine={"memory_limit": limit}).chunk_rows for limit in ("8MiB", "16MiB", "64MiB", "1TiB")]
    assert chunks == sorted(chunks)
    assert chunks[0] < chunks[2]
    assert chunks[-1] == MAX_CHUNK_ROWS
    assert all(chunk & (chunk - 1) == 0 for chunk in chunks)


def test_make_plan_fills_the_limit_and_never_exceeds_it(plan_of):
    for workers in (0, 1, 2, 8):
        plan = plan_of(engine={"workers": workers, "memory_limit": "24MiB"}, model={"sample_rows": 100})
        fixed, per_row = plan.sample_bytes + plan.workers * plan.worker_bytes, plan.workers * plan.bytes_per_row
        assert fixed + plan.chunk_rows * per_row <= 24 * 2**20
        assert plan.chunk_rows == MAX_CHUNK_ROWS or fixed + 2 * plan.chunk_rows * per_row > 24 * 2**20
        assert plan.peak_bytes <= 24 * 2**20


def test_make_plan_refuses_a_limit_too_small_for_one_batch_and_tells_the_least(plan_of):
    with pytest.raises(MemoryLimitError, match=r"memory_limit is 1 MiB; expected at least \d+ MiB") as caught:
        plan_of(engine={"memory_limit": "1MiB"})
    assert "engine.memory_limit" in caught.value.__notes__[0]


def test_make_plan_reads_no_data_page(config, data, files, blobs):
    files(data, {"a.parquet": blobs(5000)})
    path = data / "a.parquet"
    good = path.read_bytes()
    footer = int.from_bytes(good[-8:-4], "little") + 8
    path.write_bytes(good[:4] + b"\xff" * (len(good) - footer - 4) + good[-footer:])
    assert make_plan(config(), open_dataset(config())).rows == 5000


def test_make_plan_takes_as_many_workers_as_are_asked_for_or_fit(plan_of):
    assert plan_of(engine={"workers": 3}).workers == 3
    large, small = (plan_of(engine={"workers": 0, "memory_limit": limit}) for limit in ("1TiB", "5MiB"))
    assert large.workers == count_workers(EngineConfig())
    assert 1 <= small.workers <= large.workers
    assert small.sample_bytes + small.workers * (small.worker_bytes + 4096 * small.bytes_per_row) <= 5 * 2**20


def test_make_plan_counts_text_as_it_is_decoded_not_as_dictionary_codes(config, data, files):
    """Where columns are read to be written again; a copy of the file takes no memory."""
    n_rows = 50_000
    files(data, {"a.parquet": pa.table({"x": range(n_rows), "y": range(n_rows), "note": ["n" * 1000] * n_rows})})
    again = config(output={"columns": ["note"]})
    assert make_plan(again, open_dataset(again)).bytes_per_row > 1000
    assert make_plan(config(), open_dataset(config())).bytes_per_row < 1000


def test_make_plan_counts_the_scratch_copy_and_what_it_spares(plan_of):
    with_copy, part, without = (plan_of(engine={"scratch_limit": limit}) for limit in ("1GiB", 3000 * 9, 0))
    assert (with_copy.scratch_bytes, part.scratch_bytes, without.scratch_bytes) == (3500 * 9, 3000 * 9, 0)
    assert with_copy.bytes_to_read < part.bytes_to_read < without.bytes_to_read
    assert plan_of(features={"weight": "id"}).scratch_bytes == 3500 * 17
    assert plan_of(engine={"dask_address": "tcp://nobody:1"}).scratch_bytes == 0


def test_make_plan_counts_the_cluster_columns_of_a_long_row_group_or_takes_it_apart(config, data, files, blobs):
    n_rows = SPAN_ROWS + 1
    files(data, {"a.parquet": blobs(n_rows)}, row_group_size=n_rows)
    roomy, tight = (config(engine={"workers": 1, "memory_limit": limit}) for limit in ("1GiB", "150MiB"))
    plan = make_plan(roomy, open_dataset(roomy))
    assert plan.appended_bytes == 40 * n_rows
    assert plan.peak_bytes > plan.appended_bytes + plan.sample_bytes
    assert max_appended_rows(tight) < n_rows
    assert make_plan(tight, open_dataset(tight)).appended_bytes == 0


@pytest.mark.slow
def test_a_run_writes_a_file_again_whose_row_group_is_too_long_for_its_plan(config, data, files, blobs):
    n_rows = SPAN_ROWS + 1
    files(data, {"a.parquet": blobs(n_rows)}, row_group_size=n_rows)
    refresh(config(engine={"workers": 1, "memory_limit": "150MiB"}))
    entry = read_manifest(Path(config().output.path) / "assignments/v000001")["a.parquet"]
    assert f"a row group has {n_rows} rows" in entry.rewritten
