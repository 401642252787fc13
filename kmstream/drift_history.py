"""Every run of a segmentation in the order of time, from the drift.json that each left: how the drift went."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.assignments import is_version
from kmstream.config import Config
from kmstream.drift_figures import AT_A_GLANCE
from kmstream.storage import Place, is_local, list_files, read_text
from kmstream.store import Store, find_names_of_today, find_status

DRIFT = "drift.json"
FIGURES = ("rows", *AT_A_GLANCE, "feature_psi")
_RUN_EVENTS = {"published", "held", "drift"}


@dataclass(frozen=True)
class DriftHistory:
    """The runs, oldest first.

    Attributes
    ----------
    segments : tuple of str
        Every name that a segment of these runs has, as it is called today; the first version's first.
    runs : tuple of mapping
        Each with ``time``, ``run_id`` (of a refresh its version), ``version``, ``kind``, ``status`` (scored, or what
        became of the version: published, held, promoted, rolled-back), ``severity``, the `FIGURES`, ``feature`` (whose
        PSI it is) and ``shares`` by segment. A first version has none of the figures but rows.
    skipped : tuple of str
        What is wrong with files that could not be read.
    """

    segments: tuple[str, ...]
    runs: tuple[Mapping[str, Any], ...]
    skipped: tuple[str, ...] = ()


def read_drift_history(config: Config, kind: str | None = None, last: int | None = None) -> DriftHistory:
    """Read what every refresh and score found; a file that is missing or damaged is passed over, and told.

    Parameters
    ----------
    config : Config
    kind : {"refresh", "score"}, optional
        Only those.
    last : int, optional
        No more than the last ones.
    """
    store = Store(config.output.path)
    history = store.history()
    lines = {_run_of(line): line for line in history if line["event"] in _RUN_EVENTS}
    called = find_names_of_today(history)
    runs: list[dict[str, Any]] = []
    skipped, segments = [], dict[str, None]()
    folders = sorted(_list_folders(store, kind), key=lambda folder: lines.get(folder.name, {}).get("time", ""))
    for folder in folders[-last:] if last else folders:
        run_id, line = folder.name, lines.get(folder.name, {})
        try:
            told = _read_run(folder / DRIFT, called.get(run_id, {}))
        except (OSError, ValueError) as error:
            skipped.append(f"{folder / DRIFT}: {error.strerror if isinstance(error, OSError) else error}")
            continue
        facts = {"time": line.get("time"), "run_id": run_id}
        if is_version(run_id):
            facts |= {"version": run_id, "kind": "refresh", "status": find_status(history, run_id)}
        else:
            facts |= {"version": line.get("version"), "kind": "score", "status": "scored"}
        segments |= dict.fromkeys(told["shares"])
        runs.append(facts | told)
    runs.sort(key=lambda run: (run["time"] or "", run["run_id"]))
    return DriftHistory(tuple(segments), tuple(runs), tuple(skipped))


def _list_folders(store: Store, kind: str | None) -> list[Place]:
    versions = [store.path(version) for version in store.versions()] if kind != "score" else []
    return [*versions, *(_list_scores(store.output / "reports") if kind != "refresh" else ())]


def _list_scores(reports: Place) -> list[Place]:
    """List the folders of scores; on an object store, where there are none, those with a drift.json."""
    if is_local(reports):
        return sorted(path for path in reports.glob("[!.]*") if path.is_dir())
    names = (path.partition("/")[0] for path in list_files(reports) if path.endswith(f"/{DRIFT}"))
    return [reports / name for name in sorted(names) if not name.startswith(".")]


def _read_run(path: Place, called: Mapping[str, str]) -> dict[str, Any]:
    drift = json.loads(read_text(path))
    try:
        segments = sorted((str(one["cluster_label"]), one["share"]) for one in drift["segments"])
        psi = {one["feature"]: one["psi"] for one in drift["features"] if one["psi"] is not None}
        figures = {key: drift["totals"].get(key) for key in FIGURES}
        return (
            {"severity": drift["severity"]}
            | figures
            | {"feature": max(psi, key=lambda name: psi[name], default=None)}
            | {"shares": {called.get(label, label): share for label, share in segments}}
        )
    except (AttributeError, KeyError, TypeError) as cause:
        msg = "it does not hold what drift.json holds"
        raise ValueError(msg) from cause


def _run_of(line: Mapping[str, Any]) -> str:
    return str(line["run_id"] if line["event"] == "drift" else line["version"])
