"""What has been decided is made visible by the next run, whenever the one that decided it was ended."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from builders import Killed, end_in, listed

from kmstream.assignments import remove_old_versions
from kmstream.pipeline import refresh, score
from kmstream.store import Store
from kmstream.versions import rollback


@pytest.mark.slow
@pytest.mark.parametrize("step", ["kmstream.commit.mark_complete", "kmstream.commit.move_files"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["error", "killed"])
def test_what_a_score_has_decided_is_told_by_the_next_run(year, data, files, blobs, monkeypatch, step, error):
    files(data, {"n.parquet": blobs(900, seed=3, weights=(0.0, 0.1, 0.9))})
    (data / "m1.parquet").unlink()
    end_in(monkeypatch, step, error)
    with pytest.raises((OSError, Killed)):
        score(year())
    result = score(year())
    assert (result.partitions, result.removed, result.severity) == (1, 1, "alert")
    assert Path(result.report).is_file()
    events = [line["event"] for line in Store(year().output.path).history()]
    assert events == ["published", "drift", "retrain-requested"]
    assert sorted(listed(year)) == ["m2.parquet", "m3.parquet", "n.parquet"]
    assert score(year()).partitions == 0


@pytest.mark.parametrize("error", [None, Killed()], ids=["undisturbed", "killed"])
def test_a_file_can_become_a_folder_of_that_name_and_back(year, data, files, blobs, monkeypatch, error):
    for new, old in (("m1.parquet/part-0.parquet", "m1.parquet"), ("m1.parquet", "m1.parquet/part-0.parquet")):
        (data / old).unlink()
        if new == "m1.parquet":
            (data / "m1.parquet").rmdir()
        files(data, {new: blobs(40)})
        if error:
            end_in(monkeypatch, "kmstream.commit.mark_complete", error)
            with pytest.raises(Killed):
                score(year())
        assert (score(year()).rows, score(year()).partitions) == (40, 0)
        assert sorted(listed(year)) == [new, "m2.parquet", "m3.parquet"]


@pytest.mark.slow
def test_a_version_that_can_not_be_made_current_leaves_nothing(year, tree, monkeypatch):
    store = Store(year().output.path)
    before = tree(store.output)
    end_in(monkeypatch, "kmstream.store.store.Store.set_current", OSError(28, "No space left on device"))
    with pytest.raises(OSError, match="No space"):
        refresh(year())
    assert tree(store.output) == before
    assert refresh(year()).version == "v000003"  # the history knows v000002


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["error", "killed"])
def test_a_rollback_that_is_in_the_history_is_done_by_the_next_command(year, monkeypatch, error):
    refresh(year())
    end_in(monkeypatch, "kmstream.store.store.Store.set_current", error)
    with pytest.raises((OSError, Killed)):
        rollback(year())
    store = Store(year().output.path)
    assert store.current == "v000002"
    assert score(year()).version == store.current == "v000001"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "version"),
    [
        ("kmstream.publish.write_report_files", None),
        ("kmstream.publish._publish", None),
        ("kmstream.publish.mark_complete", None),
        ("kmstream.store.store.Store.log", None),
        ("kmstream.store.store.Store.set_current", "v000002"),
        ("kmstream.publish.forget_progress", "v000002"),
    ],
)
def test_a_refresh_that_is_killed_while_it_publishes_is_taken_back_or_finished(year, monkeypatch, step, version):
    end_in(monkeypatch, step, Killed())
    with pytest.raises(Killed):
        refresh(year())
    store = Store(year().output.path)
    if version:
        assert score(year()).version == store.current == version
        return
    result = refresh(year())
    assert (result.version, result.resumed, store.versions()) == ("v000002", 3, ["v000001", "v000002"])
    assert [line["event"] for line in store.history()] == ["published", "published"]
    assert listed(year, "v000002")


def test_an_old_version_that_was_being_removed_is_gone_whole(year, monkeypatch):
    refresh(year())
    end_in(monkeypatch, "shutil.rmtree", Killed())
    with pytest.raises(Killed):
        remove_old_versions(Path(year().output.path) / "assignments", 1, "v000002")
    assert score(year()).version == "v000002"
    assert sorted(path.name for path in (Path(year().output.path) / "assignments").iterdir()) == ["v000002"]


@pytest.mark.slow
def test_killed_runs_leave_what_undisturbed_ones_leave():
    """At 12 random moments; the script does it a hundred times."""
    script = Path(__file__).parent / "benchmarks/kill.py"
    done = subprocess.run(
        [sys.executable, script, "--kills", "12", "--files", "40"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["problems"] == []
