"""The models of `kmstream.toml`: one frozen pydantic model per section.

A `Config` dumped to JSON and validated again is equal to itself, so it can be the parameter of a flow.
"""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kmstream.units import ByteLimit, ByteSize, Duration


class Section(BaseModel):
    """A section of the file: unknown keys are refused, values can't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _refuse_twice(names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"named more than once: {', '.join(map(repr, twice))}"
        raise ValueError(msg)


class DatasetConfig(Section):
    """Where the rows are."""

    path: str = Field(
        min_length=1,
        description="file, directory, glob, or URI (s3://, gs://, abfs://, file://); relative to this file",
    )
    time: str = Field(
        default="", description="column, or hive key such as month or year/month, that tells how old a row is"
    )
    key: str = Field(
        default="",
        description="column that tells entities apart, such as customer_id: which of them moved is told then",
    )

    @field_validator("time")
    @classmethod
    def _refuse_nameless(cls, time: str) -> str:
        if time and not all(time.split("/")):
            msg = f"{time!r} should be a column, or hive keys joined by single slashes, such as 'year/month'"
            raise ValueError(msg)
        return time


class FeaturesConfig(Section):
    """Which columns are clustered, and how they become numbers of comparable size."""

    numeric: tuple[str, ...] = Field(default=(), description="columns of numbers that are clustered")
    categorical: tuple[str, ...] = Field(
        default=(),
        description="columns to one-hot; categories frozen at the baseline; unseen ones counted, encoded as zeros",
    )
    log1p: tuple[str, ...] = Field(
        default=(),
        description="numeric ones whose logarithm is clustered: many small values, a few very large ones",
    )
    scaling: Literal["standard", "minmax", "robust", "none"] = Field(
        default="standard",
        description="standard = mean and standard deviation | minmax | robust = median and middle half | none",
    )
    on_missing: Literal["error", "skip", "mean", "median"] = Field(
        default="error",
        description="error | skip = no segment for such a row | mean | median (null, NaN, +-inf alike)",
    )
    clip: float = Field(
        default=0.0,
        ge=0.0,
        description="0 = off; else |scaled value| <= clip while fitting (one outlier can't own a segment)",
    )
    weight: str = Field(default="", description="column that says how many rows a row counts for")

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all feature columns: numeric ones first, each in the order of the file."""
        return self.numeric + self.categorical

    @model_validator(mode="after")
    def _check_columns(self) -> Self:
        if not self.columns:
            msg = "numeric and categorical are both empty; name at least one feature column"
            raise ValueError(msg)
        _refuse_twice(self.columns)
        stray = [name for name in self.log1p if name not in self.numeric]
        if stray:
            msg = f"log1p names {stray[0]!r}, which is not in numeric"
            raise ValueError(msg)
        return self


