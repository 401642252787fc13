"""Find the Parquet files a run works on.

A `Dataset` is a list of `Partition` (one file each) in the order of their paths; nothing but footers is read to make
one. Rows are then read span by span, a span being at most `SPAN_ROWS` rows of one file, counted from its first row.
Span borders depend on row positions alone, never on row groups, memory or workers: a figure summed per span and merged
in order is the same to the bit for any layout of the same rows.
"""

from collections.abc import Collection, Sequence

import pyarrow as pa

from kmstream.config import Config, FeaturesConfig
from kmstream.dataset.footers import find_partitions
from kmstream.dataset.listing import SUFFIXES, Listing, is_chosen, list_files, split_glob
from kmstream.dataset.partitions import Dataset
from kmstream.dataset.schema import widen_key_type
from kmstream.errors import DatasetNotFoundError


def open_dataset(
    config: Config,
    only: Sequence[str] = (),
    features: FeaturesConfig | None = None,
    paths: Collection[str] | None = None,
) -> Dataset:
    """Find the partitions, read their footers, and check every schema.

    Parameters
    ----------
    config : Config
    only : sequence of str
        Globs; a partition stays if its path below the dataset matches one, or lies in a folder that does.
    features : FeaturesConfig, optional
        The columns that must be there; those of the config by default.
    paths : collection of str, optional
        Take these partitions and no others.

    Raises
    ------
    DatasetNotFoundError
        If the path does not exist, holds no Parquet file, or none that `only` matches.
    CorruptFileError
        If a footer can't be read.
    SchemaMismatchError
        If a feature column is missing or of the wrong type in any file, or a file can't take the cluster columns.
    """
    features = config.features if features is None else features
    listing = list_files(config.dataset.path)
    chosen = [path for path in sorted(listing.files) if (paths is None or path in paths) and is_chosen(path, only)]
    if not chosen:
        raise _make_nothing_found(config.dataset.path, listing, only)
    partitions = find_partitions(listing, chosen, features, config)
    common = pa.null()
    for partition in partitions:
        if partition.key_type is not None:
            common = widen_key_type(common, partition.key_type, config.dataset.key, partition.path)
    return Dataset(listing.filesystem, partitions, features, listing.ignored, config.dataset.path)


def _make_nothing_found(path: str, listing: Listing, only: Sequence[str]) -> DatasetNotFoundError:
    """Say that no Parquet file is there, or none that was asked for."""
    if listing.files:
        error = DatasetNotFoundError(f"none of the {len(listing.files)} Parquet files matches --only {' '.join(only)}")
        error.add_note(f"The paths below dataset.path look like {', '.join(sorted(listing.files)[:3])}.")
        return error
    error = DatasetNotFoundError(f"no Parquet files in {path} ({len(listing.ignored)} other files there)")
    if split_glob(path)[1]:
        error.add_note("The pattern matches none of them; `*` stays within a folder, `**` does not.")
    else:
        error.add_note(f"Expected names that end in {', '.join(SUFFIXES)}; hidden and empty files are passed over.")
    return error
