"""What the verbs of `pipeline` return; `to_json` is what `--json` prints."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from kmstream.gate import Check


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a refresh and a score have in common: both assign rows and compare them with those before.

    Attributes
    ----------
    version : str
        The version that a refresh made, or a score used.
    labels : tuple of mapping
        One per segment: cluster_label, rows, share, and what else the verb knows of it.
    report : str or None
        The page; None if nothing was new.
    resumed : int
        Partitions that an earlier run had assigned before it was cut off.
    rewritten : mapping of str to str
        Partitions whose columns could not be appended to a copy of the file, and why.
    empty : tuple of str
        Files named like Parquet files that hold no byte, and were passed over.
    entities : mapping or None
        Who was in another segment than the time before, where `dataset.key` is set: "entities" of drift.json.
    too_few_rows : tuple of str
        Measures of drift by which the rows are too few to be judged.
    """

    name: str
    version: str
    rows: int
    rows_skipped: int
    severity: str
    reasons: tuple[Mapping[str, Any], ...]
    labels: tuple[Mapping[str, Any], ...]
    report: str | None
    assignments: str
    seconds: Mapping[str, float]
    peak_rss_bytes: int
    resumed: int = 0
    rewritten: Mapping[str, str] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    entities: Mapping[str, Any] | None = None
    too_few_rows: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class RefreshResult(RunResult):
    """A refresh that came to its end, published or held.

    Attributes
    ----------
    status : {"published", "held"}
    retired : tuple of mapping
        Names that ended: cluster_label, event.
    """

    status: str
    report: str
    n_clusters: int
    inertia_per_row: float
    retired: tuple[Mapping[str, Any], ...]
    gate: tuple[Check, ...]
    quality: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class ScoreResult(RunResult):
    """A score that came to its end; `partitions` is 0, `run_id` empty and `report` None if nothing was new.

    Attributes
    ----------
    partitions : int
        Assigned by this run.
    cleared : bool
        Whether the runs before had drifted, and this one has not.
    retrain : mapping
        requested, why, and of a request that still waits its run_id and severity.
    removed : int
        Partitions whose files are gone, and so their assignments.
    renamed : int
        Assignment files that got names which segments were given since.
    """

    run_id: str
    partitions: int
    cleared: bool
    retrain: Mapping[str, Any]
    removed: int = 0
    renamed: int = 0


@dataclass(frozen=True)
class RetrainResult:
    """What came of a call for a new fit: the refresh, or why there was none."""

    name: str
    retrained: bool
    why: str
    refresh: RefreshResult | None

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Candidate:
    """One number of segments, fitted to the row sample.

    Attributes
    ----------
    silhouette, davies_bouldin, calinski_harabasz : float or None
        None where they are not defined: every row a segment of its own.
    stability : float or None
        Mean adjusted Rand index between fits to two halves of the rows; None if a half has too few distinct rows.
    smallest_share : float
        Of the sampled rows, in the smallest segment.
    ari, nmi : float or None
        Agreement with the true classes, if there are any.
    """

    k: int
    inertia_per_row: float
    silhouette: float | None
    davies_bouldin: float | None
    calinski_harabasz: float | None
    stability: float | None
    smallest_share: float
    ari: float | None = None
    nmi: float | None = None


@dataclass(frozen=True)
class ChoiceResult:
    """What each number of segments is worth.

    Attributes
    ----------
    scaling : str
        The version whose frozen scaling was used; "new" if it was learnt from these rows.
    k : tuple of Candidate
        Ascending.
    recommended : int or None
        None if no k stands out.
    elbow : int or None
        Where the inertia bends most.
    """

    name: str
    rows: int
    sample_rows: int
    scaling: str
    truth: str | None
    truth_rows: int | None
    k: tuple[Candidate, ...]
    recommended: int | None
    reason: str
    elbow: int | None
    notes: tuple[str, ...]
    report: str
    seconds: Mapping[str, float]
    peak_rss_bytes: int

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values; `ari` and `nmi` only where there are true classes."""
        content = asdict(self)
        if self.truth is None:
            for key in ("truth", "truth_rows"):
                del content[key]
            for one in content["k"]:
                del one["ari"], one["nmi"]
        return content
