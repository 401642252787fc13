"""The output held by one run at a time; what a score has decided made visible, also after a crash."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from kmstream.assignments import (
    COMMIT,
    MANIFEST,
    Entry,
    mark_complete,
    remove_files,
    staging_folder,
    write_manifest,
)
from kmstream.config import Config
from kmstream.report.workspace import add_staged
from kmstream.results import ScoreResult
from kmstream.retraining import find_request
from kmstream.storage import (
    Place,
    exists,
    explain_write_errors,
    is_folder,
    is_local,
    move,
    move_files,
    read_text,
    remove_file,
    remove_tree,
    replace_file,
)
from kmstream.store import Store
from kmstream.window import Window

UNFINISHED_PAGE = ".unfinished"


@contextmanager
def hold_output(config: Config) -> Iterator[tuple[Store, ScoreResult | None]]:
    """Hold the lock of a segmentation; what an earlier score decided before it was cut off is made visible first.

    Yields
    ------
    store : Store
    finished : ScoreResult or None
        Of that score.

    Raises
    ------
    LockHeldError
        If another run holds the lock.
    """
    store = Store(config.output.path)
    with store.lock(config.name):
        yield store, finish_scores(store)


def commit_score(
    config: Config, store: Store, now: datetime, window: Window, result: ScoreResult, assigned: Mapping[str, Entry]
) -> None:
    """Make a score's files, its page, the manifest and the history's lines visible, together.

    What is to be done is noted first: what a crash or an error leaves undone, the next run does, by `finish_scores`.

    Parameters
    ----------
    config : Config
    store : Store
    now : datetime
    window : Window
    result : ScoreResult
    assigned : mapping of str to Entry
        The partitions of this run; their files are in `window.staging`.
    """
    staging = window.staging
    facts = {"version": result.version, "run_id": result.run_id}
    told = facts | {"severity": result.severity, "rows": result.rows, "cleared": result.cleared}
    lines = [("drift", told)] if result.run_id else []
    if result.retrain["requested"] and result.run_id and find_request(store.history()) is None:
        lines.append(("retrain-requested", facts | {"severity": result.severity, "why": result.retrain["why"]}))
    note = {"result": result.to_json(), "time": now.isoformat(), "lines": lines}
    if is_local(staging):
        staging.mkdir(parents=True, exist_ok=True)
    write_manifest(staging, {**window.kept, **assigned}, config, result.version)
    replace_file(staging / COMMIT, json.dumps(note | {"files": list(assigned), "removed": list(window.removed)}))
    _commit(store, staging)
    add_staged(store.output)


def finish_scores(store: Store) -> ScoreResult | None:
    """Finish what a score had decided before it was cut off, and give its result; remove what nobody goes on from.

    What visible runs have staged for the workspace is added to it.
    """
    finished = None
    for staging in (store.output / "assignments").glob(".v*.score"):
        if exists(staging / COMMIT):
            finished = _commit(store, staging)
        elif staging.name != staging_folder(store.assignments(store.current or "")).name:
            remove_tree(staging)
    remove_tree(store.output / "reports" / UNFINISHED_PAGE)
    add_staged(store.output)
    return finished


def _commit(store: Store, staging: Place) -> ScoreResult:
    """Do what is noted; each step can be done again."""
    note = json.loads(read_text(staging / COMMIT))
    result = ScoreResult(**note["result"])
    page, folder = store.output / "reports" / UNFINISHED_PAGE, store.assignments(result.version)
    with explain_write_errors(folder):
        if is_folder(page):
            move(page, page.with_name(result.run_id))
        remove_files(folder, note["removed"])
        move_files(staging, folder, note["files"])
        move_files(staging, folder, [MANIFEST])
    mark_complete(folder)
    logged = {(line["event"], line.get("run_id")) for line in store.history()}
    for event, facts in note["lines"]:
        if (event, result.run_id) not in logged:
            store.log(event, datetime.fromisoformat(note["time"]), **facts)
    remove_file(staging / COMMIT)  # first: without it the rest is only what nobody goes on from
    remove_tree(staging)
    return result
