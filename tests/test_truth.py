"""Rows counted by true class and cluster."""

import numpy as np
import pyarrow as pa

from kmstream.truth import TruthCounts


def test_add_counts_all_rows_of_a_dictionary_that_holds_a_value_twice():
    classes = pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array([0, 1, 2]), pa.array(["a", "a", "b"]))])
    found = TruthCounts({}).add(classes, np.array([0, 1, 1]), np.ones(3, bool), 2)
    assert {name: rows.tolist() for name, rows in found.rows.items()} == {"a": [1, 1], "b": [0, 1]}
