"""The same rows give the same bits: for any workers, memory, row groups, batches and scratch copy."""

from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import make_passes
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from kmstream.pipeline import refresh, score

N_ROWS = 20_000
MODEL = {"n_clusters": 5, "sample_rows": 3000, "n_init": 1, "batch_size": 1000, "lloyd_passes": 3}


def make_table():
    """Rows without clear clusters, where every rounding shows; some tiles have holes, and some have none."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(1.0, 2.0, N_ROWS), rng.gamma(2.0, size=N_ROWS)
    holes = x.copy()
    holes[7000:9000][rng.random(2000) < 0.1] = np.nan
    days = [date(2024, 1, 1) + timedelta(days=int(n)) for n in rng.integers(0, 60, N_ROWS)]
    columns = {"x": x, "holes": holes, "y": y, "kind": rng.choice(["a", "b", "c"], N_ROWS), "day": days}
    return pa.table(columns | {"w": rng.gamma(1.0, size=N_ROWS) * (rng.random(N_ROWS) < 0.9)})


TABLE = make_table()
HOLES = {"features": {"numeric": ["holes", "y"], "on_missing": "mean"}}
VARIANTS = {
    "plain": {},
    "lloyd": {"model": {"algorithm": "lloyd"}},
    "filled": HOLES,
    "skipped": {"features": {"numeric": ["holes", "y"], "on_missing": "skip"}},
    "categories": {"features": {"categorical": ["kind"], "log1p": ["y"], "clip": 2.0}},
    "weighted": {"features": {"weight": "w"}},
    "weighted, with holes": {"features": HOLES["features"] | {"weight": "w"}},
    "forgotten": {"dataset": {"time": "day"}, "model": {"half_life": "11d"}},
}

FAST_VARIANTS = ("plain", "weighted, with holes")


def sections_of(variant, **model):
    return VARIANTS[variant] | {"model": MODEL | VARIANTS[variant].get("model", {}) | model}


def write(folder, sizes):
    """Two files whose row groups have these sizes, over and over."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("a", TABLE.slice(0, 13_000)), ("b", TABLE.slice(13_000))):
        first, at = 0, 0
        with pq.ParquetWriter(folder / f"{name}.parquet", table.schema) as writer:
            while first < table.num_rows:
                size = sizes[at % len(sizes)]
                writer.write_table(table.slice(first, size), row_group_size=size)
                first, at = first + size, at + 1


@pytest.fixture(scope="module")
def expected(tmp_path_factory, config_in, run_of):
    """The bits of each variant on one thread, from files of one row group, in one batch."""
    base, known = tmp_path_factory.mktemp("expected"), {}
    write(base / "data", [N_ROWS])

    def find(variant):
        if variant not in known:
            made = config_in(base, **sections_of(variant), engine={"workers": 1, "scratch_limit": 0})
            known[variant] = make_passes(run_of(made, chunk_rows=1 << 17), base).bits()
        return known[variant]

    return find


@pytest.mark.parametrize(
    "variant", [pytest.param(one, marks=() if one in FAST_VARIANTS else pytest.mark.slow) for one in VARIANTS]
)
@settings(max_examples=2, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # nothing is smaller than a layout
@example(sizes=[5000, 77], chunk_rows=8192, workers=4, scratch_limit=280_000)  # of some variants a copy of one file
@given(
    sizes=st.lists(st.integers(50, 9000), min_size=1, max_size=4),
    chunk_rows=st.sampled_from([4096, 8192, 32_768]),
    workers=st.sampled_from([1, 2, 4]),
    scratch_limit=st.sampled_from([0, 130_000, 280_000, 10**9]),
)
def test_passes_have_the_same_bits(
    tmp_path_factory, config_in, run_of, expected, variant, sizes, chunk_rows, workers, scratch_limit
):
    base = tmp_path_factory.mktemp("layout")
    write(base / "data", sizes)
    made = config_in(base, **sections_of(variant), engine={"workers": workers, "scratch_limit": scratch_limit})
    assert make_passes(run_of(made, chunk_rows=chunk_rows), base).bits() == expected(variant)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["weighted, with holes", "plain"])
def test_refresh_and_score_publish_the_same_bytes(tmp_path, config_in, variant):
    layouts = {
        "one": ([N_ROWS], {"workers": 1, "memory_limit": "1GiB", "scratch_limit": 0}),
        "two": ([1000, 77], {"workers": 4, "memory_limit": "256MiB", "scratch_limit": "1GiB"}),
        "three": ([5000], {"workers": 2, "memory_limit": "64MiB", "scratch_limit": 200_000}),
    }
    found = []
    for name, (sizes, engine) in layouts.items():
        base = tmp_path / name
        write(base / "data", sizes)
        made = config_in(base, **sections_of(variant, min_cluster_share=0.0), engine=engine)
        assert [refresh(made, only=["a.parquet"]).version, refresh(made).version] == ["v000001", "v000002"]
        folders = [base / "out/models" / version for version in ("v000001", "v000002")]
        files = [folder / name for folder in folders for name in ("centroids.parquet", "summary.parquet", "drift.json")]
        (base / "data/b.parquet").replace(base / "data/c.parquet")
        assert score(made).rows == 7000
        (report,) = (base / "out/reports").iterdir()
        told = (report / "drift.json").read_text().replace(report.name, "run")
        ids = pq.read_table(base / "out/assignments/v000002/c.parquet")["cluster_id"].to_pylist()
        found.append([*(file.read_bytes() for file in files), told, ids])
    assert found[1] == found[0]
    assert found[2] == found[0]
