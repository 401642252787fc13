"""What the verbs of `pipeline` return; `to_json` is what `--json` prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from kmstream.guard import Check


@dataclass(frozen=True)
class RefreshResult:
    """A refresh that came to its end, published or held."""

    name: str
    version: str
    status: str
    rows: int
    rows_skipped: int
    n_clusters: int
    inertia_per_row: float
    severity: str
    reasons: tuple[Mapping[str, Any], ...]
    labels: tuple[Mapping[str, Any], ...]
    retired: tuple[Mapping[str, Any], ...]
    gate: tuple[Check, ...]
    report: str
    assignments: str
    seconds: Mapping[str, float]
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ScoreResult:
    """A score that came to its end; `partitions` is 0 and `report` None if nothing was new."""

    name: str
    version: str
    run_id: str
    partitions: int
    rows: int
    rows_skipped: int
    severity: str
    reasons: tuple[Mapping[str, Any], ...]
    cleared: bool
    labels: tuple[Mapping[str, Any], ...]
    retrain: Mapping[str, Any]
    report: str | None
    assignments: str
    seconds: Mapping[str, float]
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return asdict(self)
