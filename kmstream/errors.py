"""Everything that can go wrong on purpose, as one tree; each class is also the builtin people catch.

The number is the exit code of the command line::

    KmstreamError                                   1
    ├── ConfigError (ValueError)                    2   wrong in itself: a key, a value, a command
    │   ├── MemoryLimitError                        2   engine.memory_limit is too small for one batch
    │   └── ModelNotFoundError (LookupError)        2   no such version, or no model yet
    ├── DataError (ValueError)                      3   the rows or files, not the request
    │   ├── DatasetNotFoundError (FileNotFoundError)
    │   ├── CorruptFileError                        3   Parquet that can't be read to its end
    │   ├── SchemaMismatchError                     3   a column is missing or of the wrong type
    │   ├── InvalidFeatureError                     3   values k-means can't use
    │   ├── TooFewRowsError                         3   fewer (distinct) rows than n_clusters
    │   └── ChecksumMismatchError                   3   a model file is not what was published
    ├── OutputError (OSError)                       1   the output can't be written: full, read-only, denied
    ├── ClusterError (RuntimeError)                 1   a Dask cluster can't do the work: lost, out of memory
    ├── StorageError (OSError)                      1   an object store fails, or does not answer
    │   └── StorageRefusedError                     1   it wants other credentials, or has no such bucket
    └── LockHeldError (RuntimeError)                6   another run holds the lock of this segmentation

A message says what was observed against what was expected. The room that knows where and what to do
adds that with ``add_note``; the command line prints message and notes as two to four lines.
"""

from typing import Self

HELD = 4  # exit code of a refit that the gate holds: no error, a result


class KmstreamError(Exception):
    """Root of every error kmstream raises on purpose; takes one message."""

    exit_code = 1


class ConfigError(KmstreamError, ValueError):
    """The configuration or the command is wrong in itself."""

    exit_code = 2


class MemoryLimitError(ConfigError):
    """`engine.memory_limit` is too small for one batch per worker."""


class ModelNotFoundError(ConfigError, LookupError):
    """The version asked for does not exist, or nothing has been published yet."""


class DataError(KmstreamError, ValueError):
    """The data can't be clustered as they are."""

    exit_code = 3


class DatasetNotFoundError(DataError, FileNotFoundError):
    """The path does not exist or holds no Parquet files."""

    def __new__(cls, *args: object) -> Self:
        """Make one as FileNotFoundError does, not ValueError: what copies errors between processes asks for this."""
        return FileNotFoundError.__new__(cls, *args)


class CorruptFileError(DataError):
    """A Parquet file can't be opened or read to its end."""


class SchemaMismatchError(DataError):
    """A file lacks a feature column, or holds it in a type that can't be used."""


class InvalidFeatureError(DataError):
    """A feature holds values that k-means can't use under the chosen policy."""

    first_row: int | None = None  # position of the first such row in the batch; who read the batch says where it lies
    cure: str = "Set features.on_missing to skip, mean or median, or clean the column."


class TooFewRowsError(DataError):
    """There are fewer usable or distinct rows than segments asked for."""


class ChecksumMismatchError(DataError):
    """A file of a model version is not the one that was published."""


class OutputError(KmstreamError, OSError):
    """The output tree can't be written."""


class StorageError(KmstreamError, OSError):
    """An object store fails, or does not answer; it may later."""


class StorageRefusedError(StorageError):
    """An object store wants other credentials or permissions, or has no such bucket."""


class ClusterError(KmstreamError, RuntimeError):
    """The Dask cluster can't be reached, lost its workers, or has other versions."""


class LockHeldError(KmstreamError, RuntimeError):
    """Another run holds the lock of this segmentation."""

    exit_code = 6
