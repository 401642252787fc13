"""What people do with versions and names: look, promote, roll back, rename."""

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from kmstream.assignments import mark_complete
from kmstream.config import Config
from kmstream.descriptions import profile_segments, suggest_names
from kmstream.errors import ChecksumMismatchError, ConfigError, ModelNotFoundError
from kmstream.features import encoded_names, to_original_units
from kmstream.migration import count_common_rows, read_migration
from kmstream.relabel import apply_labels
from kmstream.scoring import finish_scores
from kmstream.store import ModelVersion, Store


def list_versions(config: Config) -> list[dict[str, Any]]:
    """List every version, oldest first, held ones too."""
    store = Store(config.output.path)
    return [_describe_or_damaged(store, version) for version in store.versions()]


def describe_version(config: Config, version: str) -> dict[str, Any]:
    """Tell everything about one version.

    Raises
    ------
    ModelNotFoundError
    """
    store = Store(config.output.path)
    found = store.load(version)
    return _describe(store, found) | {
        "labels": [
            dict(line) | {"rows": rows.item(), "share": float(share)}
            for line, rows, share in zip(found.labels, found.summary.rows, found.summary.shares, strict=True)
        ],
        "gate": [asdict(check) for check in found.gate],
        "passes": list(found.passes),
        "parameters": dict(found.parameters),
        "provenance": dict(found.provenance),
    }


def diff_versions(config: Config, a: str, b: str) -> dict[str, Any]:
    """Set two versions side by side by the names of their segments; centroids in original units.

    `migration` is the table of rows by old and new name: of the rows that `b` was fitted on where `a` was current then,
    else of those that the assignments of both hold. None where there are none.
    """
    store = Store(config.output.path)
    one, two = store.load(a), store.load(b)
    before, after = _segments(one), _segments(two)
    segments = []
    for label in dict.fromkeys([*before, *after]):
        old, new = before.get(label), after.get(label)
        segments.append(
            {
                "cluster_label": label,
                "status": "kept" if old and new else "gone" if old else "new",
                "share_from": old and old["share"],
                "share_to": new and new["share"],
                "centroid_from": old and old["centroid"],
                "centroid_to": new and new["centroid"],
            }
        )
    migration = read_migration(store, b) if two.parent == a else count_common_rows(store, one, two)
    return {"from": a, "to": b, "segments": segments, "migration": migration}


def promote(config: Config, version: str, *, now: datetime | None = None) -> dict[str, Any]:
    """Make a version the current one: a held one that a person has looked at, or an older one.

    Raises
    ------
    ModelNotFoundError
    ConfigError
        If it is the current version already.
    """
    store = Store(config.output.path)
    with store.lock(config.name):
        finish_scores(store)
        return _move_current(store, version, "promoted", now)


def rollback(config: Config, *, now: datetime | None = None) -> dict[str, Any]:
    """Make the version that was current before this one current again.

    Raises
    ------
    ModelNotFoundError
        If there was none.
    """
    store = Store(config.output.path)
    with store.lock(config.name):
        finish_scores(store)
        previous = previous_version(store.history(), store.current)
        if previous is None:
            error = ModelNotFoundError(f"no version was current before {store.current or 'the first'}")
            error.add_note("`kmstream models list` shows the versions; `kmstream models promote V` takes any of them.")
            raise error
        return _move_current(store, previous, "rolled-back", now)


def previous_version(history: list[dict[str, Any]], current: str | None) -> str | None:
    """Find the version to roll back to: publishing and promoting go one step on, rolling back one step back.

    Examples
    --------
    >>> previous_version([{"event": "published", "version": "v1"}, {"event": "promoted", "version": "v2"}], "v2")
    'v1'
    """
    steps: list[str] = []
    for line in history:
        if line["event"] in {"published", "promoted"} and steps[-1:] != [line["version"]]:
            steps.append(line["version"])
        elif line["event"] == "rolled-back" and steps:
            steps.pop()
    while steps and steps[-1] != current:  # a crash came between this line and CURRENT
        steps.pop()
    return steps[-2] if len(steps) > 1 else None


