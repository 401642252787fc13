"""What a report or a model card is told about a run, beside drift.json: plain figures, filled in by `reporting`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from kmstream.wording import Scalar


@dataclass(frozen=True)
class RunFacts:
    """One refresh or score run.

    Attributes
    ----------
    kind : {"refresh", "score"}
    name : str
        Name of the segmentation.
    version : str
        The version this run made (refresh) or used (score).
    run_id : str
    status : {"published", "held", "scored"}
    created : str
        ISO 8601.
    rows : int
        Rows read, those skipped included.
    rows_skipped : mapping of str to int
        Rows that could not be assigned, by reason.
    parent : str or None
        The version whose names a refresh continued.
    partitions : int
    gate : sequence of mapping
        One check each: ``check``, ``ok``, ``observed``, ``limit``. Empty for a score run.
    passes : sequence of mapping
        Fit history, one pass each: ``pass``, ``rows``, ``inertia_per_row``, ``largest_move``, ``seconds``.
    seconds : mapping of str to float
        By step: scan, fit, assign, total.
    provenance : mapping of str to scalar
        Where the figures come from: dataset, hash of the configuration, versions of the libraries.
    sample : mapping
        What the sampled rows show: what `kmstream.sample_views.tell_views` gives, and silhouette: overall and, by
        label, segments. Empty without a sample.
    history : sequence of mapping
        The runs before, by time: ``time`` (ISO 8601), ``kind``, and ``shares`` by label.
    """

    kind: Literal["refresh", "score"]
    name: str
    version: str
    run_id: str
    status: Literal["published", "held", "scored"]
    created: str
    rows: int
    rows_skipped: Mapping[str, int] = field(default_factory=dict)
    parent: str | None = None
    partitions: int = 0
    gate: Sequence[Mapping[str, Any]] = ()
    passes: Sequence[Mapping[str, Any]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Scalar] = field(default_factory=dict)
    sample: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ModelFacts:
    """One model version, as its card describes it; the segments themselves come from drift.json.

    Attributes
    ----------
    name, version, created, status : str
        As in `RunFacts`.
    numeric, categorical, log1p : sequence of str
        Feature columns.
    scaling, on_missing : str
    clip : float
        Bound of a scaled value while fitting; 0 is off.
    parameters : mapping of str to scalar
        The ``[model]`` part of the configuration.
    dataset : str
        Path or URI of the data.
    partitions, rows : int
    rows_skipped : mapping of str to int
    inertia_per_row : float or None
        Mean squared distance of a row to its centroid, in scaled units.
    quality : mapping
        Indices, as `model.json` has them.
    gate : sequence of mapping
    provenance : mapping of str to scalar
    """

    name: str
    version: str
    created: str
    status: str
    numeric: Sequence[str]
    categorical: Sequence[str] = ()
    log1p: Sequence[str] = ()
    scaling: str = "standard"
    on_missing: str = "error"
    clip: float = 0.0
    parameters: Mapping[str, Scalar] = field(default_factory=dict)
    dataset: str = ""
    partitions: int = 0
    rows: int = 0
    rows_skipped: Mapping[str, int] = field(default_factory=dict)
    inertia_per_row: float | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    gate: Sequence[Mapping[str, Any]] = ()
    provenance: Mapping[str, Scalar] = field(default_factory=dict)
