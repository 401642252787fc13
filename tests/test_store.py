import json
import pickle
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from kmstream.errors import ChecksumMismatchError, LockHeldError, ModelNotFoundError, OutputError
from kmstream.storage import replace_file
from kmstream.store import Store
from kmstream.store.version import rename_labels

FILES = (
    "MODEL_CARD.md",
    "centroids.parquet",
    "drift.json",
    "labels.json",
    "model.json",
    "provenance.json",
    "report.html",
    "sample.parquet",
    "summary.parquet",
)
TIME = datetime(2026, 3, 2, tzinfo=UTC)


@pytest.fixture
def store(published):
    return Store(published / "out")


def wait_in_lock(store):
    """Another process that holds the lock until it is ended."""
    program = f"""
import time
from kmstream.store import Store
with Store({str(store.output)!r}).lock("blobs"):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_load_gives_back_what_was_saved(store):
    version = store.load("v000001")
    store.save(replace(version, version="v000002"), lambda _: None)
    again = store.load("v000002")
    for name in ("rows", "mean", "m2", "sse", "distance_counts"):
        assert np.array_equal(getattr(again.summary, name), getattr(version.summary, name))
    for name in ("center", "scale", "fill", "edges"):
        assert np.array_equal(getattr(again.model.scaling, name), getattr(version.model.scaling, name))
    assert np.array_equal(again.model.centroids, version.model.centroids)
    assert np.array_equal(again.bins, version.bins)
    assert again.sample.equals(version.sample)
    for name in (
        "name",
        "created",
        "baseline",
        "parent",
        "retired",
        "parameters",
        "passes",
        "gate",
        "quality",
        "labels",
    ):
        assert getattr(again, name) == getattr(version, name)
    assert again.provenance == version.provenance
    assert again.model.features == version.model.features
    assert again.model.labels == version.model.labels


def test_save_writes_the_promised_files_with_checksums(store, tree):
    assert tree(store.path("v000001")) == sorted([*FILES, "checksums.json"])
    assert sorted(json.loads((store.path("v000001") / "checksums.json").read_text())) == sorted(FILES)


def test_save_writes_no_pickle(store):
    for path in store.path("v000001").iterdir():
        content = path.read_bytes()
        assert content[:4] == b"PAR1" or content.decode("utf-8")
        with pytest.raises((pickle.UnpicklingError, ValueError, EOFError, KeyError, IndexError, AttributeError)):
            pickle.loads(content)


@pytest.mark.parametrize("name", FILES)
def test_load_refuses_a_file_that_is_not_the_one_published(store, name):
    path = store.path("v000001") / name
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ChecksumMismatchError, match=f"{name} of v000001 has sha256") as caught:
        store.load()
    assert str(store.path("v000001")) in caught.value.__notes__[0]
    path.unlink()
    with pytest.raises(ChecksumMismatchError, match="no such file"):
        store.load()
    path.write_bytes(good)
    assert store.load().version == "v000001"


def test_load_refuses_checksums_that_cannot_be_read(store):
    (store.path("v000001") / "checksums.json").write_text('{"model.json": "12')
    with pytest.raises(ChecksumMismatchError, match=r"checksums\.json"):
        store.load()


def test_load_says_that_nothing_has_been_published(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no model has been published") as caught:
        Store(tmp_path / "out").load()
    assert "kmstream refresh" in caught.value.__notes__[0]


@pytest.mark.parametrize("version", ["v000009", "", "../models/v000001", "."])
def test_load_names_the_versions_there_are(store, version):
    with pytest.raises(ModelNotFoundError, match="there are: v000001"):
        store.load(version)


def test_save_that_fails_leaves_no_folder(store, tree):
    before = tree(store.models)

    def fail(folder):
        (folder / "report.html").write_text("half of it")
        raise KeyboardInterrupt

    version = store.load()
    with pytest.raises(KeyboardInterrupt):
        store.save(replace(version, version="v000002"), fail)
    assert store.versions() == ["v000001"]
    assert tree(store.models) == before


def test_set_current_replaces_the_one_line(store, tree):
    store.set_current("v000042")
    assert (store.models / "CURRENT").read_text() == "v000042\n"
    assert store.current == "v000042"
    assert not [name for name in tree(store.models) if name.endswith(".tmp")]


def test_set_current_replaces_no_first_version_that_another_run_has_published_meanwhile(in_memory, monkeypatch):
    """Also on a store that knows no condition but that an object is new."""
    store, place = Store(str(in_memory)), in_memory / "models" / "CURRENT"

    def be_overtaken(*_):
        monkeypatch.undo()
        replace_file(place, "v000009\n")

    monkeypatch.setattr("kmstream.storage.failures.check_guards", be_overtaken)
    with pytest.raises(LockHeldError, match="was written by another run"):
        store.set_current("v000001")
    assert store.current == "v000009"


def test_next_version_comes_after_the_newest_held_or_not(store, tmp_path):
    assert Store(tmp_path / "new").next_version() == "v000001"
    assert store.next_version() == "v000002"
    (store.models / "v000009").mkdir()
    (store.models / ".v000010.tmp").mkdir()
    assert store.next_version() == "v000010"


# --- history ---------------------------------------------------------------------------------------------------------


def test_log_appends_lines_that_history_reads_back(store):
    store.log("drift", TIME, severity="warn", text='ü\u2028"\n')
    line = store.history()[-1]
    assert line == {"time": TIME.isoformat(), "event": "drift", "severity": "warn", "text": 'ü\u2028"\n'}
    assert [one["event"] for one in store.history()] == ["published", "drift"]


def test_history_leaves_out_a_last_line_cut_off_by_a_crash(store):
    with (store.models / "history.jsonl").open("ab") as file:
        file.write(b'{"time": "2026-03-02T00:00:00+00:00", "eve')
    assert [line["event"] for line in store.history()] == ["published"]


def test_log_goes_on_after_a_line_cut_off_by_a_crash(store):
    with (store.models / "history.jsonl").open("ab") as file:
        file.write(b'{"time": "2026-03-02T00:00:00+00:00", "eve')
    store.log("drift", TIME, severity="ok")
    store.log("drift", TIME, severity="warn")
    assert [line["event"] for line in store.history()] == ["published", "drift", "drift"]


# --- lock ------------------------------------------------------------------------------------------------------------


def test_lock_is_refused_while_held_in_the_same_process_and_free_afterwards(store):
    second = Store(store.output).lock("blobs")
    with store.lock("blobs"), pytest.raises(LockHeldError, match="another run of 'blobs' holds the lock"), second:
        pass
    with store.lock("blobs"):
        pass


def test_lock_is_freed_when_the_block_fails(store):
    with pytest.raises(ZeroDivisionError), store.lock("blobs"):
        1 / 0  # noqa: B018
    with store.lock("blobs"):
        pass


def test_lock_held_by_another_process_frees_itself_when_that_is_killed(store):
    process = wait_in_lock(store)
    try:
        with pytest.raises(LockHeldError), store.lock("blobs"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    with store.lock("blobs"):
        pass


def test_lock_tells_where_it_cannot_write(tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="can't be written"), Store(tmp_path / "out").lock("blobs"):
        pass


# --- names -----------------------------------------------------------------------------------------------------------


def test_rename_labels_renames_everywhere_in_a_version(store):
    version = store.load()
    renamed = rename_labels(version, {"segment-02": "vip"})
    assert "vip" in renamed.model.labels
    assert {line["cluster_label"] for line in renamed.labels} == set(renamed.model.labels)
    assert set(renamed.sample.column("cluster_label").to_pylist()) == set(renamed.model.labels)
    assert renamed.model.labels.index("vip") == version.model.labels.index("segment-02")


def test_load_applies_later_renames_whatever_the_clock_says_and_no_earlier_ones(store):
    made = datetime.fromisoformat(store.load().created)
    history = store.models / "history.jsonl"
    published = history.read_text()
    history.unlink()
    store.log("renamed", made + timedelta(days=1), old="segment-01", new="never")
    with history.open("a") as file:
        file.write(published)
    store.log("renamed", made - timedelta(days=1), old="segment-01", new="vip")
    store.log("renamed", made - timedelta(days=2), old="vip", new="gold")
    assert set(store.load().model.labels) == {"gold", "segment-02", "segment-03"}


def test_frozen_labels_follow_renames_and_what_a_person_makes_current(store):
    def add(event, **facts):
        store.log(event, TIME, **facts)
        return store.frozen_labels()

    assert add("promoted", version="v000001", labels=["a", "b"]) is None  # nothing is frozen
    assert add("frozen", version="v000001", labels=["a", "b"]) == {"a", "b"}
    assert add("renamed", old="b", new="vip") == {"a", "vip"}
    assert add("renamed", old="c", new="gold") == {"a", "vip"}  # of a segment that came after
    assert add("published", version="v000002") == {"a", "vip"}
    assert add("promoted", version="v000003", labels=["a", "vip", "new"]) == {"a", "vip", "new"}
    assert add("rolled-back", version="v000002", labels=["a", "vip"]) == {"a", "vip"}
    assert add("thawed", version="v000002", labels=["a", "vip"]) is None
    assert add("promoted", version="v000003", labels=["a", "vip", "new"]) is None


def test_load_from_a_moved_output_tree(store, tmp_path):
    shutil.move(store.output, tmp_path / "elsewhere")
    assert Store(tmp_path / "elsewhere").load().version == "v000001"
    assert [path.name for path in (tmp_path / "elsewhere/assignments").iterdir()] == ["v000001"]


WRITER = """
import sys
from datetime import UTC, datetime
from kmstream.store import Store
store, writer = Store(sys.argv[1]), int(sys.argv[2])
for number in range(50):
    store.log("renamed", datetime.now(UTC), old=f"{writer}-{number}", new="x" * 5000)
"""


@pytest.mark.slow
def test_history_loses_and_mixes_no_line_of_concurrent_writers(tmp_path):
    (tmp_path / "models").mkdir()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, tmp_path, str(i)]) for i in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    lines = Store(tmp_path).history()
    assert {line["old"] for line in lines} == {f"{i}-{number}" for i in range(4) for number in range(50)}
    assert len((tmp_path / "models/history.jsonl").read_text().splitlines()) == 200
    for i in range(4):  # each in its order
        mine = [line["old"] for line in lines if line["old"].startswith(f"{i}-")]
        assert mine == [f"{i}-{number}" for number in range(50)]
