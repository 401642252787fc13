"""The whole program on an object store: what comes out is what comes out on a disk, to the bit, by few requests."""

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import CENTERS, make_blobs
from s3_server import S3Server
from stored_shop import (
    MONTHS,
    at,
    config_of,
    refresh_and_score,
    table_of,
    tell_output,
    without,
    write,
)

from kmstream.drift_history import read_drift_history
from kmstream.names import apply_renames, freeze_labels, rename_segment
from kmstream.pipeline import choose_k, plan, refresh, retrain, score
from kmstream.storage import open_place, read_bytes, remove_file
from kmstream.versions import diff_versions, find_report, list_versions, promote, rollback

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("s3")]

FAR = [(x + 4.0, y + 4.0) for x, y in CENTERS]


def live(dataset: str, output: str, base: Path) -> dict[str, Any]:
    """Do everything that is done with a segmentation in a month, and tell what came of it."""
    config = config_of(dataset, output, base, dataset={"key": "id"}, retrain={"cooldown": "1h"})
    told: dict[str, Any] = {}

    def note(name: str, result: Any) -> Any:
        told[name] = without(result.to_json() if hasattr(result, "to_json") else result)
        return result

    months = {f"m{i}.parquet": make_blobs(300, seed=i, first_id=100 * i) for i in (1, 2, 3)}
    write(dataset, months)
    note("choose-k", choose_k(config, [2, 3, 4], now=at(1)))
    first = note("refresh", refresh(config, now=at(1)))
    write(dataset, {"m2.parquet": make_blobs(200, seed=9), "m4.parquet": make_blobs(250, seed=4)})
    remove_file(open_place(dataset) / "m3.parquet")
    note("score", score(config, now=at(2)))
    write(dataset, {"m5.parquet": make_blobs(400, seed=5, centers=FAR)})
    note("drifted", score(config, now=at(3)))
    assert note("retrain", retrain(config, now=at(4))).refresh.status == "held"
    note("promote", promote(config, "v000002", now=at(5)))
    note("rollback", rollback(config, now=at(6)))
    rename_segment(config, first.labels[0]["cluster_label"], "loyal", now=at(7))
    assert note("apply", apply_renames(config))["files"] > 0
    note("freeze", freeze_labels(config, now=at(8)))
    remove_file(open_place(dataset) / "m5.parquet")
    note("removed", score(config, now=at(9)))
    note("again", refresh(config, now=at(10)))
    note("versions", list_versions(config))
    note("diff", diff_versions(config, "v000001", "v000002"))
    note("history", [vars(run) if hasattr(run, "__dict__") else run for run in read_drift_history(config).runs])
    assert str(find_report(config)).endswith("out/models/v000003/report.html")
    return told | tell_output(output)


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    base = tmp_path_factory.mktemp("disk")
    return live(str(base / "data"), str(base / "out"), base)


@pytest.mark.parametrize("where", ["s3", "memory"])
def test_everything_comes_out_as_on_a_disk(request, s3, tmp_path, on_disk, where):
    root = s3.new_prefix() if where == "s3" else request.getfixturevalue("memory")
    found = live(f"{root}/data", f"{root}/out", tmp_path)
    assert sorted(found) == sorted(on_disk)
    for name, expected in on_disk.items():
        assert found[name] == expected, name
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("stored", ["dataset", "output"])
def test_dataset_and_output_need_not_lie_in_one_place(s3, tmp_path, shop_on_disk, stored):
    root = s3.new_prefix()
    dataset = f"{root}/data" if stored == "dataset" else str(tmp_path / "data")
    output = f"{root}/out" if stored == "output" else str(tmp_path / "out")
    write(dataset, MONTHS)
    refresh_and_score(config_of(dataset, output, tmp_path))
    assert tell_output(output) == shop_on_disk.scored


# --- requests --------------------------------------------------------------------------------------------------------


def lists(server: S3Server) -> list[str]:
    """Every listing that was made, in order of its folder."""
    return sorted(one.key.partition("/")[2] for one in server.proxy.requests if one.kind == "LIST")


def count_lists(server: S3Server) -> tuple[int, int]:
    """Listings of the dataset, and of the output."""
    of_dataset = sum(one.startswith("data/") for one in lists(server))
    return of_dataset, len(lists(server)) - of_dataset


def test_listings_do_not_grow_with_files_or_versions(s3, shop):
    """From the third version on; a refresh reads the current one and the baseline."""
    for day in (1, 2):
        refresh(shop, now=at(day))
    seen: dict[str, list[tuple[int, int]]] = {"score": [], "refresh": []}
    tables = []
    for day, n_new in ((4, 1), (7, 5)):
        write(shop.dataset.path, {f"m{10 * day + n}.parquet": make_blobs(100, seed=n) for n in range(n_new)})
        for verb, do in (("score", score), ("refresh", refresh)):
            s3.proxy.clear()
            do(shop, now=at(day + (verb == "refresh")))
            seen[verb].append(count_lists(s3))
            tables.append(f"{verb}, {n_new} new files\n{table_of(s3)}")
            assert not s3.proxy.counts()["POST-multipart-create"], tables[-1]
            puts = Counter(one.key for one in s3.proxy.requests if one.kind == "PUT" and one.key.endswith(".parquet"))
            assert set(puts.values()) == {1}, tables[-1]
    for counts in seen.values():
        assert counts[0] == counts[1], "\n".join(tables)
        assert counts[0][0] == 1, "\n".join(tables)


