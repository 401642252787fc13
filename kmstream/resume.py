"""An assign pass that was cut off goes on where it stood, and ends with the same bits.

While files are being made, their folder holds the manifest of those that are done, and the sums over these in
`.progress.npz`; both are replaced every few files. A run that finds them, and has the same model for the same files,
takes them over; everything else that lies there is removed.
"""

import hashlib
import io
import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from pydantic import BaseModel

import kmstream
from kmstream.assign import Assigned, AssignJob, assign_dataset
from kmstream.assignments import MANIFEST, PROGRESS, Entry, read_manifest, write_manifest
from kmstream.config import Config
from kmstream.dataset import Partition
from kmstream.run import Run
from kmstream.storage import Place, list_files, read_bytes, remove_file, remove_files, replace_bytes
from kmstream.truth import TruthCounts

_PAUSE = 50  # between two saves, in the time that one takes: 2 % of the pass


def assign_resumably(run: Run, job: AssignJob) -> tuple[Assigned, int]:
    """Assign what an earlier run that was cut off has not assigned yet; `assign_dataset` says what comes of it.

    Returns
    -------
    assigned : Assigned
        Of all rows, to the bit as if there had been no earlier run.
    n_resumed : int
        Partitions that were done already.
    """
    folder = job.output.folder
    there = list_files(folder)
    start = _load(job, run.dataset.partitions, there)
    kept = {MANIFEST, PROGRESS, *start.entries} if start.entries else set()
    remove_files(folder, there - kept)  # written by a run that was cut off, and not counted as done
    assigned = assign_dataset(run, job, start, _saver(run.config, job))
    _save(run.config, job, assigned)
    return assigned, len(start.entries)


def forget_progress(folder: Place) -> None:
    """Remove what a run would go on from: its files are complete, and belong to a version."""
    remove_file(folder / PROGRESS)


def _saver(config: Config, job: AssignJob) -> Callable[[Assigned], None]:
    cost, last = 0.0, time.monotonic()

    def save(assigned: Assigned) -> None:
        nonlocal cost, last
        begin = time.monotonic()
        if begin - last >= _PAUSE * cost:
            _save(config, job, assigned)
            last = time.monotonic()
            cost = last - begin

    return save


def _save(config: Config, job: AssignJob, assigned: Assigned) -> None:
    """Replace the manifest, then the sums: of what the second counts, the first knows all."""
    folder = job.output.folder
    write_manifest(folder, assigned.entries, config, job.output.metadata["kmstream.version"])
    told = {
        "key": _identify(job),
        "n_partitions": len(assigned.entries),
        "partitions": _digest((path, entry.fingerprint) for path, entry in assigned.entries.items()),
        "skipped": dict(assigned.values.skipped),
        "unseen": dict(assigned.values.unseen),
        "fit_sse": assigned.fit_sse,
        "current_sse": assigned.current_sse,
        "classes": list(assigned.truth.rows),
    }
    packed = io.BytesIO()
    np.savez(packed, **_take_arrays(assigned), told=np.frombuffer(json.dumps(told).encode(), np.uint8))
    replace_bytes(folder / PROGRESS, packed.getvalue())


def _take_arrays(assigned: Assigned) -> dict[str, Any]:
    sums = assigned.deviations
    return {
        "rows": sums.rows,
        "sums": sums.sums,
        "squares": sums.squares,
        "distance_counts": sums.distance_counts,
        "bins": assigned.values.bins,
        "counts": assigned.counts,
        "outliers": assigned.outliers,
        "migration": assigned.migration,
        "members": assigned.members,
        "truth": np.array(list(assigned.truth.rows.values())),
    }


def _load(job: AssignJob, partitions: Sequence[Partition], there: Collection[str]) -> Assigned:
    """Give the sums over the first partitions that are done; over none, if what is there is not of this job."""
    nothing = job.nothing()
    if PROGRESS not in there:
        return nothing
    with suppress(OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):  # absent, or damaged
        packed = io.BytesIO(read_bytes(job.output.folder / PROGRESS))
        found = dict(np.load(packed, allow_pickle=False))
        told = json.loads(found["told"].tobytes())
        listed = read_manifest(job.output.folder)
        done = partitions[: told["n_partitions"]]
        entries = {p.path: listed[p.path] for p in done}
        same = _digest((p.path, p.fingerprint) for p in done) == told["partitions"]
        if told["key"] == _identify(job) and same and all(p.path in there for p in done):
            return _put_together(nothing, found, told, entries)
    return nothing


def _put_together(
    nothing: Assigned, found: Mapping[str, np.ndarray], told: Mapping[str, Any], entries: Mapping[str, Entry]
) -> Assigned:
    sums = {name: found[name] for name in ("rows", "sums", "squares", "distance_counts")}
    values = replace(
        nothing.values, bins=found["bins"], skipped=Counter(told["skipped"]), unseen=Counter(told["unseen"])
    )
    return replace(
        nothing,
        deviations=replace(nothing.deviations, **sums),
        values=values,
        counts=found["counts"],
        outliers=found["outliers"],
        migration=found["migration"],
        members=found["members"],
        fit_sse=told["fit_sse"],
        current_sse=told["current_sse"],
        truth=TruthCounts(dict(zip(told["classes"], found["truth"], strict=True))),
        entries=dict(entries),
    )


def _identify(job: AssignJob) -> str:
    """Give what changes when anything does that the files or the sums depend on, but for the files of the dataset."""
    parts = (
        (
            kmstream.__version__,
            job.model,
            job.current,
            job.reach,
            job.outlier_distances,
            job.truth,
            job.matrices.weighting,
            job.group_size,
        ),
        (job.output.columns, job.output.metadata),
    )
    return hashlib.sha256(b"\0".join(_bits(parts))).hexdigest()


def _digest(partitions: Iterable[tuple[str, str]]) -> str:
    """Identify files, in their order, and what is in them."""
    return hashlib.sha256("\n".join(f"{path} {fingerprint}" for path, fingerprint in partitions).encode()).hexdigest()


def _bits(value: object) -> list[bytes]:
    """Give every bit of nested values, in a fixed order."""
    if isinstance(value, np.ndarray):
        return [str((value.dtype, value.shape)).encode(), value.tobytes()]
    if isinstance(value, BaseModel):
        return [value.model_dump_json().encode()]
    if is_dataclass(value):
        return [bits for field in fields(value) for bits in _bits(getattr(value, field.name))]
    if isinstance(value, tuple | list):
        return [str(len(value)).encode(), *(bits for one in value for bits in _bits(one))]
    return [repr(value).encode()]
