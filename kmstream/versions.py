"""What people do with versions: look, profile, compare, promote, roll back. What they do with names is in `names`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

import numpy as np

from kmstream.assignments import mark_complete
from kmstream.commit import hold_output
from kmstream.config import Config
from kmstream.errors import ChecksumMismatchError, ConfigError, ModelNotFoundError
from kmstream.features import encoded_names, to_original_units
from kmstream.migration import count_common_rows, read_migration
from kmstream.provenance import Clock
from kmstream.retraining import find_pause
from kmstream.segment_profile import tell_profile
from kmstream.storage import Place, exists, is_folder
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
    before, after = list_centroids(one), list_centroids(two)
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
    with hold_output(config) as (store, _):
        return _move_current(store, version, "promoted", now)


def rollback(config: Config, *, now: datetime | None = None) -> dict[str, Any]:
    """Make the version that was current before this one current again.

    Raises
    ------
    ModelNotFoundError
        If there was none.
    """
    with hold_output(config) as (store, _):
        previous = previous_version(store.history(), store.current)
        if previous is None:
            error = ModelNotFoundError(f"no version was current before {store.current or 'the first'}")
            error.add_note("`kmstream models list` shows the versions; `kmstream models promote V` takes any of them.")
            raise error
        return _move_current(store, previous, "rolled-back", now)


def resume_retraining(config: Config, *, now: datetime | None = None) -> dict[str, Any]:
    """End the pause that three held refits in a row have made; drift may ask for new fits again."""
    with hold_output(config) as (store, _):
        was = find_pause(store.history())
        if was:
            store.log("retrain-resumed", Clock(now).now, was=was)
    return {"name": config.name, "resumed": bool(was), "was": was}


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


def find_report(config: Config, which: str | None = None) -> Place:
    """Find the page of a version or a score run; the newest by default.

    Raises
    ------
    ModelNotFoundError
        If there is no such page.
    """
    store = Store(config.output.path)
    runs = store.output / "reports"
    made = (line for line in reversed(store.history()) if line["event"] in {"published", "held", "drift"})
    names = (line["run_id"] if line["event"] == "drift" else line["version"] for line in made)
    for name in [which] if which is not None else names:
        for page in (store.path(name) / "report.html", runs / name / "report.html"):
            if exists(page):
                return page
    error = ModelNotFoundError(f"there is no report of {which!r}" if which else "there is no report yet")
    error.add_note(f"in {store.output}; a report is named by its version (v000001) or the run_id of its score.")
    raise error


def _move_current(store: Store, version: str, event: str, now: datetime | None) -> dict[str, Any]:
    previous = store.current
    if version == previous:
        error = ConfigError(f"{version} is the current version already")
        error.add_note("`kmstream models list` shows the others.")
        raise error
    found = store.load(version)  # refuses a version that is not whole
    time = Clock(now).now
    with store.finishing(version, time, is_new=False):
        # Those of a published version are complete, or `apply_labels` was cut off and goes on with the next run.
        if is_folder(store.assignments(version)) and store.status(version) == "held":
            mark_complete(store.assignments(version))
        store.log(event, time, version=version, previous=previous, labels=list(found.model.labels))
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


def list_centroids(found: ModelVersion) -> dict[str, dict[str, Any]]:
    """Give rows, share and centroid, in original units, of each segment of a version."""
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


def profile_version(config: Config, version: str | None = None, *, features: Sequence[str] = ()) -> dict[str, Any]:
    """Tell which features separate the segments of a version, and what each segment looks like in them.

    Parameters
    ----------
    config : Config
    version : str, optional
        The current one by default.
    features : sequence of str
        Only these are told of: columns as "channel=web", or features, which a categorical one is with all its
        columns. All by default. No figure depends on what is left out; `closest` is of all features.

    Returns
    -------
    dict
        name, version, rows, and what `tell_profile` gives.

    Raises
    ------
    ModelNotFoundError
        If there is no such version.
    ConfigError
        If the version has no such feature.
    """
    found = Store(config.output.path).load(version)
    model = found.model
    told = tell_profile(found.summary, found.sample, model.labels, model.features, model.scaling)
    columns = [line["feature"] for line in told["features"]]
    wanted = set(columns) if not features else {name for one in features for name in _find_columns(one, columns)}
    for one in features:
        if not _find_columns(one, columns):
            error = ConfigError(f"{found.version} has no feature {one!r}")
            error.add_note(f"It has: {', '.join([*model.features.numeric, *model.features.categorical])}.")
            raise error
    return {"name": config.name, "version": found.version, "rows": found.summary.n_rows} | {
        **told,
        "features": [line for line in told["features"] if line["feature"] in wanted],
        "segments": [
            segment | {"features": {name: segment["features"][name] for name in columns if name in wanted}}
            for segment in told["segments"]
        ],
        "pairs": [line for line in told["pairs"] if line["feature"] in wanted],
    }


def _find_columns(feature: str, columns: Sequence[str]) -> list[str]:
    """Find the column of that name, else those of its categories."""
    return [name for name in columns if name == feature] or [name for name in columns if name.startswith(f"{feature}=")]
