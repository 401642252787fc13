"""Rows counted by the clusters of two models."""

import pyarrow as pa
from builders import make_plain_model

from kmstream.migration import count_migration


def test_count_migration_counts_rows_that_both_models_can_assign(config, data, files, run_of):
    table = pa.table({"x": [0.0, 10.0, 0.0, None], "y": [0.0, 0.0, 10.0, 0.0], "z": [1.0, -1.0, None, 1.0]})
    files(data, {"a.parquet": table})
    after = config(features={"numeric": ["z"]})
    before = make_plain_model(config().features)
    later = make_plain_model(after.features, [(-1.0,), (1.0,)], ("minus", "plus"))
    assert count_migration(run_of(after), before, later).tolist() == [[0, 1], [1, 0], [0, 0]]
