"""The whole program on an object store: a real S3 server that counts requests and lets some of them fail.

What comes out is what comes out on a disk, to the bit; requests are few, and don't grow with what is there already;
whatever fails, nothing half done is visible, and the next run is right.
"""

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import CONFIG, assert_fails, run
from conftest import CENTERS, make_blobs, make_config
from s3_server import S3Server
from s3fs import S3FileSystem

from kmstream.assignments import read_manifest
from kmstream.config import Config, FeaturesConfig
from kmstream.drift_history import read_drift_history
from kmstream.errors import CorruptFileError, LockHeldError, StorageError
from kmstream.names import apply_renames, freeze_labels, rename_segment
from kmstream.pipeline import choose_k, plan, refresh, retrain, score
from kmstream.storage import exists, lease, list_files, open_place, read_bytes, read_text, remove_file, replace_bytes
from kmstream.store import Store
from kmstream.versions import diff_versions, find_report, list_versions, promote, rollback

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("s3")]

FAR = [(x + 4.0, y + 4.0) for x, y in CENTERS]


def at(day: int) -> datetime:
    return datetime(2026, 3, day, 12, tzinfo=UTC)


def write(dataset: str, tables: Mapping[str, pa.Table], **options: Any) -> None:
    """Write tables as Parquet files below a path or URI."""
    for name, table in tables.items():
        content = io.BytesIO()
        pq.write_table(table, content, **options)
        replace_bytes(open_place(dataset) / name, content.getvalue())


def config_of(dataset: str, output: str, base: Path, /, **sections: Any) -> Config:
    sections = {"dataset": {}, "output": {}, **sections}
    sections["dataset"] = {"path": dataset, **sections["dataset"]}
    sections["output"] = {"path": output, **sections["output"]}
    return make_config(base, **sections)


# --- the same as on a disk -------------------------------------------------------------------------------------------

# Of where the files lie and of this machine, not of what is in them.
ELSEWHERE = {"fingerprint", "dataset", "seconds", "peak_rss_bytes", "report", "assignments", "file"}
UNCOMPARED = ("report.html", "MODEL_CARD.md", "provenance.json", "checksums.json", "choose-k.html")


def without(told: Any) -> Any:
    """Leave out of JSON values what can't be the same elsewhere."""
    if isinstance(told, dict):
        return {key: without(value) for key, value in told.items() if key not in ELSEWHERE}
    return [without(one) for one in told] if isinstance(told, list | tuple) else told


def tell_output(output: str) -> dict[str, Any]:
    """Every file of an output: its bytes, but for what tells where it lies."""
    folder = open_place(output)
    told: dict[str, Any] = {}
    for path in sorted(list_files(folder)):
        if not path.startswith("workspace/") and not path.endswith(".lock"):
            told[path] = read_bytes(folder / path) if not path.endswith(UNCOMPARED) else b""
        if path.endswith(".json") and told.get(path):
            told[path] = without(json.loads(told[path]))
    told["workspace"] = sum("/snapshots/" in path for path in list_files(folder))
    return told


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


# --- a small segmentation that many tests begin with -----------------------------------------------------------------

MONTHS = {f"m{i}.parquet": make_blobs(300, seed=i) for i in (1, 2)}
LATER = {"m3.parquet": make_blobs(200, seed=3)}


@dataclass(frozen=True)
class Expected:
    """What is left behind on a disk by a refresh of MONTHS, and by a score of LATER after it."""

    refreshed: dict[str, Any]
    scored: dict[str, Any]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    base = tmp_path_factory.mktemp("expected")
    write(str(base / "data"), MONTHS)
    config = config_of(str(base / "data"), str(base / "out"), base)
    assert refresh(config, now=at(1)).status == "published"
    refreshed = tell_output(config.output.path)
    score_later(config)
    return Expected(refreshed, tell_output(config.output.path))


def score_later(config: Config) -> None:
    write(config.dataset.path, LATER)
    assert score(config, now=at(2)).partitions == 1


def refresh_and_score(config: Config) -> None:
    refresh(config, now=at(1))
    score_later(config)