class ModelConfig(Section):
    """The K-means job."""

    n_clusters: int = Field(default=5, ge=1, description="how many segments")
    algorithm: Literal["minibatch", "lloyd"] = Field(
        default="minibatch",
        description="minibatch = partial_fit, then exact passes; lloyd = exact passes only",
    )
    batch_size: int = Field(
        default=4096, ge=1, description="rows per partial_fit step, whatever the chunk or row-group size"
    )
    max_epochs: int = Field(
        default=2, ge=0, description="mini-batch passes, at most; they end when the centroids stand still"
    )
    lloyd_passes: int = Field(default=2, ge=1, description="exact passes, at most; stops early below tol")
    n_init: int = Field(default=10, ge=1, description="searches on the sample; the best one starts the fit")
    sample_rows: int = Field(default=100_000, ge=1, description="rows of the sample")
    tol: float = Field(default=1e-4, ge=0.0, description="largest centroid move, in scaled units, that counts as none")
    random_state: int = Field(default=0, ge=0, le=2**32 - 1, description="same number, same data: same model")
    min_cluster_share: float = Field(
        default=0.001, ge=0.0, le=1.0, description="held if a segment has a smaller share of the rows"
    )
    half_life: Duration = Field(
        default=timedelta(),
        description="0 = off; else the age at which a row counts half, such as 90d; needs dataset.time",
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for key in ("batch_size", "sample_rows"):
            if getattr(self, key) < self.n_clusters:
                msg = f"{key}={getattr(self, key)} should be >= n_clusters={self.n_clusters}"
                raise ValueError(msg)
        return self


class LabelsConfig(Section):
    """When a new centroid continues a known segment."""

    max_match_distance: float = Field(default=1.5, gt=0.0, description="scaled units; farther apart is a new segment")
    min_overlap: float = Field(
        default=0.3, ge=0.0, le=1.0, description="share of a segment's rows that must stay with its name"
    )


class GateConfig(Section):
    """What a refit must keep to be published by itself; else it is held for a person to look at."""

    max_inertia_ratio: float = Field(
        default=1.001,
        ge=1.0,
        description="held if its inertia is over so many times the current version's, on the same rows",
    )
    max_segment_share: float = Field(
        default=0.95,
        gt=0.0,
        le=1.0,
        description="held if a segment has more of the rows, unless the current version has such a segment",
    )
    max_silhouette_drop: float = Field(
        default=0.1, ge=0.0, description="held if its silhouette is more than this below the current version's"
    )
    max_names_gone: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="held if it ends a larger share of the names, but for a smaller n_clusters",
    )
    max_names_new: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="held if a larger share of its names is new, but for a larger n_clusters",
    )


