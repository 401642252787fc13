"""The folder of a version's assignments: which partitions it holds, whether it is complete, what is removed.

A file is written under a temporary name beside its place and renamed, so what has the right name is whole. The manifest
is replaced after the files; what it does not list has not been assigned.
"""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from kmstream.config import Config
from kmstream.dataset import Dataset, Partition, is_chosen, split_glob
from kmstream.errors import ConfigError, OutputError

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


def merge_entries(one: Mapping[str, Entry], other: Mapping[str, Entry]) -> dict[str, Entry]:
    """Join the entries of different partitions; those of two parts of one add up."""
    merged = dict(one)
    for path, entry in other.items():
        before = merged.get(path)
        merged[path] = entry if before is None else _add_entries(before, entry)
    return merged


def _add_entries(one: Entry, other: Entry) -> Entry:
    return replace(
        one,
        rows=one.rows + other.rows,
        rows_per_cluster={label: n + other.rows_per_cluster[label] for label, n in one.rows_per_cluster.items()},
        skipped=dict(Counter(one.skipped) + Counter(other.skipped)),
        unseen=dict(Counter(one.unseen) + Counter(other.unseen)),
    )


@contextmanager
def explain_write_errors(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that says where and what to do.

    Raises
    ------
    OutputError
    """
    try:
        yield
    except OSError as cause:
        if isinstance(cause, OutputError) or cause.errno is None:
            raise
        error = OutputError(f"{path} can't be written: {os.strerror(cause.errno)}")
        error.add_note("Free space or mend the permissions of output.path, and run again: nothing was published.")
        raise error from cause


def read_manifest(folder: Path) -> dict[str, Entry]:
    """Read which partitions have been assigned; empty if none."""
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    return {path: Entry(**entry) for path, entry in json.loads(text)["partitions"].items()}


def write_manifest(folder: Path, entries: Mapping[str, Entry], config: Config, version: str) -> None:
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


def mark_complete(folder: Path) -> None:
    """Write `_SUCCESS`: every partition of the run is there, and its version is published."""
    replace_file(folder / SUCCESS, "")


def unmark_complete(folder: Path) -> None:
    """Take `_SUCCESS` back: the version could not be published."""
    (folder / SUCCESS).unlink(missing_ok=True)


def replace_file(path: Path, text: str) -> None:
    """Write a small file so that it is there whole or not at all, also after a power cut."""
    replace_bytes(path, text.encode())


def replace_bytes(path: Path, content: bytes | memoryview) -> None:
    """Write a small file, like `replace_file`."""
    with explain_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.tmp")
        try:
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to a file: a rename may reach it before the bytes do."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


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


@contextmanager
def unfinished_folder(folder: Path) -> Iterator[Path]:
    """Give the folder for the files of a run, which may hold those of one that was cut off.

    If the block fails, nothing of it is left; if it is interrupted, as by Ctrl-C, the next run goes on from it.
    """
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    except Exception:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def move_files(source: Path, target: Path, paths: Sequence[str]) -> None:
    """Move files to the same place below another folder, then the manifest; can be done again after a crash."""
    with explain_write_errors(target):
        for path in (*paths, MANIFEST):
            if (source / path).exists():
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                (source / path).replace(target / path)


def remove_files(folder: Path, paths: Sequence[str]) -> None:
    """Remove files and the folders below `folder` that get empty; can be done again after a crash."""
    for path in paths:
        if (folder / path).is_file():
            (folder / path).unlink()
        for parent in (folder / path).parents:
            if parent == folder or not parent.is_dir() or any(parent.iterdir()):
                break
            parent.rmdir()


def remove_old_versions(folder: Path, keep_versions: int, current: str) -> list[str]:
    """Remove assignments of all but the newest versions; those of the current one always stay.

    Returns
    -------
    list of str
        The versions removed.
    """
    versions = sorted(path.name for path in folder.iterdir() if is_version(path.name))
    removed = [version for version in versions[:-keep_versions] if version != current]
    for version in removed:
        (folder / version).replace(folder / f".{version}.removed")  # never half a version under its name
    remove_leftovers(folder)
    return removed


def remove_leftovers(folder: Path) -> None:
    """Remove old versions that are out of sight already; what can't be removed is tried again by the next run."""
    for path in folder.glob(".v*.removed"):
        shutil.rmtree(path, ignore_errors=True)


def is_version(name: str) -> bool:
    """Whether a folder is one of a version, and not somebody's copy of it.

    Examples
    --------
    >>> is_version("v000012"), is_version("v000012.bak")
    (True, False)
    """
    return re.fullmatch(r"v\d{6,}", name) is not None


def refuse_overlap(dataset_path: str, output: Path) -> None:
    """Refuse an output folder inside the dataset's, where the next run would read it as input.

    Raises
    ------
    ConfigError
    """
    if output.exists() and not output.is_dir():
        error = ConfigError(f"output.path {output} is a file; expected a folder, or nothing yet")
        error.add_note("Choose another output.path, or move the file away.")
        raise error
    folder, _ = split_glob(dataset_path)
    if "://" not in folder and Path(folder).is_dir():
        source = Path(folder).resolve()
        if output.resolve() == source or source in output.resolve().parents:
            error = ConfigError(f"output.path {output} lies inside dataset.path {dataset_path}")
            error.add_note("The next run would read its own output; choose a folder outside.")
            raise error
