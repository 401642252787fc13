"""From a `kmstream.toml`, or its content, to a `Config`; a wrong one is explained in the words of the file."""

import copy
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from kmstream.config.models import Config, list_sections
from kmstream.errors import ConfigError


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
    elsewhere = [name for name, model in list_sections().items() if unknown in model.model_fields]
    return f"; did you mean {f'{elsewhere[0]}.{unknown}'!r}?" if elsewhere else f"; known here: {', '.join(known)}"
