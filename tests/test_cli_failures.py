"""Failures on the command line: what they say, and that nothing is published and nothing left behind."""

import ctypes
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import KMSTREAM, assert_fails, content, run, run_process

from kmstream.store import Store


def _remove_data(folder: Path) -> None:
    shutil.rmtree(folder / "data")


def _leave_no_parquet(folder: Path) -> None:
    _remove_data(folder)
    (folder / "data").mkdir()
    (folder / "data/notes.txt").write_text("nothing here")


def _cut_off_footer(folder: Path) -> None:
    path = folder / "data/m2.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def _flip_bytes(folder: Path) -> None:
    path = folder / "data/m2.parquet"
    damaged = bytearray(path.read_bytes())
    footer = int.from_bytes(damaged[-8:-4], "little") + 8
    damaged[4:-footer] = bytes(255 - byte for byte in damaged[4:-footer])
    path.write_bytes(damaged)


def _rewrite(folder: Path, change: Callable[[pa.Table], pa.Table], name: str = "m2.parquet") -> None:
    path = folder / "data" / name
    pq.write_table(change(pq.read_table(path)), path)


def _with_x(values: object) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index("x"), "x", pa.array(values, from_pandas=True))


def _drop_column(folder: Path) -> None:
    _rewrite(folder, lambda table: table.drop_columns(["x"]))


def _make_text(folder: Path) -> None:
    _rewrite(folder, _with_x([f"{i} EUR" for i in range(400)]))


def _lose_values(folder: Path) -> None:
    _rewrite(folder, _with_x([None if i in {7, 9} else float(i) for i in range(400)]))


def _lose_all_values(folder: Path) -> None:
    for name in ("m1.parquet", "m2.parquet"):
        _rewrite(folder, _with_x(np.full(400, np.nan)), name)


def _touch_model(folder: Path) -> None:
    path = folder / "out/models/v000001/model.json"
    path.write_text(path.read_text().replace("blobs", "blubs"))


def _block_assignments(folder: Path) -> None:
    """Put a file where the folder of the next assignments must go: not even root can write there."""
    shutil.rmtree(folder / "out/assignments")
    (folder / "out/assignments").write_text("")


def _nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("damage", "arguments", "code", "texts"),
    [
        (_remove_data, [], 3, ["DatasetNotFoundError: ", "does not exist"]),
        (_leave_no_parquet, [], 3, ["DatasetNotFoundError: no Parquet files", "Expected names that end in .parquet"]),
        (_nothing, ["--only", "m9*"], 3, ["DatasetNotFoundError: ", "m1.parquet"]),
        (_cut_off_footer, [], 3, ["CorruptFileError: m2.parquet", "data/m2.parquet"]),
        (_flip_bytes, [], 3, ["CorruptFileError: m2.parquet", "data/m2.parquet"]),
        (_drop_column, [], 3, ["SchemaMismatchError: feature column 'x' is missing", "in m2.parquet"]),
        (_make_text, [], 3, ["SchemaMismatchError: feature column 'x' has type string", "in m2.parquet"]),
        (
            _lose_values,
            [],
            3,
            ["InvalidFeatureError: feature 'x' is missing in 2 of", "first such row 7", "on_missing"],
        ),
        (_lose_all_values, ["--set", "features.on_missing=skip"], 3, ["TooFewRowsError: "]),
        (_nothing, ["--set", "model.n_clusters=801"], 3, ["TooFewRowsError: ", "n_clusters=801"]),
        (_touch_model, [], 3, ["ChecksumMismatchError: model.json of v000001", "models/v000001"]),
        (_nothing, ["--set", "model.n_cluster=8"], 2, ["ConfigError: ", "did you mean 'model.n_clusters'?"]),
        (_nothing, ["--set", "features.numeric=['x']"], 2, ["ConfigError: features.numeric", "--baseline"]),
        (_nothing, ["--set", "engine.memory_limit='1MiB'"], 2, ["MemoryLimitError: ", "Raise engine.memory_limit"]),
        (_nothing, ["-c", "absent.toml"], 2, ["ConfigError: no such file: absent.toml", "kmstream init"]),
        (_block_assignments, [], 1, ["OutputError: ", "out/assignments", "nothing was published"]),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else None,
)
def test_refresh_that_fails_leaves_everything_as_it_was(there, damage, arguments, code, texts):
    damage(there)
    before = content(there / "out")
    assert_fails(run("refresh", "--json", *arguments), code, *texts)
    assert content(there / "out") == before


