"""What a file must hold: its feature columns in usable types, and room for the cluster columns."""

import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa

from kmstream.config import FeaturesConfig
from kmstream.errors import SchemaMismatchError
from kmstream.features import is_categorical, is_numeric
from kmstream.weights import is_time, parse_time

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
    for name in features.columns:
        numeric = name in features.numeric
        if name in hive:
            if numeric and hive[name] != HIVE_NULL and not _is_number(hive[name]):
                raise _mismatch(f"feature {name!r} is {hive[name]!r} in the folder name; expected a number", path)
            continue
        places = schema.get_all_field_indices(name)
        if not places:
            raise _mismatch(
                f"feature column {name!r} is missing; the file has {', '.join(map(repr, schema.names[:12]))}"
                + (" …" if len(schema.names) > 12 else ""),
                path,
            )
        if len(places) > 1:
            raise _mismatch(f"feature column {name!r} is there {len(places)} times; expected once", path)
        kind = schema.field(places[0]).type
        if not (is_numeric(kind) if numeric else is_categorical(kind)):
            cure = "list it under features.categorical" if numeric and is_categorical(kind) else "convert it"
            expected = "numbers" if numeric else "text, integers or booleans"
            raise _mismatch(
                f"feature column {name!r} has type {kind}; expected {expected}", path, f"Leave it out, or {cure}."
            )
    names = schema.names if carried is None else carried
    if taken := [name for name in names if name in CLUSTER_COLUMNS]:
        cure = "Rename it, or set output.columns to the columns to carry."
        raise _mismatch(f"the input already has a column {taken[0]!r}; expected none of that name", path, cure)
    if absent := [name for name in names if name not in schema.names]:
        has = ", ".join(map(repr, schema.names[:12]))
        raise _mismatch(f"output.columns names {absent[0]!r}; the file has {has}", path)


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
    several = "/" in time
    needed = [(weight, "features.weight", is_numeric, "numbers")]
    needed += [
        (name, "dataset.time", (lambda kind: is_time(kind) or is_categorical(kind)) if several else is_time, expected)
        for name in time.split("/")
        for expected in ["years, months and days" if several else "timestamps, dates, or text such as 2024-04"]
    ]
    for name, key, is_usable, expected in needed:
        if not name:
            continue
        if name in hive:
            text = hive[name]
            usable = _is_number(text) if key == "features.weight" else several or np.isfinite(parse_time(text))
            if not usable and (text != HIVE_NULL or key == "dataset.time"):
                raise _mismatch(f"{key} {name!r} is {text!r} in the folder name; expected {expected}", path)
        elif schema.names.count(name) > 1:
            n_times = schema.names.count(name)
            raise _mismatch(f"column {name!r} of {key} is there {n_times} times; expected once", path)
        elif name not in schema.names:
            raise _mismatch(f"column {name!r} of {key} is missing", path, f"Mend the file, or change {key}.")
        elif not is_usable(schema.field(name).type):
            kind = schema.field(name).type
            cure = f"Convert it, or change {key}."
            raise _mismatch(f"column {name!r} of {key} has type {kind}; expected {expected}", path, cure)


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
    return _mismatch(f"key column {key!r} {problem}", path, cure)


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


def _mismatch(
    text: str, path: str, cure: str = "Mend the file or move it out of dataset.path, or change [features]."
) -> SchemaMismatchError:
    error = SchemaMismatchError(text)
    error.add_note(f"in {path}")
    error.add_note(cure)
    return error


def _is_number(text: str) -> bool:
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
