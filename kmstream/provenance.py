"""Where a result comes from: configuration, libraries, time and memory of the run."""

import hashlib
import importlib.metadata
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kmstream.config import Config
from kmstream.dataset import Dataset

_LIBRARIES = ("kmstream", "numpy", "pyarrow", "scikit-learn", "scipy", "evidently")


class Clock:
    """The time that a run writes down, and how long its stages take.

    Parameters
    ----------
    now : datetime, optional
        What the time is; the system's by default.

    Attributes
    ----------
    now : datetime
        In UTC; when the run began.
    """

    def __init__(self, now: datetime | None = None) -> None:
        self.now = (now or datetime.now(UTC)).astimezone(UTC)
        self._started = time.perf_counter()
        self._stages: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a block; blocks of the same name add up."""
        started = time.perf_counter()
        yield
        self._stages[name] = self._stages.get(name, 0.0) + time.perf_counter() - started

    @property
    def seconds(self) -> dict[str, float]:
        """The stages so far, and the total since the start."""
        total = time.perf_counter() - self._started
        return {name: round(value, 3) for name, value in (self._stages | {"total": total}).items()}


def peak_rss_bytes() -> int:
    """Most memory this process has had at once."""
    try:  # what getrusage tells on Linux survives exec: a child would report the peak of its parent
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def describe_run(config: Config, dataset: Dataset, only: Sequence[str]) -> dict[str, Any]:
    """Say what a model was fitted on, and with what."""
    text = config.model_dump_json()
    return {
        "dataset": config.dataset.path,
        "only": list(only),
        "rows": dataset.rows,
        "partitions": {
            p.path: {"rows": p.rows, "bytes": p.bytes, "fingerprint": p.fingerprint} for p in dataset.partitions
        },
        "config": config.model_dump(mode="json"),
        "config_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in _LIBRARIES},
    }
