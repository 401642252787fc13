"""The text of a `kmstream.toml`: every key with what was chosen or its default, and its description as a comment."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kmstream.config import Config, Section, list_sections
from kmstream.init_config.judge import Column
from kmstream.units import format_bytes, format_duration, parse_bytes
from kmstream.wording import percent

_COMMENT_COLUMN, _LINE_LENGTH = 28, 120


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
    sections = list_sections()
    for key, field in Config.model_fields.items():
        if section := sections.get(key):
            lines += ["", f"# {section.__doc__}", f"[{key}]", *_render_section(key, section, columns, values)]
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
                lines += _render_numeric(columns, field)
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
    default = None if field.is_required() else write_default(field)
    value = values.get(dotted, default)
    comment = f"# {field.description}"
    if not field.is_required() and value != default and default != []:
        comment += f" (default {to_toml(default)})"
    text = f"{dotted.rpartition('.')[2]} = {to_toml(value)}"
    line = f"{text:<{_COMMENT_COLUMN}}  {comment}"
    return [line] if len(text) <= _COMMENT_COLUMN and len(line) <= _LINE_LENGTH else [comment, text]


def _render_numeric(columns: Sequence[Column], field: FieldInfo) -> list[str]:
    chosen = [one for one in columns if one.use == "numeric"]
    names = [f"{json.dumps(one.name, ensure_ascii=False)}," for one in chosen]
    width = max(map(len, names))
    left_out = [one for one in columns if one.use == "left out"]
    told = max((len(one.name) for one in left_out), default=0)
    return [
        f"# {field.description}",
        "numeric = [",
        *(f"    {name:<{width}}  # {one.kind}: {one.why}" for name, one in zip(names, chosen, strict=True)),
        "]",
        *(["# Left out:"] if left_out else []),
        *(f"#   {_one_line(one.name):<{told}}  {one.why}" for one in left_out),
    ]


def _offer_keys(names: Sequence[str]) -> list[str]:
    offer = "An identifier that comes again from file to file: as the key it lets each run tell who changed segment."
    return [f"# {offer}", *(f"# key = {to_toml(name)}" for name in names)]


def _offer_categorical(columns: Sequence[Column]) -> list[str]:
    offered = [one for one in columns if one.use == "offered"]
    if not offered:
        return []
    return [
        "# Could be categorical features:",
        *(f"#   {_one_line(one.name)}: {one.why}" for one in offered),
        f"# categorical = {to_toml([one.name for one in offered])}",
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


def write_default(field: FieldInfo) -> Any:  # noqa: ANN401 - whatever a key may hold
    """Write a default as people do: sizes and durations with their units."""
    value = field.default
    if isinstance(value, timedelta):
        return format_duration(value)
    if any(getattr(rule, "func", None) is parse_bytes for rule in field.metadata):
        return format_bytes(value)
    return list(value) if isinstance(value, tuple) else value


def to_toml(value: object) -> str:
    """Write a value in TOML, on one line.

    Examples
    --------
    >>> to_toml(["x", "y"]), to_toml(True), to_toml(Config.model_fields["drift"].default.share_psi)
    ('["x", "y"]', 'true', '{ warn = 0.1, alert = 0.25 }')
    """
    match value:
        case bool():
            return str(value).lower()
        case str():
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(map(to_toml, value))}]"
        case BaseModel():
            return f"{{ {', '.join(f'{key} = {to_toml(one)}' for key, one in value)} }}"
    return str(value)


def _one_line(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)[1:-1]
