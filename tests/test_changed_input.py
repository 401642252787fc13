"""Inputs that change while a run is under way: nothing may come of them but an error."""

from pathlib import Path

import pytest

from kmstream.engine import Silent
from kmstream.errors import CorruptFileError
from kmstream.pipeline import refresh, score


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["all", ["x"]])
@pytest.mark.parametrize("n_rows", [299, 300, 301])
@pytest.mark.parametrize("verb", [refresh, score])
def test_a_file_that_changes_before_it_is_assigned_is_not_half_mixed(
    config, data, files, blobs, tree, verb, n_rows, columns
):
    """Its segments would be those of the old rows, its columns those of the new ones."""
    made = config(output={"columns": columns})
    files(data, {"a.parquet": blobs(300)})
    refresh(made)
    files(data, {"b.parquet": blobs(300, seed=1)})
    before = tree(Path(made.output.path))

    class Meddler(Silent):
        def start(self, stage: str, rows: int) -> None:
            if stage == "assign":
                files(data, {"b.parquet": blobs(n_rows, seed=2)})

    with pytest.raises(CorruptFileError, match=r"b\.parquet has changed") as caught:
        verb(made, progress=Meddler())
    assert "again" in caught.value.__notes__[-1]
    assert tree(Path(made.output.path)) == before
    assert verb(made).rows == (300 + n_rows if verb is refresh else n_rows)


def test_a_file_that_is_gone_before_it_is_assigned_is_named(config, data, files, blobs):
    files(data, {"a.parquet": blobs(300), "b.parquet": blobs(300, seed=1)})

    class Meddler(Silent):
        def start(self, stage: str, rows: int) -> None:
            if stage == "assign":
                (data / "b.parquet").unlink()

    with pytest.raises(CorruptFileError, match=r"b\.parquet has changed.*no such file"):
        refresh(config(), progress=Meddler())
