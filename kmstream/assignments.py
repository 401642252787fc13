"""The folder of a version's assignments: which partitions it holds, whether it is complete, what is removed.

What has the right name is whole: `storage` and `outputs` see to that. The manifest is replaced after the files; what it
does not list has not been assigned.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from kmstream.config import Config
from kmstream.dataset import Dataset, Partition, is_chosen, split_glob
from kmstream.errors import ClusterError, ConfigError, LockHeldError, OutputError, StorageError
from kmstream.storage import (
    Place,
    explain_write_errors,
    is_local,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)
from kmstream.storage import remove_files as remove_all

MANIFEST, SUCCESS = "_manifest.json", "_SUCCESS"
PROGRESS, COMMIT = ".progress.npz", ".commit.json"  # of a run under way: sums so far; what is decided


@dataclass(frozen=True)
class Entry:
    """What the manifest holds of one assigned partition.

    `skipped` are rows without a segment by reason, `unseen` those with a category unknown at the baseline by feature;
    `rewritten` says why the columns could not be appended to a copy of the file, and is empty where they were.
    `dataset` is the dataset.path that the file was found by.
    """

    fingerprint: str
    rows: int
    output: str
    rows_per_cluster: dict[str, int]
    skipped: dict[str, int]
    unseen: dict[str, int] = field(default_factory=dict)
    rewritten: str = ""
    dataset: str = ""


def read_manifest(folder: Place) -> dict[str, Entry]:
    """Read which partitions have been assigned; empty if none."""
    try:
        text = read_text(folder / MANIFEST)
    except FileNotFoundError:
        return {}
    return {path: Entry(**entry) for path, entry in json.loads(text)["partitions"].items()}


def write_manifest(folder: Place, entries: Mapping[str, Entry], config: Config, version: str) -> None:
    """Replace the manifest, atomically."""
    content = {
        "schema_version": 1,
        "name": config.name,
        "version": version,
        "rows": sum(entry.rows for entry in entries.values()),
        "rows_skipped": sum(sum(entry.skipped.values()) for entry in entries.values()),
        "partitions": {path: vars(entries[path]) for path in sorted(entries)},
    }
    replace_file(folder / MANIFEST, json.dumps(content, indent=1) + "\n")


def mark_complete(folder: Place) -> None:
    """Write `_SUCCESS`: every partition of the run is there, and its version is published."""
    replace_file(folder / SUCCESS, "")


def unmark_complete(folder: Place) -> None:
    """Take `_SUCCESS` back: the version could not be published."""
    remove_file(folder / SUCCESS)


def find_pending(dataset: Dataset, entries: Mapping[str, Entry]) -> tuple[Partition, ...]:
    """Give the partitions that have not been assigned, or have changed since."""
    return tuple(p for p in dataset.partitions if p.path not in entries or entries[p.path].fingerprint != p.fingerprint)


def find_removed(entries: Mapping[str, Entry], dataset: Dataset, only: Sequence[str]) -> tuple[str, ...]:
    """Give the partitions that have been assigned and whose files are gone; none that another dataset.path found.

    Parameters
    ----------
    entries : mapping of str to Entry
        What has been assigned.
    dataset : Dataset
        What is there now of what `only` matches. A file that holds no byte is there: somebody may be writing it.
    only : sequence of str
    """
    there = {*(partition.path for partition in dataset.partitions), *dataset.empty}
    return tuple(
        path
        for path, entry in entries.items()
        if path not in there and is_chosen(path, only) and entry.dataset == dataset.source
    )


def find_rewritten(config: Config, entries: Mapping[str, Entry]) -> dict[str, str]:
    """Give the partitions that were written again, and why; none where `output.columns` asks for it."""
    unasked = config.output.columns == "all"
    return {path: entry.rewritten for path, entry in entries.items() if entry.rewritten and unasked}


def staging_folder(folder: Place) -> Place:
    """Give the folder beside that of a version, where a score's files are until all of them can be seen."""
    return folder.with_name(f".{folder.name}.score")


@contextmanager
def unfinished_folder(folder: Place) -> Iterator[Place]:
    """Give the folder for the files of a run, which may hold those of one that was cut off.

    If the block fails, nothing of it is left. If it is interrupted, as by Ctrl-C, or loses its cluster or its object
    store, the next run goes on from it.
    """
    if is_local(folder):
        with explain_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except (ClusterError, StorageError, LockHeldError):
        raise
    except OutputError:
        if is_local(folder):  # it may be full; elsewhere it is the disk for temporary files
            remove_tree(folder)
        raise
    except Exception:
        with suppress(StorageError):  # the first error counts
            remove_tree(folder)
        raise


def remove_files(folder: Place, paths: Sequence[str]) -> None:
    """Remove files and the folders below `folder` that get empty; can be done again after a crash."""
    remove_all(folder, paths)
    for path in paths if is_local(folder) else ():
        for parent in (folder / path).parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def remove_old_versions(folder: Place, keep_versions: int, current: str) -> list[str]:
    """Remove assignments of all but the newest versions; those of the current one always stay.

    Returns
    -------
    list of str
        The versions removed.
    """
    versions = sorted(path.name for path in folder.iterdir() if is_version(path.name))
    removed = [version for version in versions[:-keep_versions] if version != current]
    for version in removed:
        if is_local(folder):
            (folder / version).replace(folder / f".{version}.removed")  # never half a version under its name
        else:
            unmark_complete(folder / version)
            remove_tree(folder / version)
    remove_leftovers(folder)
    return removed


def remove_leftovers(folder: Place) -> None:
    """Remove old versions that are out of sight already; what can't be removed is tried again by the next run."""
    if is_local(folder):
        for path in folder.glob(".v*.removed"):
            remove_tree(path)


def is_version(name: str) -> bool:
    """Whether a folder is one of a version, and not somebody's copy of it.

    Examples
    --------
    >>> is_version("v000012"), is_version("v000012.bak")
    (True, False)
    """
    return re.fullmatch(r"v\d{6,}", name) is not None


def refuse_overlap(dataset_path: str, output: Place) -> None:
    """Refuse an output folder inside the dataset's, where the next run would read it as input.

    Raises
    ------
    ConfigError
    """
    if not is_local(output):
        folder = split_glob(dataset_path)[0].rstrip("/")
        if f"{output}/".startswith(f"{folder}/"):
            raise _make_overlap(dataset_path, output)
        return
    if output.exists() and not output.is_dir():
        error = ConfigError(f"output.path {output} is a file; expected a folder, or nothing yet")
        error.add_note("Choose another output.path, or move the file away.")
        raise error
    folder, _ = split_glob(dataset_path)
    if "://" not in folder and Path(folder).is_dir():
        source = Path(folder).resolve()
        if output.resolve() == source or source in output.resolve().parents:
            raise _make_overlap(dataset_path, output)


def _make_overlap(dataset_path: str, output: Place) -> ConfigError:
    error = ConfigError(f"output.path {output} lies inside dataset.path {dataset_path}")
    error.add_note("The next run would read its own output; choose a folder outside.")
    return error