def list_labels(config: Config) -> list[dict[str, Any]]:
    """List every segment name of the current version, then those that were retired.

    `size_history` has the rows and the share of the segment in each version that has been the current one.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    """
    store = Store(config.output.path)
    current = store.load()
    segments, sizes = _segments(current), _list_sizes(store)
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
    was_current = {line["version"] for line in store.history() if line["event"] in {"published", "promoted"}}
    sizes: dict[str, list[dict[str, Any]]] = {}
    for version in store.versions():
        if version in was_current:
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
    profile = profile_segments(current.summary, current.model.features, current.model.scaling)
    names = suggest_names(profile, store.used_labels())
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
    store = Store(config.output.path)
    with store.lock(config.name):
        current = store.load_current(config.name)
        used = store.used_labels()
        if old not in current.model.labels:
            error = ConfigError(f"there is no segment {old!r}; there are: {', '.join(current.model.labels)}")
            error.add_note("`kmstream labels list` shows what each of them is.")
            raise error
        if not new.strip() or new in used:
            error = ConfigError(f"{new!r} can't be a new name" + ("; it is or was one already" if new in used else ""))
            error.add_note("A name is never used twice, so that old reports keep their meaning.")
            raise error
        store.log("renamed", now or datetime.now(UTC), version=current.version, old=old, new=new, reason=reason)
        return {"old": old, "new": new, "version": current.version}


def apply_renames(config: Config) -> dict[str, Any]:
    """Make the assignments of the current version say the names that people gave since; the next run would, too.

    Raises
    ------
    ModelNotFoundError
        If nothing has been published yet.
    KmstreamError
        If a file can't be read or written; what is left is done the next time.
    """
    store = Store(config.output.path)
    with store.lock(config.name):
        finish_scores(store)
        current = store.load_current(config.name)
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
    store = Store(config.output.path)
    with store.lock(config.name):
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
        event = "frozen" if frozen else "thawed"
        store.log(event, now or datetime.now(UTC), version=current.version, labels=labels)
        return {"version": current.version, "frozen": frozen, "labels": labels}


def find_report(config: Config, which: str | None = None) -> Path:
    """Find the page of a version or a score run; the newest by default.

    Raises
    ------
    ModelNotFoundError
        If there is no such page.
    """
    store = Store(config.output.path)
    runs = store.output / "reports"
    if which is not None:
        places = [store.path(which) / "report.html", runs / which / "report.html"]
    else:
        pages = [*store.models.glob("v*/report.html"), *runs.glob("[!.]*/report.html")]
        places = sorted(pages, key=lambda path: path.stat().st_mtime, reverse=True)
    for path in places:
        if path.is_file():
            return path
    error = ModelNotFoundError(f"there is no report of {which!r}" if which else "there is no report yet")
    error.add_note(f"in {store.output}; a report is named by its version (v000001) or the run_id of its score.")
    raise error


def _move_current(store: Store, version: str, event: str, now: datetime | None) -> dict[str, Any]:
    previous = store.current
    if version == previous:
        error = ConfigError(f"{version} is the current version already")
        error.add_note("`kmstream models list` shows the others.")
        raise error
    store.load(version)  # refuses a version that is not whole
    now = now or datetime.now(UTC)
    with store.finishing(version, now, is_new=False):
        if store.assignments(version).is_dir():
            mark_complete(store.assignments(version))
        store.log(event, now, version=version, previous=previous)
        store.set_current(version)
    return {"version": version, "previous": previous, "status": event}


def _describe_or_damaged(store: Store, version: str) -> dict[str, Any]:
    try:
        return _describe(store, store.load(version))
    except ChecksumMismatchError:  # the list is what people choose a whole one from
        nothing = dict.fromkeys(("created", "rows", "n_clusters", "inertia_per_row", "baseline", "parent"))
        return {"version": version, "status": "damaged", "current": version == store.current} | nothing


def _describe(store: Store, found: ModelVersion) -> dict[str, Any]:
    return {
        "version": found.version,
        "status": store.status(found.version),
        "current": found.version == store.current,
        "created": found.created,
        "rows": found.summary.n_rows,
        "n_clusters": len(found.model.labels),
        "inertia_per_row": found.summary.inertia_per_row,
        "baseline": found.baseline,
        "parent": found.parent,
    }


def _segments(found: ModelVersion) -> dict[str, dict[str, Any]]:
    model = found.model
    names = encoded_names(model.features, model.scaling)
    means = np.where(found.summary.rows[:, None] > 0, found.summary.mean, model.centroids)
    original = to_original_units(means, model.features, model.scaling)
    return {
        label: {
            "rows": found.summary.rows[i].item(),
            "share": float(found.summary.shares[i]),
            "centroid": dict(zip(names, original[i].tolist(), strict=True)),
        }
        for i, label in enumerate(model.labels)
    }
