"""What an orchestrator is told of a run: events, a table as Markdown, the text of an error, whether to try again.

Pure functions of results and errors; nothing here knows an orchestrator.
"""

import errno
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

from kmstream.errors import ClusterError, KmstreamError, OutputError, StorageError, StorageRefusedError
from kmstream.results import RefreshResult, ScoreResult
from kmstream.wording import NOTHING, as_markdown, by_size, count, number, percent, points

MAX_REASONS = 10  # of a payload or an artifact; drift.json has them all

# A write that failed so fails again in a minute, and a refit is too long to be repeated in vain.
_NEEDS_A_PERSON = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.EINVAL),
}

Event = tuple[str, dict[str, Any]]


class HeldError(Exception):
    """A refresh came to its end, and the gate held its version back: how an orchestrator lets a person see that."""

    def __init__(self, result: RefreshResult) -> None:
        super().__init__(verdict_of_refresh(result))
        self.result = result

    def __reduce__(self) -> tuple[type["HeldError"], tuple[RefreshResult]]:
        """Pickle with the result, not with the text."""
        return type(self), (self.result,)


def resource_id(name: str) -> str:
    """Name a segmentation as events do.

    Examples
    --------
    >>> resource_id("retail-rfm")
    'kmstream.segmentation.retail-rfm'
    """
    return f"kmstream.segmentation.{name}"


def events_of_refresh(result: RefreshResult) -> list[Event]:
    """List the events of a refresh, each with its payload; plain JSON values.

    What became of segments is told of published versions only: nothing emerged or ended for anyone while a version is
    held, nor in a first version.
    """
    facts = {
        "version": result.version,
        "rows": result.rows,
        "n_clusters": result.n_clusters,
        "inertia_per_row": result.inertia_per_row,
        "severity": result.severity,
        "report": result.report,
    }
    if result.status == "held":
        failed = [asdict(check) for check in result.gate if not check.ok]
        return [("kmstream.model.held", facts | {"failed": failed})]
    published: Event = ("kmstream.model.published", facts)
    if is_first(result):
        return [published]
    changed = ((f"kmstream.segment.{line['event']}", _about(line, result.version)) for line in _changed(result))
    return [published, *changed]


def events_of_score(result: ScoreResult) -> list[Event]:
    """List the events of a score, each with its payload.

    If nothing was new there are none, but for a request that still waits: what was told of it may have got lost.
    """
    if not result.partitions:
        if not result.retrain["requested"]:
            return []
        why, asked = result.retrain["why"], {key: result.retrain.get(key) for key in ("run_id", "severity")}
        again = {"version": result.version, **asked, "why": why, "again": True}
        return [("kmstream.drift.detected", again), ("kmstream.retrain.requested", again)]
    facts = {
        "version": result.version,
        "run_id": result.run_id,
        "rows": result.rows,
        "severity": result.severity,
        "report": result.report,
    }
    events: list[Event] = []
    if result.severity != "ok":
        reasons = [dict(reason) for reason in result.reasons[:MAX_REASONS]]
        events.append(("kmstream.drift.detected", facts | {"reasons": reasons}))
    if result.cleared:
        events.append(("kmstream.drift.cleared", facts))
    if result.retrain["requested"]:
        events.append(("kmstream.retrain.requested", facts | {"why": result.retrain["why"]}))
    return events


def is_first(result: RefreshResult) -> bool:
    """Whether no segment of a refresh continues an earlier one and none has ended: there was no version before."""
    return not result.retired and all(line["event"] == "emerged" for line in result.labels)


def verdict_of_refresh(result: RefreshResult) -> str:
    """Say in a sentence or two how a refresh ended."""
    size = f"{count(result.rows, 'row')} in {count(result.n_clusters, 'segment')}"
    if result.status == "held":
        failed = ", ".join(
            f"{check.check.replace('_', ' ')}{f' ({check.label})' if check.label else ''} is {number(check.observed)}, "
            f"the limit is {number(check.limit)}"
            for check in result.gate
            if not check.ok
        )
        use = f"kmstream models promote {result.version}"
        return f"{result.version} is held: {failed}. The version in use has not changed; to use this one: {use}"
    if is_first(result):
        return f"{result.version} is published: the first version, {size}."
    changed = ", ".join(f"{line['cluster_label']} {line['event']}" for line in _changed(result))
    return f"{result.version} is published: {size}; {changed or 'every segment keeps its name'}."


def verdict_of_score(result: ScoreResult) -> str:
    """Say in a sentence or two what a score found."""
    if not result.partitions:
        removed = f" {count(result.removed, 'partition')} gone from the dataset: the assignments went too."
        gone = removed if result.removed else ""
        waits = f" A new fit is still asked for: {result.retrain['why']}." if result.retrain["requested"] else ""
        return f"Nothing new: {result.version} has assigned every partition.{gone}{waits}"
    if not any(line["rows"] for line in result.labels) and result.severity == "ok":
        n_partitions = count(result.partitions, "partition")
        return f"No row with a segment in {n_partitions}: nothing was judged against {result.version}."
    look = {"ok": "look like", "warn": "begin to differ from", "alert": "differ from"}[result.severity]
    cleared = " Earlier drift has cleared." if result.cleared else ""
    retrain = " A new fit is asked for." if result.retrain["requested"] else ""
    size = f"{count(result.rows, 'new row')} in {count(result.partitions, 'partition')}"
    return f"{size} {look} those of {result.version}: drift {result.severity}.{cleared}{retrain}"