@pytest.mark.parametrize(
    "damage", [_cut_off_footer, _flip_bytes, _drop_column, _lose_values], ids=lambda one: one.__name__
)
def test_score_that_fails_leaves_everything_as_it_was(there, damage):
    damage(there)
    before = content(there / "out")
    assert_fails(run("score"), 3, "m2.parquet")
    assert content(there / "out") == before


def test_a_first_refresh_that_fails_leaves_no_file(here, files, blobs):
    files(here / "data", {"m1.parquet": blobs(400), "m2.parquet": blobs(400)})
    _flip_bytes(here)
    assert_fails(run("refresh"), 3, "CorruptFileError: m2.parquet")
    assert content(here / "out") == {}


@pytest.mark.parametrize(
    "arguments",
    [["score"], ["labels", "list"], ["report"], ["models", "show", "v000009"], ["models", "rollback"]],
    ids=lambda arguments: arguments[0],
)
def test_a_command_about_a_model_exits_with_2_where_there_is_none(here, files, blobs, arguments):
    files(here / "data", {"a.parquet": blobs(50)})
    assert_fails(run(*arguments), 2, "ModelNotFoundError: ")


def test_demo_refuses_a_folder_that_holds_something_else(there):
    before = content(there)
    assert_fails(run("demo", "--folder", "data"), 2, "ConfigError: data is not empty")
    assert content(there) == before


def test_a_run_exits_with_6_while_another_holds_the_lock(there):
    before = content(there / "out")
    with Store(there / "out").lock("blobs"):
        for command in ("refresh", "score"):
            assert_fails(run(command, "--json"), 6, "LockHeldError: another run of 'blobs'")
    assert content(there / "out") == before


def test_an_unexpected_error_is_two_lines_and_a_traceback_only_with_v(there):
    (there / "out/models/CURRENT").unlink()
    (there / "out/models/CURRENT").mkdir()
    brief, long = run("score"), run("score", "-v")
    assert (brief.exit_code, brief.stdout) == (1, "")
    first, second = brief.stderr.splitlines()
    assert first.startswith("unexpected IsADirectoryError: ")
    assert second.endswith("; run with -v for the traceback.")
    assert "Traceback (most recent call last)" in long.stderr
    assert long.exit_code == 1


def test_an_expected_error_has_its_traceback_with_v(here):
    assert "Traceback" not in run("plan").stderr
    assert "Traceback (most recent call last)" in run("plan", "-v").stderr


@pytest.mark.slow
def test_a_full_disk_exits_with_1_and_leaves_no_half_file(there, files, blobs):
    """A process that may not write a file of more than 20 kB, as on a full disk (and so no bytecode: Python would leave
    it cut off for all who come after)."""
    files(there / "data", {"m3.parquet": blobs(20_000, seed=3)})
    before = content(there / "out")
    done = run_process(
        "score",
        "--json",
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert_fails(done, 1, "OutputError: ", "m3.parquet can't be written", "Free space")
    assert content(there / "out") == before


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["ctrl-c", "terminated"])
def test_a_run_that_is_stopped_while_it_writes_leaves_everything_as_it_was(there, files, blobs, sent, code):
    files(there / "data", {f"m{i}.parquet": blobs(100_000, seed=i) for i in range(3, 7)})
    before = content(there / "out")
    fast = [f"--set=model.{key}" for key in ("algorithm=lloyd", "lloyd_passes=1", "n_init=1")]
    with subprocess.Popen(
        [KMSTREAM, "refresh", *fast, "--set=engine.workers=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: any((there / "out/assignments").glob(".v000002.refresh/.*.tmp")), process)
        process.send_signal(sent)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (code, "")
    assert stderr.startswith("interrupted: nothing was published, v000001 is still the current version")
    assert (
        "goes on with the files that are not done" in stderr
        or not (there / "out/assignments/.v000002.refresh/.progress.npz").exists()
    )
    hidden = there / "out/assignments/.v000002.refresh"  # where the next run goes on
    assert not list(hidden.glob(".*.tmp"))
    shutil.rmtree(hidden)
    assert content(there / "out") == before


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(there):
    with subprocess.Popen(
        [KMSTREAM, "models", "show", "v000001"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def _lose_capabilities() -> None:
    """Root reads what it wants; without these two capabilities a mode counts for it too."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="prctl is of Linux")
@pytest.mark.parametrize("denied", ["data", "data/m2.parquet"])
def test_data_that_may_not_be_read_exit_with_3_and_say_so(there, denied):
    path = there / denied
    path.chmod(0)
    try:
        result = run_process("plan", cwd=there, preexec_fn=_lose_capabilities)
    finally:
        path.chmod(0o755)
    assert_fails(result, 3, "can't be read: permission denied", denied.rpartition("/")[2], "Give the user who runs")
