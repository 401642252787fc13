"""What is in the footer of a Parquet file, files with another footer, and columns appended to a file."""

from parquet_files import make_new

from kmstream.append import append_columns, read_footer, thrift
from kmstream.append.fields import COLUMNS, ROW_GROUPS

SPARK, AVRO = "org.apache.spark.sql.parquet.row.metadata", "parquet.avro.schema"
UNKNOWN = (thrift.STRUCT, {1: (thrift.BINARY, thrift.encode_binary(b"from the future"))})


def append(source, target, new=None, *, step=150, **metadata):
    """Append columns in pieces of so many rows; the cluster columns by default."""
    footer = read_footer(source)
    new = make_new(sum(footer.rows)) if new is None else new
    assert footer.why_not_appendable(new.schema.names) is None
    with append_columns(footer, target, new.schema, metadata) as output:
        for start in range(0, new.num_rows, step):
            output.write(new.slice(start, step))
    return target


def read_fields(path):
    """The footer, opened as deep as it goes."""
    raw = path.read_bytes()
    return thrift.read_struct(raw[read_footer(path).start : -8], depth=99)[0]


def write_fields(path, fields, *, extra=b""):
    """Put another footer on a file."""
    raw = path.read_bytes()
    footer = thrift.write_struct(fields) + extra
    path.write_bytes(raw[: read_footer(path).start] + footer + len(footer).to_bytes(4, "little") + b"PAR1")
    return path


def structs(fields, number):
    return fields[number][1].items


def chunks(fields):
    """The column chunks of each row group."""
    return [structs(group, COLUMNS) for group in structs(fields, ROW_GROUPS)]