@pytest.fixture
def shop(s3: S3Server, tmp_path: Path) -> Config:
    """Give a configuration about MONTHS on the server, and an output there that is empty."""
    root = s3.new_prefix()
    write(f"{root}/data", MONTHS)
    s3.proxy.clear()
    return config_of(f"{root}/data", f"{root}/out", tmp_path)


def assert_whole(config: Config) -> None:
    """What is visible is complete: every version, and every file of assignments that are marked as such."""
    store = Store(config.output.path)
    assert store.current in {None, *store.versions()}
    for version in store.versions():
        store.load(version)
        folder = store.assignments(version)
        if not exists(folder / "_SUCCESS"):
            continue
        for path, entry in read_manifest(folder).items():
            table = pq.read_table(io.BytesIO(read_bytes(folder / path)))
            assert (table.num_rows, table.column_names[-4]) == (entry.rows, "cluster_id")


@pytest.mark.parametrize("stored", ["dataset", "output"])
def test_dataset_and_output_need_not_lie_in_one_place(s3, tmp_path, expected, stored):
    root = s3.new_prefix()
    dataset = f"{root}/data" if stored == "dataset" else str(tmp_path / "data")
    output = f"{root}/out" if stored == "output" else str(tmp_path / "out")
    write(dataset, MONTHS)
    refresh_and_score(config_of(dataset, output, tmp_path))
    assert tell_output(output) == expected.scored


# --- requests --------------------------------------------------------------------------------------------------------


def table_of(server: S3Server) -> str:
    """Requests by kind and file, to be shown where a test about them fails."""
    counts = Counter((one.kind, one.key.partition("/")[2]) for one in server.proxy.requests)
    return "\n".join(f"{n:4} {kind:22} {key}" for (kind, key), n in sorted(counts.items()))


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


# --- faults ----------------------------------------------------------------------------------------------------------

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
def test_what_fails_and_then_goes_well_leaves_no_trace(s3, shop, expected, how, times):
    faults = [s3.proxy.fail(kind, f"*{key}", how=how, times=times) for kind, key in STAGES]
    refresh_and_score(shop)
    assert {(fault.kind, fault.key): fault.struck for fault in faults if fault.struck != times} == {}
    s3.proxy.clear()
    assert tell_output(shop.output.path) == expected.scored
    assert_whole(shop)


