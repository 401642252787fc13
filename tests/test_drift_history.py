"""The drift of all runs, from drift.json files and a history written by hand, and what the command makes of them."""

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import answer, run

from kmstream.drift_history import FIGURES, read_drift_history
from kmstream.pipeline import refresh, score
from kmstream.reporting import tell_history
from kmstream.versions import rollback

ODD = 'big, "loud"\nones'


def write_run(out: Path, folder: str, shares: dict, *, psi=0.3, **more) -> None:
    """A drift.json as a run leaves it."""
    totals = {"rows": 100, "share_psi": psi, "centroid_shift_radii": 0.4, "inertia_ratio": 1.1, "outlier_share": 0.02}
    drift = {
        "severity": "warn",
        "totals": totals | {"feature_psi": 0.2},
        "segments": [{"cluster_label": label, "share": share} for label, share in shares.items()],
        "features": [{"feature": "x", "psi": 0.2}, {"feature": "y", "psi": 0.1}, {"feature": "z", "psi": None}],
    }
    (out / folder).mkdir(parents=True)
    (out / folder / "drift.json").write_text(json.dumps(drift | more))


def write_history(out: Path, *lines: dict) -> None:
    times = [f"2026-01-{day:02d}T06:00:00+00:00" for day in range(1, len(lines) + 1)]
    text = "".join(json.dumps({"time": time, **line}) + "\n" for time, line in zip(times, lines, strict=True))
    (out / "models/history.jsonl").write_text(text)


@pytest.fixture
def out(tmp_path):
    """Three runs: a first version, a score, and a version that was held."""
    first = {
        "totals": dict.fromkeys(FIGURES) | {"rows": 90},
        "severity": "ok",
        "features": [{"feature": "x", "psi": None}],
    }
    write_run(tmp_path / "out", "models/v000001", {"a": 0.6, "b": 0.4}, **first)
    write_run(tmp_path / "out", "models/v000002", {"a": 0.5, "c": 0.5}, psi=0.7)
    write_run(tmp_path / "out", "reports/20260102T060000Z", {"a": 0.7, "b": 0.3})
    write_history(
        tmp_path / "out",
        {"event": "published", "version": "v000001"},
        {"event": "drift", "version": "v000001", "run_id": "20260102T060000Z"},
        {"event": "held", "version": "v000002"},
    )
    return tmp_path / "out"


def test_read_drift_history_gives_a_line_per_run_by_time(out, config):
    found = read_drift_history(config())
    assert found.segments == ("a", "b", "c")
    assert found.skipped == ()
    first, second, third = found.runs
    nothing = dict.fromkeys((*FIGURES, "feature"))
    assert first == nothing | {
        "time": "2026-01-01T06:00:00+00:00",
        "run_id": "v000001",
        "version": "v000001",
        "kind": "refresh",
        "status": "published",
        "severity": "ok",
        "rows": 90,
        "shares": {"a": 0.6, "b": 0.4},
    }
    assert second == {
        "time": "2026-01-02T06:00:00+00:00",
        "run_id": "20260102T060000Z",
        "version": "v000001",
        "kind": "score",
        "status": "scored",
        "severity": "warn",
        "rows": 100,
        "share_psi": 0.3,
        "centroid_shift_radii": 0.4,
        "inertia_ratio": 1.1,
        "outlier_share": 0.02,
        "feature_psi": 0.2,
        "feature": "x",
        "shares": {"a": 0.7, "b": 0.3},
    }
    assert (third["run_id"], third["status"], third["share_psi"]) == ("v000002", "held", 0.7)


@pytest.mark.parametrize(("kind", "ids"), [("refresh", ["v000001", "v000002"]), ("score", ["20260102T060000Z"])])
def test_read_drift_history_gives_one_kind_of_run(out, config, kind, ids):
    assert [one["run_id"] for one in read_drift_history(config(), kind).runs] == ids


