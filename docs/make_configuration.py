"""Writes docs/configuration.md from the models of the configuration: `.venv/bin/python docs/make_configuration.py`."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, MinLen
from pydantic.fields import FieldInfo

from kmstream.config import Config, Threshold, list_sections
from kmstream.init_config.render import to_toml, write_default
from kmstream.units import parse_bytes

PAGE = Path(__file__).with_name("configuration.md")
HEAD = """\
<!-- Made by docs/make_configuration.py from kmstream/config/models.py: change the descriptions there. -->

# Configuration

Every key of `kmstream.toml`. `kmstream init DATASET` writes the file with all of them, looking at the data; what has a
default can be left out. Unknown keys are errors that name the nearest known one. Relative paths are relative to the
file.

Any key can be given for one run: `--set model.n_clusters=8`, `--set drift.share_psi.warn=0.2`. A duration is text such
as `"90m"`, `"24h"` or `"1d 12h"` (units s, m, h, d, w), a size is text such as `"512MiB"` or `"2GB"`, or a number of
bytes. What the words mean: [concepts](concepts.md).
"""


def make_page() -> str:
    """Write the page."""
    return f"{HEAD}\n## At the top\n\n" + "\n".join(_describe_sections()) + "\n"


def _describe_sections() -> Iterator[str]:
    sections = list_sections()
    yield from _make_table({key: field for key, field in Config.model_fields.items() if key not in sections})
    for name, section in sections.items():
        yield from ("", f"## [{name}]", "", str(section.__doc__), "")
        yield from _make_table(section.model_fields)


def _make_table(fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| key | what it may be | default | what it does |"
    yield "|---|---|---|---|"
    for key, field in fields.items():
        default = "required" if field.is_required() else f"`{to_toml(write_default(field))}`"
        told = str(field.description).replace("|", r"\|")
        yield f"| `{key}` | {_describe_type(field)} | {default} | {told} |"


def _describe_type(field: FieldInfo) -> str:
    """Say what a key may hold, with its limits."""
    is_size = any(getattr(rule, "func", None) is parse_bytes for rule in field.metadata)
    words = "size" if is_size else _name_type(field.annotation)
    return words + "".join(_describe_limit(rule) for rule in field.metadata)


def _name_type(kind: object) -> str:
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{option}"`' for option in options)
    if get_origin(kind) is tuple:
        return "list of texts"
    if options:
        return " or ".join(map(_name_type, options))
    names = {str: "text", int: "whole number", float: "number", timedelta: "duration", Threshold: "two numbers >= 0"}
    return next(name for one, name in names.items() if kind is one)


def _describe_limit(rule: object) -> str:
    match rule:
        case Ge(ge=limit):
            return f" >= {limit:.10g}"
        case Gt(gt=limit):
            return f" > {limit:.10g}"
        case Le(le=limit):
            return f", at most {limit:.10g}"
        case MinLen():
            return ", not empty"
    return ""


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