@pytest.fixture
def impatient(hasty: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a client give up soon: half a second for an answer, two tries of s3fs with all those of botocore."""
    monkeypatch.setattr(S3FileSystem, "read_timeout", 0.5)
    monkeypatch.setattr(S3FileSystem, "retries", 2)
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


@pytest.mark.usefixtures("impatient")
def test_an_answer_that_does_not_come_is_asked_for_again(s3, shop, expected):
    stages = [("LIST", "data/*"), ("GET", "data/m2.parquet"), ("PUT", "*/history.jsonl"), ("PUT", "*/CURRENT")]
    faults = [s3.proxy.fail(kind, f"*{key}", how="timeout") for kind, key in stages]
    refresh_and_score(shop)
    assert [fault.struck for fault in faults] == [1] * len(faults)
    assert tell_output(shop.output.path) == expected.scored


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
def test_what_fails_for_ever_is_told_and_the_next_run_is_right(s3, shop, expected, monkeypatch, kind, key):
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
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
    wait_for_lock(shop)
    refresh(shop, now=at(1))
    if key.endswith("CURRENT"):  # the history says that it was published, and no number is given twice
        assert Store(shop.output.path).versions() == ["v000002"]
    else:
        assert tell_output(shop.output.path) == expected.refreshed


def wait_for_lock(config: Config) -> None:
    """Wait until a lock that could not be given back has ended."""
    end = time.monotonic() + 30
    while True:
        try:
            with Store(config.output.path).lock(config.name):
                return
        except LockHeldError:
            assert time.monotonic() < end


# --- several runs at once, and runs that are killed ------------------------------------------------------------------

# Loads everything once, then forks for each line of arguments, tells the process and, when that ends, how.
FORKS = """
import json, os, sys
import evidently.legacy.utils
import kmstream.pipeline, kmstream.report.snapshot
from kmstream.cli import main
from kmstream.storage import lease
from s3fs import S3FileSystem
lease.LEASE_SECONDS, S3FileSystem.read_timeout = 2.0, 1.0
for line in sys.stdin:
    process = os.fork()
    if not process:
        folder, *sys.argv[1:] = json.loads(line)
        sys.argv[0] = "kmstream"
        os.chdir(folder)
        os.dup2(os.open("errors", os.O_WRONLY | os.O_CREAT), 2)
        os.dup2(2, 1)
        main()
    print(process, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def forks(_started_s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    environment = {**os.environ, **_started_s3.environment, "TMPDIR": str(tmp_path_factory.mktemp("forks"))}
    command = [sys.executable, "-c", FORKS]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        yield process
        process.stdin.close()


@dataclass(frozen=True)
class Started:
    """A process of its own that runs kmstream, with a lease of two seconds."""

    process: int
    folder: Path
    forks: subprocess.Popen[str]

    def send(self, what: signal.Signals) -> None:
        os.kill(self.process, what)

    def wait(self) -> tuple[int, str]:
        """Give its exit code, and what it said."""
        return int(self.forks.stdout.readline()), (self.folder / "errors").read_text()


def write_config(base: Path, dataset: str, output: str) -> None:
    text = CONFIG.replace('"data"', f'"{dataset}"').replace('"out"', f'"{output}"')
    (base / "kmstream.toml").write_text(text)


@pytest.fixture
def here(shop: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with the kmstream.toml of the shop."""
    write_config(tmp_path, shop.dataset.path, shop.output.path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    return tmp_path


@pytest.fixture
def start(forks: subprocess.Popen[str], here: Path) -> Callable[[str], Started]:
    def start(verb: str) -> Started:
        forks.stdin.write(json.dumps([str(here), verb]) + "\n")
        forks.stdin.flush()
        return Started(int(forks.stdout.readline()), here, forks)

    return start


@pytest.mark.parametrize(
    ("verb", "kind", "key"),
    [
        ("refresh", "PUT", "*/assignments/v000002/m2.parquet"),
        ("refresh", "PUT", "*/models/CURRENT"),
        ("score", "COPY", "*/assignments/v000001/m3.parquet"),
    ],
)
def test_a_run_that_is_killed_leaves_nothing_half_done(s3, shop, start, verb, kind, key):
    refresh(shop, now=at(1))
    before = tell_output(shop.output.path)
    write(shop.dataset.path, LATER)
    s3.proxy.clear()
    s3.proxy.fail(kind, key, how="timeout", times=None)
    killed = start(verb)
    s3.proxy.wait_for(kind, key)
    killed.send(signal.SIGKILL)
    assert killed.wait()[0] == -signal.SIGKILL
    s3.proxy.clear()
    assert Store(shop.output.path).current == "v000001"
    assert_whole(shop)
    after = tell_output(shop.output.path)
    assert {path for path, told in before.items() if after.get(path) != told} <= {"models/history.jsonl"}
    wait_for_lock(shop)
    (refresh if verb == "refresh" else score)(shop, now=at(3))
    assert_whole(shop)
    store = Store(shop.output.path)
    assert sorted(read_manifest(store.assignments(store.current))) == ["m1.parquet", "m2.parquet", "m3.parquet"]
    assert not [path for path in list_files(store.output) if "/.v" in path or ".progress" in path]
    lines = [(line["event"], line.get("run_id", line["version"])) for line in store.history()]
    assert len(lines) == len(set(lines))


def test_a_run_whose_lock_was_taken_publishes_nothing(s3, shop, start):
    """It is suspended for longer than its lease, another one takes over, and it goes on."""
    fault = s3.proxy.fail("PUT", "*/assignments/v000001/m2.parquet", how="timeout")
    late = start("refresh")
    s3.proxy.wait_for("PUT", "*/assignments/v000001/m2.parquet")
    late.send(signal.SIGSTOP)
    fault.end()
    wait_for_lock(shop)
    write(shop.dataset.path, LATER)
    refresh(shop, now=at(1))
    published = tell_output(shop.output.path)
    late.send(signal.SIGCONT)
    code, said = late.wait()
    assert code == 6, said
    assert said.startswith("LockHeldError: this run of 'blobs' has lost its lock; another one may have taken it\n")
    found = tell_output(shop.output.path)
    assert [path for path in {*found, *published} if found.get(path) != published.get(path)] == []
    assert_whole(shop)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("name", ["CURRENT", "history.jsonl"])
def test_what_another_run_has_published_meanwhile_is_not_replaced(s3, shop, monkeypatch, name):
    """This one has lost its lock while it waited for what was there before."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 1.0)
    store = Store(shop.output.path)
    place = store.models / name
    replace_bytes(place, b"before\n")
    with ThreadPoolExecutor(1) as pool, store.lock("blobs"):
        s3.proxy.clear()
        s3.proxy.fail("GET", f"*/{name}", how="timeout")
        if name == "CURRENT":
            done = pool.submit(store.set_current, "v000001")
        else:
            done = pool.submit(store.log, "published", at(1), version="v000001")
        s3.proxy.wait_for("GET", f"*/{name}")
        put_lock(store.models / ".lock")
        place.fs.pipe_file(place.path, b"theirs\n")
        with pytest.raises(LockHeldError):
            done.result()
    assert read_text(place) == "theirs\n"


def put_lock(place: Any) -> None:
    """Take a lock that has not ended, as if it had."""
    place.fs.pipe_file(place.path, json.dumps({"host": "elsewhere", "pid": 1, "seconds": 60.0}).encode())


@pytest.mark.usefixtures("here")
def test_of_two_runs_at_once_one_is_told_who_holds_the_lock(shop):
    who = ("another run of 'blobs' holds the lock", f"process {os.getpid()}", "/models/.lock")
    with Store(shop.output.path).lock("blobs"):
        for verb in ("refresh", "score"):
            assert_fails(run(verb), 6, *who)


def test_no_line_of_the_history_is_lost_among_many_writers(shop):
    stores = [Store(shop.output.path) for _ in range(4)]

    def log(n: int) -> None:
        for line in range(3):
            stores[n].log("renamed", at(1), old=f"{n}", new=f"{line}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(log, range(4)))
    lines = [(line["old"], line["new"]) for line in stores[0].history()]
    assert sorted(lines) == [(f"{n}", f"{line}") for n in range(4) for line in range(3)]


# --- what is wrong ---------------------------------------------------------------------------------------------------


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
def test_what_cannot_be_used_is_told(shop, here, dataset, output, code, texts):
    root = shop.dataset.path.removesuffix("/data")
    for name in ("other/notes.txt", "broken/a.parquet"):
        replace_bytes(open_place(f"{root}/{name}"), b"no Parquet")
    write_config(here, dataset.replace("ROOT", root), output.replace("ROOT", root))
    assert_fails(run("refresh"), code, *(text.replace("ROOT", root) for text in texts))


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("how", ["denied", "expired"])
def test_credentials_that_do_not_do_are_told(s3, shop, how):
    s3.proxy.fail(how=how, times=None)
    assert_fails(run("refresh"), 1, shop.output.path, "access denied", "Mend the credentials (AWS_… variables")
    s3.proxy.clear()
    assert list_files(open_place(shop.output.path)) == set()


@pytest.mark.usefixtures("here")
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


def test_an_object_that_is_replaced_while_it_is_copied_ends_the_run(s3, shop, wide):
    large = wide.slice(0, 50_000)
    write(shop.dataset.path, {"m9.parquet": large})
    config = shop.model_copy(update={"features": FeaturesConfig(numeric=("c00", "c14"))})
    for name in MONTHS:
        remove_file(open_place(f"{shop.dataset.path}/{name}"))
    s3.proxy.clear()
    s3.proxy.fail("POST-multipart-create", how="slow", seconds=1.0)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(refresh, config, now=at(1))
        s3.proxy.wait_for("POST-multipart-create")
        write(shop.dataset.path, {"m9.parquet": large.slice(1, 49_999)})
        with pytest.raises(CorruptFileError, match=r"m9.parquet has changed since the run began"):
            done.result()
    assert Store(shop.output.path).current is None
