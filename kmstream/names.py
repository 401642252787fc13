"""What people do with the names of segments: look, take a suggestion, rename, make assignments say so, freeze."""

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime
from typing import Any

from kmstream.assignments import read_manifest
from kmstream.commit import hold_output
from kmstream.config import Config
from kmstream.descriptions import contrast_segments, suggest_names
from kmstream.errors import ConfigError, DatasetNotFoundError
from kmstream.labels import is_automatic
from kmstream.provenance import Clock
from kmstream.relabel import apply_labels
from kmstream.store import BECAME_CURRENT, Store
from kmstream.versions import list_centroids
from kmstream.wording import sort_names

MAX_NAME_LENGTH = 80  # characters


def list_labels(config: Config) -> list[dict[str, Any]]:
    """List every segment name of the current version, then those that were retired.

    `size_history` has the rows and the share of the segment in each version that has been the current one, the current
    one last.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    """
    store = Store(config.output.path)
    current = store.load()
    segments, sizes = list_centroids(current), _list_sizes(store)
    lines = [
        {"cluster_label": label, "cluster_id": line["cluster_id"], "status": "current"}
        | {"rows": segments[label]["rows"], "share": segments[label]["share"]}
        | {"born": line["born"], "retired": None, "description": line["description"]}
        | {"centroid": segments[label]["centroid"], "size_history": sizes.get(label, [])}
        for line in current.labels
        for label in [line["cluster_label"]]
    ]
    gone = [
        {"cluster_label": line["cluster_label"], "cluster_id": None, "status": "retired", "rows": 0, "share": 0.0}
        | {"born": line["born"], "retired": line["version"], "description": line["description"]}
        | {"centroid": {}, "size_history": sizes.get(line["cluster_label"], [])}
        for line in current.retired
    ]
    return lines + gone


def _list_sizes(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Give the size of each segment in every version that has been the current one, by its name of today."""
    moves = [line["version"] for line in store.history() if line["event"] in BECAME_CURRENT]
    sizes: dict[str, list[dict[str, Any]]] = {}
    for version in reversed(dict.fromkeys(reversed(moves))):  # by the time when each was made current last
        with suppress(OSError, ValueError):  # a damaged one is marked in the list of versions
            for line in store.list_segments(version):
                size = {"version": version, "rows": line["rows"], "share": line["share"]}
                sizes.setdefault(line["cluster_label"], []).append(size)
    return sizes


def suggest_labels(config: Config) -> list[dict[str, Any]]:
    """Propose a name for each segment of the current version from what sets it apart; nothing is renamed.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    """
    store = Store(config.output.path)
    current = store.load()
    contrast = contrast_segments(current.summary, current.model.features, current.model.scaling)
    names = suggest_names(contrast, store.used_labels())
    return [
        {"cluster_label": line["cluster_label"], "suggestion": name, "share": line["share"]}
        | {"description": line["description"]}
        for line, name in zip(current.labels, names, strict=True)
    ]


def rename_segment(
    config: Config, old: str, new: str, *, reason: str = "", now: datetime | None = None
) -> dict[str, Any]:
    """Call a segment of the current version by another name from now on.

    No file of any version changes: the history holds the new name, and loading a version applies it. Assignments say
    it after the next run, or `apply_renames`.

    Raises
    ------
    ConfigError
        If there is no segment `old`, or `new` is or was a name already.
    """
    with hold_output(config) as (store, _):
        current = store.load_current(config.name)
        used = store.used_labels()
        if old not in current.model.labels:
            known = ", ".join(sort_names(current.model.labels))
            error = ConfigError(f"there is no segment {old!r}; there are: {known}")
            error.add_note("`kmstream labels list` shows what each of them is.")
            raise error
        check_new_name(old, new, used)
        store.log("renamed", Clock(now).now, version=current.version, old=old, new=new, reason=reason)
        return {"old": old, "new": new, "version": current.version}


def check_new_name(old: str, new: str, used: Collection[str]) -> None:
    """Refuse a name that would be confused with another, or can't be written down.

    Raises
    ------
    ConfigError
    """
    problem, cure = "", f"Choose one of at most {MAX_NAME_LENGTH} visible characters, with no blank at its ends."
    if not new.strip():
        problem = "it is empty"
    elif new == old:
        problem, cure = "it is called that already", "Choose another, or leave it: nothing is to be done."
    elif new in used:
        problem = "it is or was one already"
        cure = "Choose another: a name is never used twice, so that old reports keep their meaning."
    elif new != new.strip():
        problem = "it begins or ends with a blank"
    elif not all(letter.isprintable() for letter in new):
        problem = "it holds a character that can't be shown"
    elif len(new) > MAX_NAME_LENGTH:
        problem = f"it has {len(new)} characters; expected at most {MAX_NAME_LENGTH}"
    elif same := [name for name in sorted(used) if name.casefold() == new.casefold() and name != old]:
        problem = f"it differs from {same[0]!r} by upper and lower case only"
        cure = "Choose another, which people can tell apart in tables, queries and file names."
    elif is_automatic(new.casefold()):
        problem, cure = "such names are given by themselves", "Choose one that says what the segment is."
    if problem:
        error = ConfigError(f"{new!r} can't be a new name; {problem}")
        error.add_note(cure)
        raise error


def apply_renames(config: Config) -> dict[str, Any]:
    """Make the assignments of the current version say the names that people gave since; the next run would, too.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    DatasetNotFoundError
        If that version has no assignments.
    KmstreamError
        If a file can't be read or written; what is left is done the next time.
    """
    with hold_output(config) as (store, _):
        current = store.load_current(config.name)
        folder = store.assignments(current.version)
        if not read_manifest(folder):
            error = DatasetNotFoundError(f"there are no assignments of {current.version} that could say new names")
            error.add_note(f"in {folder}; output.keep_versions says how many versions keep theirs")
            error.add_note("`kmstream score` assigns every partition by this version, with the names of today.")
            raise error
        n_files = apply_labels(config, store, current)
        return {"version": current.version, "files": n_files, "labels": list(current.model.labels)}


def freeze_labels(config: Config, *, frozen: bool = True, now: datetime | None = None) -> dict[str, Any]:
    """Fix the number and the names of the segments, or let them be free again; a refit that can't keep them is held.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    ConfigError
        If `model.n_clusters` asks for another number than there is: every refit would be held.
    """
    with hold_output(config) as (store, _):
        current = store.load_current(config.name)
        labels = list(current.model.labels)
        if frozen and config.model.n_clusters != len(labels):
            error = ConfigError(
                f"model.n_clusters is {config.model.n_clusters}; {current.version} has {len(labels)} segments"
            )
            error.add_note(
                "Every refit would be held. Set it to the number of segments that is to stay, then freeze them."
            )
            raise error
        was = store.frozen_labels()
        if (was is None) == frozen or (frozen and was != set(labels)):
            store.log("frozen" if frozen else "thawed", Clock(now).now, version=current.version, labels=labels)
        return {"version": current.version, "frozen": frozen, "labels": labels}
