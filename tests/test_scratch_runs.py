"""Runs with a scratch copy: nothing is left of it however they end; test_bits.py has the figures."""

import signal

import numpy as np
import pyarrow as pa
import pytest
from builders import make_passes, refresh_until

from kmstream.dataset import SPAN_ROWS
from kmstream.pipeline import refresh
from kmstream.scratch import bytes_per_row


class Stop:
    """Ends a run in one of its stages."""

    def __init__(self, stage, error):
        self.stage, self.error, self.now = stage, error, ""

    def start(self, stage, rows):
        self.now = stage

    def advance(self, rows):
        if self.now == self.stage:
            raise self.error


@pytest.mark.parametrize("stage", ["search", "mini-batch epoch 1", "exact pass", "assign"])
def test_refresh_that_is_ended_leaves_no_copy(published, config_in, tree, stage):
    before = tree(published / "out")
    for error, workers in ((ValueError("x"), 1), (KeyboardInterrupt(), 2)):
        with pytest.raises(type(error)):
            refresh(config_in(published, engine={"workers": workers}), progress=Stop(stage, error))
        left = [name for name in tree(published / "out") if not name.startswith("assignments/.v000002.refresh")]
        assert left == before


def test_refresh_leaves_no_copy_and_takes_none_that_was_left(published, config_in, tree):
    for name in ("", "deep/er"):
        (published / "out/models/.scratch" / name).mkdir(parents=True)
        (published / "out/models/.scratch" / name / "junk").write_text("x")
    (published / "out/.scratch").mkdir()  # not ours
    refresh(config_in(published))
    (published / "out/.scratch").rmdir()
    assert [name for name in tree(published / "out") if "scratch" in name] == []


@pytest.mark.slow
def test_refresh_after_one_that_was_killed_takes_no_copy_and_leaves_none(published, config_in, files, blobs, tree):
    files(published / "data", {f"n{i}.parquet": blobs(3000, seed=i) for i in range(6)})
    before = tree(published / "out")
    done = refresh_until(published, "exact pass", signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL
    left = [name for name in tree(published / "out") if name not in before]
    assert [name for name in left if name.startswith("models/.scratch/") and name.endswith(".json")]
    assert refresh(config_in(published)).version == "v000002"
    assert [name for name in tree(published / "out") if "scratch" in name] == []


# --- the same results ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_passes_over_a_file_of_two_spans_have_the_same_bits_with_a_copy_of_one(config, data, files, run_of, tmp_path):
    """Other copies, and other rows, are in test_bits.py."""
    n_rows = SPAN_ROWS + 6000
    x = np.random.default_rng(0).gamma(2.0, size=n_rows).astype(np.float32)
    files(data, {"a.parquet": pa.table({"x": x, "y": x[::-1]})}, compression="none")
    model = {"n_clusters": 4, "sample_rows": 2000, "n_init": 1, "max_epochs": 1, "lloyd_passes": 2}
    row = bytes_per_row(2, weighted=False)
    none, one = (
        make_passes(run_of(config(model=model, engine=engine), chunk_rows=1 << 16), tmp_path).bits()
        for engine in ({"scratch_limit": 0, "workers": 1}, {"scratch_limit": SPAN_ROWS * row, "workers": 2})
    )
    assert none == one
