"""The text of a `kmstream.toml`: every key of the config models with its default, or what was chosen, and a comment."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kmstream.config import Config, Section
from kmstream.init_config.judge import Column
from kmstream.report.wording import percent
from kmstream.units import format_duration, parse_bytes

_COMMENT_COLUMN, _LINE_LENGTH = 28, 120
COMMENTS = {
    "name": "a-z, 0-9 and -; used in events, artifact keys and lock names",
    "dataset.path": "file, directory, glob, or URI (s3://, gs://, abfs://, file://); relative to this file",
    "dataset.time": "column, or hive key such as month or year/month, that tells how old a row is",
    "dataset.key": "column that tells entities apart, such as customer_id: which of them moved is told then",
    "features.numeric": "columns that are clustered",
    "features.categorical": "one-hot; categories frozen at the baseline; unseen ones counted, encoded as zeros",
    "features.log1p": "numeric ones whose logarithm is clustered: many small values, a few very large ones",
    "features.scaling": "standard | minmax | robust | none",
    "features.on_missing": "error | skip | mean | median (null, NaN, +-inf alike)",
    "features.clip": "0 = off; else |scaled value| <= clip while fitting (one outlier can't own a segment)",
    "features.weight": "column that says how many rows a row counts for",
    "model.n_clusters": "how many segments",
    "model.algorithm": "minibatch = partial_fit, then exact passes; lloyd = exact passes only",
    "model.batch_size": "rows per partial_fit step, whatever the chunk or row-group size",
    "model.max_epochs": "mini-batch passes, at most; they end when the centroids stand still",
    "model.lloyd_passes": "exact passes, at most; stops early below tol",
    "model.n_init": "searches on the sample; the best one starts the fit",
    "model.sample_rows": "rows of the sample",
    "model.tol": "largest centroid move, in scaled units, that counts as none",
    "model.random_state": "same number, same data: same model",
    "model.min_cluster_share": "a version with a smaller segment is held",
    "model.half_life": "0 = off; else the age at which a row counts half, such as 90d; needs dataset.time",
    "labels.max_match_distance": "scaled units; farther apart is a new segment",
    "labels.min_overlap": "share of a segment's rows that must stay with its name",
    "gate.max_inertia_ratio": "a version that fits the same rows this much worse than the current one is held",
    "gate.max_segment_share": "likewise one with a larger segment, unless the current one has it too",
    "gate.max_silhouette_drop": "likewise one whose silhouette is this much below the current one's",
    "gate.max_names_gone": "likewise one that ends a larger share of names, but for a smaller n_clusters",
    "gate.max_names_new": "likewise one with a larger share of new names, but for a larger n_clusters",
    "output.path": "models, assignments and reports; relative to this file",
    "output.columns": '"all", or a list of columns to carry',
    "output.keep_versions": "assignments of older versions are removed; models never are",
    "drift.reference": "model = what the current model was fitted on | baseline; both are reported",
    "drift.thresholds": "configured = the limits below | auto = learnt from how partitions of the reference differ",
    "drift.share_psi": "how far the sizes of all segments moved",
    "drift.share_change": "largest |share - reference share| of a segment",
    "drift.centroid_shift": "in reference radii, and only if > 3 standard errors",
    "drift.inertia_ratio": "how much wider segments became",
    "drift.outlier_share": "beyond the segment's reference 99 % distance",
    "drift.feature_psi": "how far the values of one feature moved",
    "retrain.on": "warn | alert | never: the drift that asks for a new fit",
    "retrain.cooldown": "between two requests, at least",
    "retrain.max_per_week": "requests in seven days, at most",
    "engine.workers": "0 = all cores, or as many as the memory limit has room for",
    "engine.memory_limit": "of this process; the rows per batch are derived from it: kmstream plan",
    "engine.scratch_limit": "disk space under output.path for a copy of the scaled rows during a run; 0 = none",
    "engine.dask_address": "tcp://scheduler:8786 -> the passes run on that cluster",
    "tracking.mlflow_uri": "not supported yet",
}


def render_config(columns: Sequence[Column], values: Mapping[str, Any], *, seen: str) -> str:
    """Write the file.

    Parameters
    ----------
    columns : sequence of Column
        Told in comments of [features].
    values : mapping
        What was chosen, by dotted key; every other key gets its default.
    seen : str
        What the choice rests on, for people.
    """
    lines = [
        f"# Written by `kmstream init` after a look at {seen}.",
        "# Every key is here: what was chosen for these data, and the defaults. Look through [features] first.",
        "",
    ]
    for key, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            lines += ["", f"[{key}]", *_render_section(key, section, columns, values)]
        else:
            lines += _render_key(key, field, values)
    return "\n".join(lines) + "\n"


def _render_section(
    section: str, model: type[Section], columns: Sequence[Column], values: Mapping[str, Any]
) -> list[str]:
    lines = []
    for key, field in model.model_fields.items():
        dotted = f"{section}.{key}"
        match dotted:
            case "dataset.key" if keys := [one.name for one in columns if one.is_key]:
                lines += _offer_keys(keys)
                continue
            case "features.numeric":
                lines += _render_numeric(columns)
                continue
            case "features.categorical":
                lines += _offer_categorical(columns)
            case "features.on_missing":
                lines += _tell_missing(columns)
            case "features.clip" if dotted in values:
                lines.append("# A few values are far from all others; clip keeps them from owning a segment.")
        lines += _render_key(dotted, field, values)
    return lines


def _render_key(dotted: str, field: FieldInfo, values: Mapping[str, Any]) -> list[str]:
    default = None if field.is_required() else _to_file(field.default, field)
    value = values.get(dotted, default)
    comment = f"# {COMMENTS.get(dotted) or field.description or dotted}"
    if not field.is_required() and value != default and default != []:
        comment += f" (default {_to_toml(default)})"
    text = f"{dotted.rpartition('.')[2]} = {_to_toml(value)}"
    line = f"{text:<{_COMMENT_COLUMN}}  {comment}"
    return [line] if len(text) <= _COMMENT_COLUMN and len(line) <= _LINE_LENGTH else [comment, text]


def _render_numeric(columns: Sequence[Column]) -> list[str]:
    chosen = [one for one in columns if one.use == "numeric"]
    names = [f"{json.dumps(one.name, ensure_ascii=False)}," for one in chosen]
    width = max(map(len, names))
    left_out = [one for one in columns if one.use == "left out"]
    told = max((len(one.name) for one in left_out), default=0)
    return [
        f"# {COMMENTS['features.numeric']}",
        "numeric = [",
        *(f"    {name:<{width}}  # {one.kind}: {one.why}" for name, one in zip(names, chosen, strict=True)),
        "]",
        *(["# Left out:"] if left_out else []),
        *(f"#   {_one_line(one.name):<{told}}  {one.why}" for one in left_out),
    ]


def _offer_keys(names: Sequence[str]) -> list[str]:
    offer = "An identifier that comes again from file to file: as the key it lets each run tell who changed segment."
    return [f"# {offer}", *(f"# key = {_to_toml(name)}" for name in names)]


def _offer_categorical(columns: Sequence[Column]) -> list[str]:
    offered = [one for one in columns if one.use == "offered"]
    if not offered:
        return []
    return [
        "# Could be categorical features:",
        *(f"#   {_one_line(one.name)}: {one.why}" for one in offered),
        f"# categorical = {_to_toml([one.name for one in offered])}",
    ]


def _tell_missing(columns: Sequence[Column]) -> list[str]:
    missing = [one for one in columns if one.use == "numeric" and one.missing]
    if not missing:
        return []
    shares = (f"#   {_one_line(one.name)}: {percent(one.missing)} of the rows" for one in missing)
    return [
        "# Values are missing. skip: such rows stay in the output without a segment, and are counted.",
        *(line.replace("\u00a0", " ") for line in shares),
    ]


def _to_file(value: Any, field: FieldInfo) -> Any:  # noqa: ANN401 - whatever a key may hold
    """Write a default as people do: sizes and durations with their units."""
    if isinstance(value, timedelta):
        return format_duration(value)
    if any(getattr(rule, "func", None) is parse_bytes for rule in field.metadata):
        for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
            if value % (size := 1024**power) == 0:
                return f"{value // size}{unit}"
    return list(value) if isinstance(value, tuple) else value


def _to_toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(_to_toml, value))}]"
        case BaseModel():
            return f"{{ {', '.join(f'{key} = {_to_toml(one)}' for key, one in value)} }}"
    return str(value)


def _one_line(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1]
