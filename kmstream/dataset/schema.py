"""What a file must hold: its feature columns in usable types, and room for the cluster columns."""

import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from kmstream.columns import is_categorical, is_numeric, is_time, parse_time
from kmstream.config import FeaturesConfig
from kmstream.errors import SchemaMismatchError

CLUSTER_COLUMNS = ("cluster_id", "cluster_label", "cluster_distance", "cluster_margin")
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def hive_values(path: str, column_names: Sequence[str] = ()) -> dict[str, str]:
    """Read the values in folder names; a column of the file itself goes before a folder of the same name.

    Examples
    --------
    >>> hive_values("year=2013/month=04/part-0.parquet")
    {'year': '2013', 'month': '04'}
    """
    pairs = (part.partition("=") for part in PurePosixPath(path).parts[:-1] if "=" in part)
    return {key: urllib.parse.unquote(value) for key, _, value in pairs if key and key not in column_names}


def check_schema(
    schema: pa.Schema, hive: Mapping[str, str], features: FeaturesConfig, carried: Sequence[str] | None, path: str
) -> None:
    """Refuse a file that lacks a feature column, holds it in a type that can't be used, or can't be extended.

    Parameters
    ----------
    schema : pyarrow.Schema
    hive : mapping of str to str
        Values in the folder names, which can be features too.
    features : FeaturesConfig
    carried : sequence of str, optional
        Columns to carry into the output; all by default.
    path : str
        Named in errors.

    Raises
    ------
    SchemaMismatchError
        Names the column, its type and the file.
    """
    kinds = _list_kinds(schema)
    for name in features.columns:
        _check_feature(kinds, hive, name, path, numeric=name in features.numeric)
    names = schema.names if carried is None else carried
    if taken := [name for name in names if name in CLUSTER_COLUMNS]:
        cure = "Rename it, or set output.columns to the columns to carry."
        raise make_mismatch(f"the input already has a column {taken[0]!r}; expected none of that name", path, cure)
    if absent := [name for name in names if name not in schema.names]:
        has = name_columns(schema.names)
        raise make_mismatch(f"output.columns names {absent[0]!r}; the file has {has}", path)


def _list_kinds(schema: pa.Schema) -> dict[str, list[pa.DataType]]:
    """Give the types by name, once for a file: a field that is looked up is made anew each time."""
    kinds: dict[str, list[pa.DataType]] = {}
    for field in schema:
        kinds.setdefault(field.name, []).append(field.type)
    return kinds


def _check_feature(
    columns: Mapping[str, list[pa.DataType]], hive: Mapping[str, str], name: str, path: str, *, numeric: bool
) -> None:
    if name in hive:
        if numeric and hive[name] != HIVE_NULL and not _is_number(hive[name]):
            raise make_mismatch(f"feature {name!r} is {hive[name]!r} in the folder name; expected a number", path)
        return
    kinds = columns.get(name, [])
    if not kinds:
        raise make_mismatch(f"feature column {name!r} is missing; the file has {name_columns(list(columns))}", path)
    if len(kinds) > 1:
        raise make_mismatch(f"feature column {name!r} is there {len(kinds)} times; expected once", path)
    if not (is_numeric(kinds[0]) if numeric else is_categorical(kinds[0])):
        expected = "numbers" if numeric else "text, integers or booleans"
        cure = "list it under features.categorical" if numeric and is_categorical(kinds[0]) else "convert it"
        problem = f"feature column {name!r} has type {kinds[0]}; expected {expected}"
        raise make_mismatch(problem, path, f"Leave it out, or {cure}.")


@dataclass(frozen=True)
class _Need:
    """What a setting asks of a column: the words for it, the types, and the values where it is in a folder's name."""

    key: str
    expected: str
    takes_type: Callable[[pa.DataType], bool]
    takes_text: Callable[[str], bool]


_WEIGHT = _Need("features.weight", "numbers", is_numeric, lambda text: text == HIVE_NULL or _is_number(text))
_TIME = _Need(
    "dataset.time",
    "timestamps, dates, or text such as 2024-04",
    is_time,
    lambda text: bool(np.isfinite(parse_time(text))),
)
_PART_OF_TIME = _Need(
    "dataset.time", "years, months and days", lambda kind: is_time(kind) or is_categorical(kind), lambda _: True
)


def check_weight_columns(schema: pa.Schema, hive: Mapping[str, str], weight: str, time: str, path: str) -> None:
    """Refuse a file that lacks the column of the weights or times, or holds it in a type that can't be used.

    Parameters
    ----------
    weight, time : str
        `features.weight` and, where rows are forgotten by age, `dataset.time`; "" for none.

    Raises
    ------
    SchemaMismatchError
    """
    columns = _list_kinds(schema) if weight or time else {}
    if weight:
        _check_need(columns, hive, weight, _WEIGHT, path)
    for name in filter(None, time.split("/")):
        _check_need(columns, hive, name, _PART_OF_TIME if "/" in time else _TIME, path)


