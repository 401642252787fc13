import pyarrow as pa
import pytest

from kmstream.dataset import open_dataset
from kmstream.errors import MemoryLimitError
from kmstream.plan import MAX_CHUNK_ROWS, make_plan


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
    for workers in (1, 2, 8):
        plan = plan_of(engine={"workers": workers, "memory_limit": "24MiB"}, model={"sample_rows": 100})
        per_row = workers * 3 * plan.bytes_per_row
        assert plan.sample_bytes + plan.chunk_rows * per_row <= 24 * 2**20
        assert plan.chunk_rows == MAX_CHUNK_ROWS or plan.sample_bytes + 2 * plan.chunk_rows * per_row > 24 * 2**20


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


def test_make_plan_counts_text_as_it_is_decoded_not_as_dictionary_codes(config, data, files):
    n_rows = 50_000
    files(data, {"a.parquet": pa.table({"x": range(n_rows), "y": range(n_rows), "note": ["n" * 1000] * n_rows})})
    assert make_plan(config(), open_dataset(config())).bytes_per_row > 1000
