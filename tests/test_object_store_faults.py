"""Whatever fails on an object store, nothing half done is visible, what is wrong is told, and the next run is right."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from command_line import assert_fails, run
from conftest import make_blobs
from s3fs import S3FileSystem
from stored_shop import (
    assert_whole,
    at,
    config_of,
    free_lock,
    refresh_and_score,
    tell_output,
    write,
    write_config,
)

from kmstream.errors import CorruptFileError, StorageError
from kmstream.pipeline import refresh
from kmstream.storage import list_files, open_place, replace_bytes
from kmstream.store import Store

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("s3")]

# Requests of each kind, at each stage.
STAGES = [
    ("LIST", "data/*"),
    ("GET", "data/m1.parquet"),
    ("HEAD", "data/*"),
    ("GET", "*/models/history.jsonl"),
    ("GET", "*/models/CURRENT"),
    ("PUT", "*/models/.lock"),
    ("PUT", "*/models/.unfinished"),
    ("PUT", "*/assignments/v000001/m1.parquet"),
    ("PUT", "*/_manifest.json"),
    ("PUT", "*/v000001/checksums.json"),
    ("PUT", "*/v000001/report.html"),
    ("PUT", "*/models/history.jsonl"),
    ("PUT", "*/models/CURRENT"),
    ("PUT", "*/_SUCCESS"),
    ("DELETE", "*/models/.unfinished"),
    ("COPY", "*/assignments/v000001/m3.parquet"),
    ("GET", "*/.commit.json"),
    ("DELETE-many", "*"),
]


@pytest.mark.parametrize(("how", "times"), [("503", 2), ("reset", 2), ("cut", 1), ("lost", 1)])
@pytest.mark.usefixtures("hasty")
def test_what_fails_and_then_goes_well_leaves_no_trace(s3, shop, shop_on_disk, how, times):
    faults = [s3.proxy.fail(kind, f"*{key}", how=how, times=times) for kind, key in STAGES]
    refresh_and_score(shop)
    assert {(fault.kind, fault.key): fault.struck for fault in faults if fault.struck != times} == {}
    s3.proxy.clear()
    assert tell_output(shop.output.path) == shop_on_disk.scored
    assert_whole(shop)


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_does_not_come_is_asked_for_again(s3, shop, shop_on_disk):
    stages = [("LIST", "data/*"), ("GET", "data/m2.parquet"), ("PUT", "*/history.jsonl"), ("PUT", "*/CURRENT")]
    faults = [s3.proxy.fail(kind, f"*{key}", how="timeout") for kind, key in stages]
    refresh_and_score(shop)
    assert [fault.struck for fault in faults] == [1] * len(faults)
    assert tell_output(shop.output.path) == shop_on_disk.scored


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("GET", "*/data/m2.parquet"),
        ("PUT", "*/v000001/report.html"),
        ("PUT", "*/history.jsonl"),
        ("PUT", "*/CURRENT"),
        ("P*", "*"),
    ],
)
def test_what_fails_for_ever_is_told_and_the_next_run_is_right(s3, shop, shop_on_disk, kind, key):
    root = shop.dataset.path.removesuffix("data")
    with s3.proxy.fail(kind, key, how="503", times=None, after=2 if key == "*" else 0):
        with pytest.raises(
            StorageError, match=f"^({root}.*|.*parquet): the store is busy or does not answer: "
        ) as failed:
            refresh(shop, now=at(1))
        assert failed.value.__notes__ == [
            "It was tried several times. Run again when it answers: what was not finished is not visible."
        ]
    assert Store(shop.output.path).current is None
    assert_whole(shop)
    free_lock(shop)
    refresh(shop, now=at(1))
    if key.endswith("CURRENT"):  # the history says that it was published, and no number is given twice
        assert Store(shop.output.path).versions() == ["v000002"]
    else:
        assert tell_output(shop.output.path) == shop_on_disk.refreshed


@pytest.mark.parametrize(
    ("dataset", "output", "code", "texts"),
    [
        ("nope://bucket/data", "out", 2, ["nope://bucket/data can't be opened", "s3://bucket/folder"]),
        ("gs://bucket/data", "out", 2, ["gs://bucket/data can't be opened", "Install gcsfs"]),
        ("data", "gs://bucket/out", 2, ["gs://bucket/out can't be opened", "Install gcsfs"]),
        ("ROOT/data", "ROOT/data/out", 2, ["lies inside dataset.path ROOT/data"]),
        ("ROOT/nothing", "ROOT/out", 3, ["dataset.path does not exist: ROOT/nothing"]),
        ("ROOT/other", "ROOT/out", 3, ["no Parquet files in ROOT/other (1 other files there)"]),
        ("ROOT/broken", "ROOT/out", 3, ["a.parquet is not a readable Parquet file", "/broken/a.parquet"]),
        ("ROOT/data/part=*/m*.pq", "ROOT/out", 3, ["no Parquet files in ROOT/data/part=*/m*.pq"]),
        ("s3://no-such-bucket/data", "ROOT/out", 3, ["dataset.path does not exist: s3://no-such-bucket/data"]),
        ("ROOT/data", "s3://no-such-bucket/out", 1, ["s3://no-such-bucket/out", "bucket does not exist", "Make the"]),
    ],
)
def test_what_cannot_be_used_is_told(shop, at_shop, dataset, output, code, texts):
    root = shop.dataset.path.removesuffix("/data")
    for name in ("other/notes.txt", "broken/a.parquet"):
        replace_bytes(open_place(f"{root}/{name}"), b"no Parquet")
    write_config(at_shop, dataset.replace("ROOT", root), output.replace("ROOT", root))
    assert_fails(run("refresh"), code, *(text.replace("ROOT", root) for text in texts))


@pytest.mark.usefixtures("at_shop")
@pytest.mark.parametrize("how", ["denied", "expired"])
def test_credentials_that_do_not_do_are_told(s3, shop, how):
    s3.proxy.fail(how=how, times=None)
    assert_fails(run("refresh"), 1, shop.output.path, "access denied", "Mend the credentials (AWS_… variables")
    s3.proxy.clear()
    assert list_files(open_place(shop.output.path)) == set()


@pytest.mark.usefixtures("at_shop")
def test_no_credentials_at_all_are_told(shop, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    assert_fails(run("refresh"), 1, shop.output.path, "access denied", "credentials", "AWS_… variables")
    S3FileSystem.clear_instance_cache()


def test_credentials_that_expire_while_a_run_goes_on_end_it(s3, shop):
    refresh(shop, now=at(1))
    before = tell_output(shop.output.path)
    s3.proxy.fail("PUT", "*/assignments/*.parquet", how="expired", times=None)
    with pytest.raises(StorageError, match=r"assignments/v000002/m..parquet: access denied: .*expired"):
        refresh(shop, now=at(2))
    assert tell_output(shop.output.path) == before


@pytest.mark.parametrize("n_gets", [1, 3])
def test_an_object_that_is_replaced_during_a_run_ends_it(s3, shop, n_gets):
    s3.proxy.fail("GET", "*/data/m2.parquet", how="slow", after=n_gets, seconds=0.5)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(refresh, shop, now=at(1))
        s3.proxy.wait_for("GET", "*/data/m2.parquet", n=n_gets)
        write(shop.dataset.path, {"m2.parquet": make_blobs(300, seed=12)})
        with pytest.raises(CorruptFileError, match=r"m2.parquet has changed since the run began"):
            done.result()
    assert Store(shop.output.path).current is None
    assert not [path for path in list_files(open_place(shop.output.path)) if path != "models/.lock"]


def test_an_object_that_is_replaced_while_it_is_copied_ends_the_run(s3, tmp_path):
    root = s3.new_prefix()
    large = pa.table({f"c{n}": np.random.default_rng(n).normal(size=50_000) for n in range(14)})
    write(f"{root}/data", {"m9.parquet": large})
    config = config_of(f"{root}/data", f"{root}/out", tmp_path, features={"numeric": ["c0", "c1"]})
    s3.proxy.clear()
    s3.proxy.fail("POST-multipart-create", how="slow", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(refresh, config, now=at(1))
        s3.proxy.wait_for("POST-multipart-create")
        write(f"{root}/data", {"m9.parquet": large.slice(1)})
        with pytest.raises(CorruptFileError, match=r"m9.parquet has changed since the run began"):
            done.result()
    assert Store(config.output.path).current is None