def _check_need(
    columns: Mapping[str, list[pa.DataType]], hive: Mapping[str, str], name: str, need: _Need, path: str
) -> None:
    if name in hive:
        if not need.takes_text(hive[name]):
            where = f"is {hive[name]!r} in the folder name"
            raise make_mismatch(f"{need.key} {name!r} {where}; expected {need.expected}", path)
        return
    kinds = columns.get(name, [])
    what = f"column {name!r} of {need.key}"
    if not kinds:
        raise make_mismatch(f"{what} is missing", path, f"Mend the file, or change {need.key}.")
    if len(kinds) > 1:
        raise make_mismatch(f"{what} is there {len(kinds)} times; expected once", path)
    if not need.takes_type(kinds[0]):
        cure = f"Convert it, or change {need.key}."
        raise make_mismatch(f"{what} has type {kinds[0]}; expected {need.expected}", path, cure)


def find_key_type(schema: pa.Schema, key: str, path: str) -> pa.DataType:
    """Give the plain type of the column that tells entities apart: that of the values of a dictionary or extension.

    Raises
    ------
    SchemaMismatchError
        If it is not there once, or of a type whose values can't be told apart for sure.
    """
    fields = [field for field in schema if field.name == key]
    if len(fields) != 1:
        raise make_key_error(key, f"is there {len(fields)} times; expected once" if fields else "is missing", path)
    kind = plain_key_type(fields[0].type)
    if kind is None:
        expected = "whole numbers, text, bytes, dates, timestamps or decimals"
        raise make_key_error(key, f"has type {fields[0].type}; expected {expected}", path)
    return kind


def widen_key_type(common: pa.DataType, kind: pa.DataType, key: str, path: str) -> pa.DataType:
    """Give a type that holds the keys of the files before and of this one.

    Raises
    ------
    SchemaMismatchError
        If there is none.

    Examples
    --------
    >>> widen_key_type(pa.int32(), pa.int64(), "customer", "b.parquet")
    DataType(int64)
    """
    try:
        both = [pa.schema([pa.field(key, one)]) for one in (common, kind)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid) as cause:
        raise make_key_error(key, f"has type {kind}; expected {common}, as in other files", path) from cause


def make_key_error(key: str, problem: str, path: str) -> SchemaMismatchError:
    """Say what is wrong with the key column of a file."""
    cure = "Name a column as dataset.key that every file has, in one type, with one value for each entity."
    if "double" in problem or "float" in problem:
        cure += " Of numbers with a fraction, write integers: in pandas astype('Int64')."
    return make_mismatch(f"key column {key!r} {problem}", path, cure)


def plain_key_type(kind: pa.DataType) -> pa.DataType | None:
    """Give a key's type without its encoding; None if it can't be a key.

    Examples
    --------
    >>> plain_key_type(pa.dictionary(pa.int32(), pa.string())), plain_key_type(pa.float64())
    (DataType(string), None)
    """
    types = pa.types
    if types.is_dictionary(kind):
        return plain_key_type(kind.value_type)
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return pa.string() if types.is_string_view(kind) else pa.binary()
    tests = (types.is_integer, types.is_date, types.is_timestamp, types.is_decimal, types.is_null)
    stored = sortable_type(kind)
    sortable = stored in {pa.large_string(), pa.large_binary()} or any(test(stored) for test in tests)
    return kind if sortable else None


def sortable_type(kind: pa.DataType) -> pa.DataType:
    """Give the type in which keys are sorted: text and bytes of any total length."""
    if isinstance(kind, pa.BaseExtensionType):
        return sortable_type(kind.storage_type)
    if pa.types.is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.large_binary()
    return pa.large_string() if pa.types.is_string(kind) else kind


def make_mismatch(
    text: str, path: str, cure: str = "Mend the file or move it out of dataset.path, or change [features]."
) -> SchemaMismatchError:
    """Say what a file holds that it should not, or lacks; where; and what to do."""
    error = SchemaMismatchError(text)
    error.add_note(f"in {path}")
    error.add_note(cure)
    return error


def name_columns(names: Sequence[str]) -> str:
    """Name the columns of a file, the first dozen of them.

    Examples
    --------
    >>> name_columns(["x", "y"])
    "'x', 'y'"
    """
    return ", ".join(map(repr, names[:12])) + " …" * (len(names) > 12)


def _is_number(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
