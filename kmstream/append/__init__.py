"""Columns appended to a Parquet file without writing the old ones again: they are copied byte for byte.

    footer = read_footer(path)
    if footer.why_not_appendable(schema.names) is None:
        with append_columns(footer, target, schema, {"key": "value"}) as output:
            output.write(table)  # the next rows, any number of them

    footer = cut_columns(read_footer(target), schema.names)     # without them, to append them with other values

Read in this order: `writer` (what happens to a file), `copying` (its old bytes), `encode` (the new columns of one row
group), `footer` (what it said of the file), `merge` (what it says then) and `schemas` (for readers that look there
first), `fields` and `thrift` (how it is read and written), `cut` (how appended columns are taken off again).
"""

from kmstream.append.copying import copy_bytes, write_bytes
from kmstream.append.cut import cut_columns
from kmstream.append.footer import Footer, read_footer, read_footer_of
from kmstream.append.schemas import ARROW_SCHEMA, FOREIGN_SCHEMAS
from kmstream.append.writer import ColumnAppender, append_columns, write_tail

__all__ = [
    "ARROW_SCHEMA",
    "FOREIGN_SCHEMAS",
    "ColumnAppender",
    "Footer",
    "append_columns",
    "copy_bytes",
    "cut_columns",
    "read_footer",
    "read_footer_of",
    "write_bytes",
    "write_tail",
]
