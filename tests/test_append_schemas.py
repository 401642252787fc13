"""The key-value metadata of a file with new columns, and the schemas that writers leave there for some readers."""

import json

import pyarrow.parquet as pq
import pytest
from parquet_files import make_flat, make_new
from parquet_footers import AVRO, SPARK, append, read_fields, structs, write_fields

from kmstream.append import append_columns, cut_columns, read_footer
from kmstream.append.fields import KEY, KEY_VALUES
from kmstream.outputs import CLUSTER_SCHEMA


def write(path, **key_values):
    pq.write_table(make_flat().replace_schema_metadata(key_values), path)
    return path


@pytest.mark.parametrize("stored", [True, False], ids=["Arrow schema", "none"])
def test_append_columns_keeps_key_values_and_adds_ours(tmp_path, stored):
    source = write(tmp_path / "source", theirs="1", ours="before")
    if not stored:  # pyarrow leaves all key-values out then
        fields = read_fields(source)
        pairs = structs(fields, KEY_VALUES)
        pairs[:] = [pair for pair in pairs if b"ARROW:schema" not in pair[KEY][1]]
        write_fields(source, fields)
    target = append(source, tmp_path / "target", ours="now")
    found = pq.read_metadata(target).metadata
    assert (found[b"theirs"], found[b"ours"]) == (b"1", b"now")
    assert (b"ARROW:schema" in found) == stored
    assert pq.read_schema(target).metadata == {b"theirs": b"1", b"ours": b"now"}
    assert len(structs(read_fields(target), KEY_VALUES)) == 2 + stored


def test_append_columns_gives_key_values_to_a_file_without(tmp_path):
    pq.write_table(make_flat(), tmp_path / "source", store_schema=False)
    assert pq.read_metadata(tmp_path / "source").metadata is None
    target = append(tmp_path / "source", tmp_path / "target", ours="1")
    assert pq.read_metadata(target).metadata == {b"ours": b"1"}


def test_the_schemas_of_spark_and_avro_get_the_new_columns_once(tmp_path):
    fields = [{"name": "number", "type": "long"}, "odd"]
    theirs = json.dumps({"type": "record", "fields": fields, "more": "ü"})
    one = append(write(tmp_path / "source", **{SPARK: theirs, AVRO: theirs}), tmp_path / "one", version="1")
    spark, avro = (json.loads(pq.read_metadata(one).metadata[key.encode()]) for key in (SPARK, AVRO))
    assert spark["fields"][:2] == avro["fields"][:2] == fields
    assert [field["name"] for field in spark["fields"][2:]] == CLUSTER_SCHEMA.names
    assert [field["type"] for field in spark["fields"][2:]] == ["integer", "string", "float", "float"]
    assert avro["fields"][2] == {"name": "cluster_id", "type": ["null", "int"], "default": None}
    assert spark["more"] == avro["more"] == "ü"
    footer = cut_columns(read_footer(one), CLUSTER_SCHEMA.names)  # whose schemas still have the columns
    with append_columns(footer, tmp_path / "two", CLUSTER_SCHEMA, {"version": "1"}) as output:
        output.write(make_new(240))
    assert (tmp_path / "two").read_bytes() == one.read_bytes()


@pytest.mark.parametrize("value", ["no JSON", "[]", '{"fields": 1}'])
def test_a_foreign_schema_that_is_none_stays_as_it_is(tmp_path, value):
    found = pq.read_metadata(append(write(tmp_path / "source", **{SPARK: value}), tmp_path / "target")).metadata
    assert found[SPARK.encode()] == value.encode()
