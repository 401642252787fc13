"""A drift report, as it is built and as `drift.json` holds it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from kmstream.arrays import Counts
from kmstream.reasons import Reason


@dataclass(frozen=True)
class DriftReport:
    """What `drift.json` holds, but for names and versions.

    `too_few_rows` are the measures by which even an alert could be chance: the window is too small to be judged by.
    `thresholds` are those that it was judged by: ``warn`` and ``alert`` of each measure; None of a first version.
    `thresholds_from` tells where they come from.
    """

    severity: str
    reasons: tuple[Reason, ...]
    totals: dict[str, Any]
    segments: tuple[dict[str, Any], ...]
    features: tuple[dict[str, Any], ...]
    against_baseline: dict[str, Any] | None = None
    against_model: dict[str, Any] | None = None
    migration: dict[str, Any] | None = None
    ari: float | None = None
    too_few_rows: tuple[str, ...] = ()
    thresholds: dict[str, dict[str, float]] | None = None
    thresholds_from: str = "configuration"

    def to_json(self, *, name: str, reference: str | None, current: str) -> dict[str, Any]:
        """Give the content of drift.json; `reference` and `current` say what was compared, a version or a run."""
        head = {"schema_version": 1, "name": name, "reference": reference, "current": current}
        body = {one.name: getattr(self, one.name) for one in fields(self)}
        return head | body | {"reasons": [asdict(reason) for reason in self.reasons]}


def add_facts(report: DriftReport, told: Mapping[str, Mapping[str, Any]]) -> DriftReport:
    """Add to the segments of a report what else is told of them, by label."""
    segments = tuple({**segment, **told.get(segment["cluster_label"], {})} for segment in report.segments)
    return replace(report, segments=segments)


def add_migration(
    report: DriftReport, migration: Counts, labels_from: Sequence[str], labels_to: Sequence[str], ari: float
) -> DriftReport:
    """Add to a report the table old label x new label, and the agreement of the two."""
    table = {"labels_from": list(labels_from), "labels_to": list(labels_to), "rows": migration.tolist()}
    return replace(report, migration=table, ari=ari)