N_COLUMNS, N_ROWS, GROUP_ROWS = 16, 100_000, 25_000


@pytest.fixture(scope="module")
def wide() -> pa.Table:
    """A table of about 13 MB, whose first and last but one columns are in clusters."""
    rng = np.random.default_rng(0)
    spread = {f"c{n:02}": rng.normal(size=N_ROWS) for n in range(N_COLUMNS)}
    groups = rng.integers(0, 3, N_ROWS)
    return pa.table(spread | {"c00": spread["c00"] + 10 * groups, "c14": spread["c14"] - 10 * groups})


def ranges_of(server: S3Server, name: str) -> list[tuple[int, int]]:
    """First byte and the one after the last of each GET of a file."""
    found = (one.range.removeprefix("bytes=") for one in server.proxy.requests if one.kind == "GET" and name in one.key)
    return [(int(first), int(last) + 1) for first, _, last in (one.partition("-") for one in found)]


def test_of_a_large_file_only_the_features_are_fetched_and_only_new_columns_sent(s3, tmp_path, wide):
    root = s3.new_prefix()
    write(f"{root}/data", {"wide.parquet": wide}, row_group_size=GROUP_ROWS)
    stored = read_bytes(open_place(f"{root}/data/wide.parquet"))
    metadata = pq.read_metadata(io.BytesIO(stored))
    groups = [metadata.row_group(n) for n in range(metadata.num_row_groups)]
    chunks = [group.column(n) for group in groups for n in (0, 14)]
    wanted = [(chunk.dictionary_page_offset or chunk.data_page_offset, chunk.total_compressed_size) for chunk in chunks]
    config = config_of(f"{root}/data", f"{root}/out", tmp_path, features={"numeric": ["c00", "c14"]})
    s3.proxy.clear()
    refresh(config, now=at(1))

    fetched = ranges_of(s3, "wide.parquet")
    inside = [any(first <= a and b <= first + size for first, size in wanted) for a, b in fetched]
    footers = [(a, b) for (a, b), is_inside in zip(fetched, inside, strict=True) if not is_inside]
    assert all(a >= len(stored) - (1 << 17) for a, b in footers), fetched
    assert sum(b - a for a, b in fetched) < len(stored), fetched
    n_passes = sum(inside) / len(wanted)
    assert n_passes == int(n_passes) <= 3, fetched

    at_target = [one for one in s3.proxy.requests if "assignments/v000001/wide.parquet" in one.key]
    kinds = Counter(one.kind for one in at_target)
    assert kinds == {"POST-multipart-create": 1, "PUT-part-copy": 1, "PUT-part": 1, "COMPLETE": 1}, table_of(s3)
    assert sum(one.bytes_in for one in at_target) < 16 * N_ROWS
    written = read_bytes(open_place(f"{root}/out/assignments/v000001/wide.parquet"))
    old = max(chunk.data_page_offset + chunk.total_compressed_size for chunk in chunks)
    assert written[:old] == stored[:old]
    assert pq.read_table(io.BytesIO(written)).select(wide.column_names).equals(wide)

    carried = wide.column_names[:12]
    narrow = config_of(
        f"{root}/data", f"{root}/out", tmp_path, features={"numeric": ["c00", "c14"]}, output={"columns": carried}
    )
    s3.proxy.clear()
    refresh(narrow, now=at(2))
    kinds = Counter(one.kind for one in s3.proxy.requests if "assignments/v000002/wide.parquet" in one.key)
    assert kinds == {"POST-multipart-create": 1, "PUT-part": 2, "COMPLETE": 1}, table_of(s3)
    written = read_bytes(open_place(f"{root}/out/assignments/v000002/wide.parquet"))
    assert pq.read_table(io.BytesIO(written), columns=carried).equals(wide.select(carried))


def test_one_file_or_a_glob_may_be_the_dataset(s3, shop, tmp_path):
    root = shop.dataset.path.removesuffix("/data")
    write(f"{root}/parts", {f"year={n}/part-{n}.parquet": make_blobs(60, seed=n) for n in (1, 2)})
    write(f"{root}/parts", {"year=1/rest.parquet": make_blobs(60, seed=3)})
    found = {}
    for path in ("/year=*/part-*.parquet", "/year=1/rest.parquet", "/"):
        s3.proxy.clear()
        found[path] = plan(config_of(f"{root}/parts{path}", f"{root}/out", tmp_path)).rows
        assert s3.proxy.counts()["LIST"] == 1, table_of(s3)
    assert found == {"/year=*/part-*.parquet": 120, "/year=1/rest.parquet": 60, "/": 180}
