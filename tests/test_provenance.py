"""What a run writes down of itself: its time, its stages, its memory, what it was made of."""

import importlib.metadata
import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import psutil
import pytest

import kmstream
from kmstream.config import Config
from kmstream.dataset import open_dataset
from kmstream.provenance import Clock, describe_run, peak_rss_bytes

MIB = 1 << 20


def spin(seconds):
    """Be at work for so long, at least."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_clock_tells_the_time_it_was_given_in_utc():
    clock = Clock(datetime(2026, 3, 1, 1, 30, tzinfo=timezone(timedelta(hours=2))))
    assert clock.now == datetime(2026, 2, 28, 23, 30, tzinfo=UTC)
    assert clock.now.tzinfo is UTC


def test_clock_begins_now_where_it_was_given_no_time():
    before = datetime.now(UTC)
    clock = Clock()
    assert before <= clock.now <= datetime.now(UTC)
    assert clock.now.tzinfo is UTC


def test_stage_adds_up_blocks_of_the_same_name():
    clock = Clock()
    for name in ("scan", "fit", "scan", "scan"):
        with clock.stage(name):
            spin(0.003)
    seconds = clock.seconds
    assert list(seconds) == ["scan", "fit", "total"]
    assert seconds["scan"] >= 0.009
    assert seconds["fit"] >= 0.003
    assert seconds["total"] >= seconds["scan"] + seconds["fit"] - 0.002  # each is rounded to milliseconds
    assert all(value == round(value, 3) for value in seconds.values())


def test_seconds_goes_on_from_the_start_whether_or_not_a_stage_does():
    clock = Clock()
    spin(0.002)
    first = clock.seconds["total"]
    spin(0.002)
    assert 0.002 <= first < clock.seconds["total"]


def test_peak_rss_bytes_rises_with_what_is_held_and_never_falls():
    before = peak_rss_bytes()
    now = psutil.Process().memory_info().rss
    assert now / 2 <= before <= psutil.virtual_memory().total
    held = np.ones(before - now + 32 * MIB, np.uint8)
    peak = peak_rss_bytes()
    assert before + 16 * MIB < peak < before + 64 * MIB
    del held
    assert peak_rss_bytes() > peak - MIB  # the kernel counts it roughly


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only there does getrusage tell the peak of the parent")
def test_peak_rss_bytes_of_a_child_is_its_own():
    held = np.ones(256 * MIB, np.uint8)
    program = "from kmstream.provenance import peak_rss_bytes; print(peak_rss_bytes())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(told) < len(held)


@pytest.fixture
def described(config, data, files, blobs):
    """What is said of a run over two files of a configuration."""
    files(data, {"old/a.parquet": blobs(30), "new/b.parquet": blobs(20)})

    def describe(only=(), **sections):
        made = config(**sections)
        return describe_run(made, open_dataset(made, only), only)

    return describe


def test_describe_run_names_each_file_as_it_was(described, data):
    told = described()
    assert (told["dataset"], told["only"], told["rows"]) == (str(data), [], 50)
    assert {path: (about["rows"], about["bytes"]) for path, about in told["partitions"].items()} == {
        "new/b.parquet": (20, (data / "new/b.parquet").stat().st_size),
        "old/a.parquet": (30, (data / "old/a.parquet").stat().st_size),
    }
    assert len({about["fingerprint"] for about in told["partitions"].values()}) == 2


def test_describe_run_tells_the_partitions_that_were_asked_for(described):
    told = described(("old",))
    assert (told["only"], told["rows"], list(told["partitions"])) == (["old"], 30, ["old/a.parquet"])


def test_describe_run_holds_the_configuration_that_can_be_run_again(described, config):
    told = json.loads(json.dumps(described(model={"n_clusters": 7})))
    assert Config.model_validate(told["config"]) == config(model={"n_clusters": 7})


def test_describe_run_has_one_sha256_for_each_configuration(described):
    one, same, other = (described(model={"n_clusters": k})["config_sha256"] for k in (3, 3, 4))
    assert re.fullmatch(r"[0-9a-f]{64}", one)
    assert one == same != other


def test_describe_run_tells_the_versions_at_work(described):
    told = described()
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["libraries"]["kmstream"] == kmstream.__version__
    assert told["libraries"]["numpy"] == np.__version__
    assert {"pyarrow", "scikit-learn", "scipy", "evidently"} < told["libraries"].keys()
    assert all(importlib.metadata.version(name) == version for name, version in told["libraries"].items())