def markdown_of_refresh(result: RefreshResult) -> str:
    """Write a refresh as Markdown: the verdict, the segments, where the report is."""
    rows = [
        [as_markdown(line["cluster_label"]), f"{line['rows']:,}", percent(line["share"]), line["event"]]
        for line in by_size(result.labels)
    ] + [[as_markdown(line["cluster_label"]), NOTHING, NOTHING, line["event"]] for line in result.retired]
    gate = [
        [
            check.check.replace("_", " "),
            as_markdown(check.label),
            number(check.observed),
            number(check.limit),
            "passed" if check.ok else "**failed**",
        ]
        for check in result.gate
    ]
    return _join(
        f"# {as_markdown(result.name)} {result.version}: {result.status}",
        as_markdown(verdict_of_refresh(result)),
        _table(["Segment", "Rows", "Share", "What became of it"], rows, numbers=(1, 2)),
        _list_reasons("What moved since the version before", result.reasons),
        "## Gate",
        _table(["Check", "Segment", "Observed", "Limit", "Result"], gate, numbers=(2, 3)),
        _point_to(result.report, result.assignments, result.rows_skipped, result.seconds),
    )


def markdown_of_score(result: ScoreResult) -> str:
    """Write a score as Markdown: the verdict, the segments then and now, where the report is."""
    rows = [
        [
            as_markdown(line["cluster_label"]),
            f"{line['rows']:,}",
            percent(line["reference_share"]),
            percent(line["share"]),
            points(line["share"] - line["reference_share"]),
            number(line["centroid_shift_radii"], 3),
        ]
        for line in by_size(result.labels)
    ]
    head = ["Segment", "New rows", "Share then", "Share now", "Change", "Centroid moved (radii)"]
    return _join(
        f"# {as_markdown(result.name)} {result.version}: drift {result.severity}",
        as_markdown(verdict_of_score(result)),
        _table(head, rows, numbers=range(1, 6)),
        _list_reasons("Why", result.reasons),
        f"New fit{'' if result.retrain['requested'] else ' not'} asked for: {as_markdown(result.retrain['why'])}.",
        _point_to(result.report, result.assignments, result.rows_skipped, result.seconds),
    )


def table_of_score(result: ScoreResult) -> list[dict[str, Any]]:
    """Give the segments of a score as a table, shares and shifts to four digits."""
    columns = {
        "cluster_label": "segment",
        "rows": "new rows",
        "share": "share",
        "reference_share": "share then",
        "centroid_shift_radii": "shift in radii",
    }

    def rounded(value: object) -> object:
        return round(value, 4) if isinstance(value, float) else value

    return [{title: rounded(line[key]) for key, title in columns.items()} for line in by_size(result.labels)]


def explain_error(error: BaseException) -> str:
    """Write an error as the command line does: what, then where and what to do.

    Examples
    --------
    >>> error = ValueError("k=9 should be <= rows=5")
    >>> error.add_note("in data/a.parquet")
    >>> print(explain_error(error))
    ValueError: k=9 should be <= rows=5
      in data/a.parquet
    """
    notes = (f"  {line}" for note in getattr(error, "__notes__", ()) for line in note.splitlines())
    return "\n".join([f"{type(error).__name__}: {error}", *notes])


def is_transient(error: object) -> bool:
    """Tell whether a run that ended so may get through a minute later: the storage failed, not the data or a person.

    Examples
    --------
    >>> is_transient(TimeoutError("read timed out")), is_transient(ValueError("k=9"))
    (True, False)
    >>> is_transient(OSError(errno.ESTALE, "Stale file handle")), is_transient(OSError(errno.ENOSPC, "No space left"))
    (True, False)
    """
    if isinstance(error, ClusterError | StorageError):
        return not isinstance(error, StorageRefusedError)
    if isinstance(error, OutputError):  # says where it happened; what happened is its cause
        error = error.__cause__
    if isinstance(error, KmstreamError):  # some are an OSError too, such as DatasetNotFoundError
        return False
    return isinstance(error, OSError) and error.errno not in _NEEDS_A_PERSON


def _changed(result: RefreshResult) -> list[Mapping[str, Any]]:
    """List the segments that did not just go on, those that have ended too."""
    return [line for line in (*result.labels, *result.retired) if line["event"] != "kept"]


def _about(line: Mapping[str, Any], version: str) -> dict[str, Any]:
    return {"version": version} | {key: line[key] for key in ("cluster_label", "rows", "share") if key in line}


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Iterable[int]) -> str:
    rules = ["--:" if i in numbers else "---" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *rows)) if rows else ""


def _list_reasons(title: str, reasons: Sequence[Mapping[str, Any]]) -> str:
    if not reasons:
        return ""
    lines = [f"- {reason['severity']}: {as_markdown(reason['text'])}" for reason in reasons[:MAX_REASONS]]
    left_out = len(reasons) - MAX_REASONS
    return _join(f"## {title}", "\n".join(lines + [f"- and {left_out} more, in the report"] * (left_out > 0)))


def _point_to(report: str | None, assignments: str, skipped: int, seconds: Mapping[str, float]) -> str:
    lines = [f"- report: [{as_markdown(report)}](<file://{quote(report)}>)"] if report else []
    lines.append(f"- rows with their segments: `{assignments}`")
    if skipped:
        lines.append(f"- {count(skipped, 'row')} skipped, without a segment")
    return "\n".join([*lines, f"- {seconds['total']:.1f} seconds"])


def _join(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