def test_read_drift_history_calls_segments_as_they_are_called_today(out, config):
    write_history(
        out,
        {"event": "published", "version": "v000001"},
        {"event": "renamed", "version": "v000001", "old": "b", "new": "a2"},
        {"event": "drift", "version": "v000001", "run_id": "20260102T060000Z"},
        {"event": "renamed", "version": "v000001", "old": "a2", "new": "loyal"},
        {"event": "held", "version": "v000002"},
    )
    (out / "reports/20260102T060000Z/drift.json").unlink()
    (out / "reports/20260102T060000Z").rmdir()
    write_run(out, "reports/20260102T060000Z", {"a": 0.7, "a2": 0.3})
    shares = {one["run_id"]: one["shares"] for one in read_drift_history(config()).runs}
    assert shares == {
        "v000001": {"a": 0.6, "loyal": 0.4},
        "20260102T060000Z": {"a": 0.7, "loyal": 0.3},
        "v000002": {"a": 0.5, "c": 0.5},
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"severity": ', "Expecting value"),
        ("[]", "it does not hold what drift.json holds"),
        ('{"totals": {}, "segments": [1]}', "it does not hold what drift.json holds"),
        (None, "No such file or directory"),
    ],
    ids=["cut off", "another kind", "odd segments", "missing"],
)
def test_read_drift_history_passes_over_what_it_cannot_read(out, config, content, told):
    path = out / "models/v000002/drift.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    found = read_drift_history(config())
    assert [one["run_id"] for one in found.runs] == ["v000001", "20260102T060000Z"]
    (problem,) = found.skipped
    assert problem.startswith(f"{path}: ")
    assert told in problem


def test_read_drift_history_of_nothing_is_empty(config):
    found = read_drift_history(config())
    assert (found.segments, found.runs, found.skipped) == ((), (), ())


def test_read_drift_history_marks_what_was_rolled_back(published, config, files, blobs, now):
    files(published / "data", {"m3.parquet": blobs(400, seed=3)})
    scored = score(config(), now=now)
    refresh(config(), now=now.replace(day=3))
    rollback(config(), now=now.replace(day=4))
    runs = read_drift_history(config()).runs
    assert [(one["run_id"], one["status"]) for one in runs] == [
        ("v000001", "published"),
        (scored.run_id, "scored"),
        ("v000002", "rolled-back"),
    ]
    assert [one["time"] for one in runs] == [now.replace(day=day).isoformat() for day in (1, 2, 3)]
    assert all(sum(one["shares"].values()) == pytest.approx(1) for one in runs)


def test_tell_history_leaves_out_a_version_that_is_held(out, config):
    runs = [{key: one[key] for key in ("time", "kind", "shares")} for one in read_drift_history(config()).runs]
    assert tell_history(config()) == runs[:2]


def test_drift_history_prints_one_object(out, here, config):
    found = answer("drift", "history")
    assert (found["name"], found["segments"]) == ("blobs", ["a", "b", "c"])
    assert found["runs"] == [dict(one) for one in read_drift_history(config()).runs]


def test_drift_history_prints_lines_with_a_column_per_segment(out, here):
    write_run(out, "reports/20260104T060000Z", {ODD: 0.25, "a": 0.75})
    result = run("drift", "history", "--csv")
    assert (result.exit_code, result.stderr) == (0, "")
    first, *_ = lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [line["run_id"] for line in lines] == ["20260104T060000Z", "v000001", "20260102T060000Z", "v000002"]
    assert (first[f"share {ODD}"], first["share a"], first["share b"]) == ("0.25", "0.75", "")
    assert (lines[2]["rows"], lines[2]["share_psi"], lines[2]["feature"]) == ("100", "0.3", "x")


def test_drift_history_shows_tables_to_people(out, here):
    result = run("drift", "history")
    assert result.exit_code == 0
    assert "2026-01-03  v000002  held" in result.stdout
    assert result.stdout.splitlines()[-2].split() == ["20260102T060000Z", "70.0", "%", "30.0", "%", "\u2013"]


def test_drift_history_tells_of_damaged_files_on_stderr(out, here):
    (out / "models/v000002/drift.json").write_text("{")
    result = run("drift", "history", "--json")
    assert result.exit_code == 0
    assert [one["run_id"] for one in json.loads(result.stdout)["runs"]] == ["v000001", "20260102T060000Z"]
    assert result.stderr.startswith("passed over: ")


def test_drift_history_refuses_two_formats(out, here):
    result = run("drift", "history", "--csv", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
