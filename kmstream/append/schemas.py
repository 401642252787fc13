"""Schemas that writers leave in a file's key-value metadata, where some readers look first: they get new columns too.

pyarrow takes types from `ARROW:schema`; Spark shows only the columns of its own JSON; readers based on Avro refuse a
file with a column that their JSON does not name.
"""

import base64
import json
from collections.abc import Mapping, Sequence

import pyarrow as pa

ARROW_SCHEMA = b"ARROW:schema"
SPARK_SCHEMA = b"org.apache.spark.sql.parquet.row.metadata"
AVRO_SCHEMAS = (b"parquet.avro.schema", b"avro.schema")
FOREIGN_SCHEMAS = {SPARK_SCHEMA, *AVRO_SCHEMAS}

SPARK_TYPES = {
    pa.bool_(): "boolean",
    pa.int32(): "integer",
    pa.int64(): "long",
    pa.float32(): "float",
    pa.float64(): "double",
    pa.string(): "string",
}
AVRO_TYPES = SPARK_TYPES | {pa.int32(): "int"}


def extend_schemas(
    pairs: Mapping[bytes, bytes], fields: Sequence[pa.Field], metadata: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """Give the schemas among some key-value pairs with new columns; a schema that is not there is not made.

    Parameters
    ----------
    pairs : mapping of bytes to bytes
        The key-value metadata of a file.
    fields : sequence of pyarrow.Field
        The new columns; what a schema says of columns of these names is replaced. Where they have a type without a name
        in SPARK_TYPES, Spark's and Avro's JSON stay as they are.
    metadata : mapping of bytes to bytes
        Further key-value pairs, which the Arrow schema names too.
    """
    extended = {}
    if ARROW_SCHEMA in pairs:
        extended[ARROW_SCHEMA] = _extend_arrow(pairs[ARROW_SCHEMA], fields, metadata)
    types = [field.type.value_type if pa.types.is_dictionary(field.type) else field.type for field in fields]
    if set(types) <= SPARK_TYPES.keys():
        named = list(zip((field.name for field in fields), types, strict=True))
        spark = [{"name": name, "type": SPARK_TYPES[kind], "nullable": True, "metadata": {}} for name, kind in named]
        avro = [{"name": name, "type": ["null", AVRO_TYPES[kind]], "default": None} for name, kind in named]
        for key, entries in ((SPARK_SCHEMA, spark), *((key, avro) for key in AVRO_SCHEMAS)):
            if key in pairs:
                extended[key] = _extend_json(pairs[key], entries)
    return extended


def read_arrow_schema(value: bytes) -> pa.Schema:
    """Read the value of `ARROW:schema`.

    Raises
    ------
    ValueError, OSError, pyarrow.ArrowException
        If it is none; pyarrow can't read such a file at all.
    """
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(value)))


def _extend_arrow(value: bytes, fields: Sequence[pa.Field], metadata: Mapping[bytes, bytes]) -> bytes:
    schema = read_arrow_schema(value)
    names = {field.name for field in fields}
    kept = [field for field in schema if field.name not in names]
    schema = pa.schema([*kept, *fields], metadata={**(schema.metadata or {}), **metadata})
    return base64.b64encode(memoryview(schema.serialize()))


def _extend_json(value: bytes, entries: Sequence[Mapping[str, object]]) -> bytes:
    """Append to the `fields` of a JSON schema; what is none stays as it is."""
    try:
        schema = json.loads(value)
    except ValueError:
        return value
    if not isinstance(schema, dict) or not isinstance(schema.get("fields"), list):
        return value
    names = {entry["name"] for entry in entries}
    kept = [entry for entry in schema["fields"] if not isinstance(entry, dict) or entry.get("name") not in names]
    schema["fields"] = [*kept, *entries]
    return json.dumps(schema, separators=(",", ":"), ensure_ascii=False).encode()
