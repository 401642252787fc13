"""The models of `kmstream.toml`: one frozen pydantic model per section, and `load_config`.

Everything downstream takes a `Config`; nothing else reads the file. A `Config` dumped to JSON and validated again is
equal to itself, so it can be the parameter of a flow.
"""

import copy
import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from kmstream.errors import ConfigError
from kmstream.units import ByteSize, Duration, parse_bytes


class Section(BaseModel):
    """A section of the file: unknown keys are refused, values can't change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DatasetConfig(Section):
    """Where the rows are."""

    path: str = Field(description="file, directory, glob, or URI", min_length=1)
    time: str = Field(default="", description="column or hive key(s), as year/month, that tells how old a row is")
    key: str = Field(default="", description="column that tells entities apart, such as customer_id")

    @field_validator("time")
    @classmethod
    def _refuse_nameless(cls, time: str) -> str:
        if time and not all(time.split("/")):
            msg = f"{time!r} should be a column, or hive keys joined by single slashes, such as 'year/month'"
            raise ValueError(msg)
        return time


class FeaturesConfig(Section):
    """Which columns are clustered, and how they become numbers of comparable size."""

    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    log1p: tuple[str, ...] = ()
    scaling: Literal["standard", "minmax", "robust", "none"] = "standard"
    on_missing: Literal["error", "skip", "mean", "median"] = "error"
    clip: float = Field(default=0.0, ge=0.0, description="0 = off; else |scaled value| <= clip while fitting")
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
        twice = sorted({name for name in self.columns if self.columns.count(name) > 1})
        if twice:
            msg = f"named more than once: {', '.join(map(repr, twice))}"
            raise ValueError(msg)
        stray = [name for name in self.log1p if name not in self.numeric]
        if stray:
            msg = f"log1p names {stray[0]!r}, which is not in numeric"
            raise ValueError(msg)
        return self


class ModelConfig(Section):
    """The K-means job."""

    n_clusters: int = Field(default=5, ge=1)
    algorithm: Literal["minibatch", "lloyd"] = "minibatch"
    batch_size: int = Field(default=4096, ge=1, description="rows per partial_fit step")
    max_epochs: int = Field(default=2, ge=0)
    lloyd_passes: int = Field(default=2, ge=1, description="exact passes, at most")
    n_init: int = Field(default=10, ge=1)
    sample_rows: int = Field(default=100_000, ge=1)
    tol: float = Field(default=1e-4, ge=0.0, description="largest centroid move, in scaled units, that counts as none")
    random_state: int = Field(default=0, ge=0, le=2**32 - 1)
    min_cluster_share: float = Field(default=0.001, ge=0.0, le=1.0)
    half_life: Duration = Field(default=timedelta(), description="0 = off; else the age at which a row counts half")

    @model_validator(mode="after")
    def _check_sizes(self) -> Self:
        for key in ("batch_size", "sample_rows"):
            if getattr(self, key) < self.n_clusters:
                msg = f"{key}={getattr(self, key)} should be >= n_clusters={self.n_clusters}"
                raise ValueError(msg)
        return self


class LabelsConfig(Section):
    """When a new centroid continues a known segment."""

    max_match_distance: float = Field(default=1.5, gt=0.0, description="scaled units")
    min_overlap: float = Field(default=0.3, ge=0.0, le=1.0)


class GateConfig(Section):
    """What a refit must keep to be published by itself; else it is held for a person to look at."""

    max_inertia_ratio: float = Field(default=1.001, ge=1.0, description="against the current model, on the same rows")
    max_segment_share: float = Field(default=0.95, gt=0.0, le=1.0, description="of rows, unless one has more already")
    max_silhouette_drop: float = Field(default=0.1, ge=0.0, description="below that of the current version")
    max_names_gone: float = Field(
        default=0.5, ge=0.0, le=1.0, description="share of names, but for a smaller n_clusters"
    )
    max_names_new: float = Field(default=0.5, ge=0.0, le=1.0, description="share of names, but for a larger n_clusters")


class OutputConfig(Section):
    """What is written, and where."""

    path: str = Field(default="out", min_length=1)
    columns: Literal["all"] | tuple[str, ...] = "all"
    keep_versions: int = Field(default=5, ge=1)

    @field_validator("columns")
    @classmethod
    def _refuse_twice(cls, columns: str | tuple[str, ...]) -> str | tuple[str, ...]:
        twice = sorted({name for name in columns if columns.count(name) > 1}) if isinstance(columns, tuple) else []
        if twice:
            msg = f"named more than once: {', '.join(map(repr, twice))}"
            raise ValueError(msg)
        return columns


class Threshold(Section):
    """Two limits of one drift measure."""

    warn: float = Field(ge=0.0)
    alert: float = Field(ge=0.0)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.alert < self.warn:
            msg = f"alert={self.alert} should be >= warn={self.warn}"
            raise ValueError(msg)
        return self


class DriftConfig(Section):
    """What counts as drift."""

    reference: Literal["model", "baseline"] = "model"
    thresholds: Literal["configured", "auto"] = Field(
        default="configured", description="auto = learnt from how partitions of the reference differ"
    )
    share_psi: Threshold = Threshold(warn=0.10, alert=0.25)
    share_change: Threshold = Threshold(warn=0.05, alert=0.10)
    centroid_shift: Threshold = Threshold(warn=0.25, alert=0.50)
    inertia_ratio: Threshold = Threshold(warn=1.20, alert=1.50)
    outlier_share: Threshold = Threshold(warn=0.02, alert=0.05)
    feature_psi: Threshold = Threshold(warn=0.10, alert=0.25)

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

    on: Literal["warn", "alert", "never"] = "alert"
    cooldown: Duration = timedelta(hours=24)
    max_per_week: int = Field(default=3, ge=0)


class EngineConfig(Section):
    """How much of the machine a run may use."""

    workers: int = Field(default=0, ge=0, description="0 = all cores")
    memory_limit: ByteSize = 1024**3
    scratch_limit: Annotated[int, BeforeValidator(parse_bytes), Field(ge=0, lt=2**63)] = 16 * 1024**3
    dask_address: str = ""

    @field_validator("dask_address")
    @classmethod
    def _refuse_what_is_no_address(cls, address: str) -> str:
        if address and not re.fullmatch(r"[a-z+]+://\S+:\d+", address):
            msg = f"{address!r} should look like tcp://scheduler:8786, as the scheduler logs it"
            raise ValueError(msg)
        return address


class TrackingConfig(Section):
    """Where runs are logged besides the output tree."""

    mlflow_uri: str = ""

    @field_validator("mlflow_uri")
    @classmethod
    def _refuse_what_is_not_there(cls, uri: str) -> str:
        if uri:
            msg = "MLflow is not supported yet; leave it empty"
            raise ValueError(msg)
        return uri


class Config(Section):
    """The whole of `kmstream.toml`, paths made absolute."""

    name: str = Field(pattern=r"^[a-z0-9-]+$")
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


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a `kmstream.toml`.

    Parameters
    ----------
    path : str or Path
        The file. Relative paths inside it are relative to its folder.
    overrides : sequence of str
        "section.key=value" each, the value in TOML ("model.n_clusters=8"); a bare word is taken as a string.

    Raises
    ------
    ConfigError
        If the file can't be read or parsed, a key is unknown or a value is out of its range.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        error = ConfigError(f"no such file: {path}")
        error.add_note("Write one with `kmstream init DATASET`, or name yours with -c PATH.")
        raise error from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as cause:
        error = ConfigError(f"{path} can't be read as TOML: {cause}")
        raise error from cause
    try:
        return parse_config(data, base_dir=path.absolute().parent, overrides=overrides)
    except ConfigError as error:
        error.add_note(f"in {path}" + (f", with --set {' --set '.join(overrides)}" if overrides else ""))
        raise


def parse_config(data: Mapping[str, Any], *, base_dir: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Validate the content of a `kmstream.toml`; relative paths are taken from `base_dir`.

    Raises
    ------
    ConfigError
        With the first wrong key, what it held and what it should hold.
    """
    content = copy.deepcopy(dict(data))
    for override in overrides:
        _apply_override(content, override)
    try:
        config = Config.model_validate(content)
    except ValidationError as cause:
        raise ConfigError(_explain(cause)) from None
    return config.model_copy(
        update={
            "dataset": config.dataset.model_copy(update={"path": _resolve(config.dataset.path, Path(base_dir))}),
            "output": config.output.model_copy(update={"path": _resolve(config.output.path, Path(base_dir))}),
        }
    )