class OutputConfig(Section):
    """What is written, and where."""

    path: str = Field(default="out", min_length=1, description="models, assignments and reports; relative to this file")
    columns: Literal["all"] | tuple[str, ...] = Field(default="all", description='"all", or a list of columns to carry')
    keep_versions: int = Field(
        default=5, ge=1, description="versions whose assignments are kept; models are never removed"
    )

    @field_validator("columns")
    @classmethod
    def _check_columns(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if isinstance(columns, tuple):
            _refuse_twice(columns)
        return columns


class Threshold(Section):
    """Two limits of one drift measure."""

    warn: float = Field(ge=0.0, description="a warning from here on")
    alert: float = Field(ge=0.0, description="an alert from here on")

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.alert < self.warn:
            msg = f"alert={self.alert} should be >= warn={self.warn}"
            raise ValueError(msg)
        return self


class DriftConfig(Section):
    """What counts as drift."""

    reference: Literal["model", "baseline"] = Field(
        default="model", description="model = what the current model was fitted on | baseline; both are reported"
    )
    thresholds: Literal["configured", "auto"] = Field(
        default="configured",
        description="configured = the limits below | auto = learnt from how partitions of the reference differ",
    )
    share_psi: Threshold = Field(
        default=Threshold(warn=0.10, alert=0.25),
        description="how far the sizes of all segments moved: their population stability index",
    )
    share_change: Threshold = Field(
        default=Threshold(warn=0.05, alert=0.10), description="largest |share - reference share| of a segment"
    )
    centroid_shift: Threshold = Field(
        default=Threshold(warn=0.25, alert=0.50),
        description="how far a centroid moved, in reference radii; only if > 3 standard errors",
    )
    inertia_ratio: Threshold = Field(
        default=Threshold(warn=1.20, alert=1.50),
        description="how much wider segments became: inertia per row over that of the reference",
    )
    outlier_share: Threshold = Field(
        default=Threshold(warn=0.02, alert=0.05),
        description="share of rows beyond their segment's reference 99 % distance",
    )
    feature_psi: Threshold = Field(
        default=Threshold(warn=0.10, alert=0.25),
        description="how far the values of one feature moved: their population stability index",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_half_thresholds(cls, data: object) -> object:
        """Take the limit that is not given from the default: `--set drift.share_psi.warn=0.2` is enough."""
        if not isinstance(data, dict):
            return data
        fields = cls.model_fields.items()
        defaults = {key: one.default.model_dump() for key, one in fields if isinstance(one.default, Threshold)}
        return {
            key: defaults[key] | value if key in defaults and isinstance(value, dict) else value
            for key, value in data.items()
        }


class RetrainConfig(Section):
    """When drift may ask for a new fit."""

    on: Literal["warn", "alert", "never"] = Field(
        default="alert", description="warn | alert | never: the drift that asks for a new fit"
    )
    cooldown: Duration = Field(default=timedelta(hours=24), description="between two requests, at least")
    max_per_week: int = Field(default=3, ge=0, description="requests in seven days, at most")


class EngineConfig(Section):
    """How much of the machine a run may use."""

    workers: int = Field(default=0, ge=0, description="0 = all cores, or as many as the memory limit has room for")
    memory_limit: ByteSize = Field(
        default=1024**3, description="of this process; the rows per batch are derived from it: kmstream plan"
    )
    scratch_limit: ByteLimit = Field(
        default=16 * 1024**3,
        description="disk space for a copy of the scaled rows during a run: under output.path, or TMPDIR; 0 = none",
    )
    dask_address: str = Field(default="", description="tcp://scheduler:8786 -> the passes run on that cluster")

    @field_validator("dask_address")
    @classmethod
    def _refuse_what_is_no_address(cls, address: str) -> str:
        if address and not re.fullmatch(r"[a-z+]+://\S+:\d+", address):
            msg = f"{address!r} should look like tcp://scheduler:8786, as the scheduler logs it"
            raise ValueError(msg)
        return address


class TrackingConfig(Section):
    """Where runs are logged besides the output tree."""

    mlflow_uri: str = Field(default="", description="not supported yet")

    @field_validator("mlflow_uri")
    @classmethod
    def _refuse_what_is_not_there(cls, uri: str) -> str:
        if uri:
            msg = "MLflow is not supported yet; leave it empty"
            raise ValueError(msg)
        return uri


class Config(Section):
    """The whole of `kmstream.toml`, paths made absolute."""

    name: str = Field(
        pattern=r"^[a-z0-9-]+$", description="a-z, 0-9 and -; used in events, artifact keys and lock names"
    )
    dataset: DatasetConfig
    features: FeaturesConfig
    model: ModelConfig = ModelConfig()
    labels: LabelsConfig = LabelsConfig()
    gate: GateConfig = GateConfig()
    output: OutputConfig = OutputConfig()
    drift: DriftConfig = DriftConfig()
    retrain: RetrainConfig = RetrainConfig()
    engine: EngineConfig = EngineConfig()
    tracking: TrackingConfig = TrackingConfig()

    @model_validator(mode="after")
    def _check_key(self) -> Self:
        if self.dataset.key and self.output.columns != "all" and self.dataset.key not in self.output.columns:
            msg = f"output.columns should hold dataset.key, {self.dataset.key!r}: moves are read from the assignments"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _check_forgetting(self) -> Self:
        if self.model.half_life and not self.dataset.time:
            msg = "model.half_life needs dataset.time, the column or hive key that tells how old a row is"
            raise ValueError(msg)
        return self

    @field_validator("name", mode="before")
    @classmethod
    def _explain_name(cls, name: object) -> object:
        if isinstance(name, str) and re.fullmatch(r"[a-z0-9-]+", name) is None:
            msg = f"{name!r} should hold only a-z, 0-9 and '-' (it names events, artifacts and locks)"
            raise ValueError(msg)
        return name


def list_sections() -> dict[str, type[Section]]:
    """Give the model of each section of the file by its name, in the order of the file.

    Examples
    --------
    >>> list(list_sections())[:3], list_sections()["labels"].__doc__
    (['dataset', 'features', 'model'], 'When a new centroid continues a known segment.')
    """
    kinds = {key: field.annotation for key, field in Config.model_fields.items()}
    return {key: kind for key, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Section)}