def _resolve(path: str, base_dir: Path) -> str:
    if path.startswith("file://"):
        path = path.removeprefix("file://")
    return path if "://" in path else str(base_dir / Path(path).expanduser())


def _apply_override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        msg = f"--set {override!r} should look like section.key=value, for example model.n_clusters=8"
        raise ConfigError(msg)
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        inner = data.setdefault(section, {})
        if not isinstance(inner, dict):
            msg = f"--set {override!r}: {section!r} is a value, not a section"
            raise ConfigError(msg)
        data = inner
    data[last] = value


def _explain(cause: ValidationError) -> str:
    """Say what is wrong in the words of the file; the first error, and how many more there are."""
    errors = cause.errors(include_url=False, include_context=False)
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    where = ".".join(str(part) for part in first["loc"] if part not in {"tuple[str, ...]", "literal['all']"})
    if first["type"] == "extra_forbidden":
        text = f"unknown key {where!r}{_nearest(first['loc'])}"
    elif first["type"] == "missing":
        text = f"{where!r} is missing; it has no default"
    else:
        said = first["msg"].removeprefix("Value error, ").split(", unable to")[0]
        observed = first["input"]
        shown = "" if isinstance(observed, dict) or said.startswith(repr(observed)) else f"={observed!r}"
        text = f"{where}{shown}: {said[0].lower()}{said[1:]}" if where else said
    more = len(errors) - 1
    return text + (f" (and {more} more)" if more else "")


def _nearest(loc: tuple[int | str, ...]) -> str:
    section: Any = Config
    for part in loc[:-1]:
        section = section.model_fields[part].annotation
    unknown, known = str(loc[-1]), list(section.model_fields)
    close = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {'.'.join([*map(str, loc[:-1]), close[0]])!r}?"
    elsewhere = [
        f"{name}.{unknown}"
        for name, field in Config.model_fields.items()
        if isinstance(field.annotation, type)
        and issubclass(field.annotation, Section)
        and unknown in field.annotation.model_fields
    ]
    return f"; did you mean {elsewhere[0]!r}?" if elsewhere else f"; known here: {', '.join(known)}"
