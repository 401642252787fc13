"""The verdict in a plain sentence, and what drives it: what the gate refused, then drift, strongest first."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.report.facts import RunFacts
from kmstream.report.wording import count, number, percent, points, tell_check, tell_measures

SEVERITIES = ("ok", "warn", "alert")
LEVEL_NAMES = {"ok": "OK", "warn": "Warning", "alert": "Alert", "held": "Held", "first": "First version"}


@dataclass(frozen=True)
class Reason:
    """One measure beyond its threshold, or a failed check of the gate.

    Attributes
    ----------
    severity : str
        ``warn`` or ``alert``.
    text : str
        A sentence with the figures in original units.
    """

    severity: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """What the run found.

    Attributes
    ----------
    level : {"ok", "warn", "alert", "held", "first"}
    sentence : str
    reasons : tuple of Reason
        What the gate refused; then drift, alerts first, the farthest beyond its threshold first.
    """

    level: str
    sentence: str
    reasons: tuple[Reason, ...]


def find_verdict(drift: Mapping[str, Any], run: RunFacts) -> Verdict:
    """Say in a sentence what a run found.

    Parameters
    ----------
    drift : mapping
        Content of drift.json.
    run : RunFacts

    Examples
    --------
    >>> run = RunFacts("score", "rfm", "v000003", "r1", "scored", "2011-06-30", 500)
    >>> find_verdict({"reference": "v000003", "severity": "ok", "reasons": [], "segments": []}, run).sentence
    'The new rows look like those of v000003.'
    """
    severity = str(drift.get("severity") or "ok")
    reasons = tuple(
        Reason(str(reason.get("severity")), explain(reason)) for reason in ranked(drift.get("reasons") or ())
    )
    reference = drift.get("reference")
    if run.status == "held":
        failed = [check for check in run.gate if not check.get("ok")]
        why = f"{len(failed)} of {count(len(run.gate), 'check')} failed" if failed else "its gate refused it"
        sentence = f"{run.version} is held: {why}. The version in use has not changed; a person may promote this one."
        return Verdict("held", sentence, (*_tell_failed(failed, drift), *reasons))
    if reference is None:
        found = count(len(living_segments(drift)), "segment")
        kind = "the first version" if run.parent is None else f"a new baseline after {run.parent}"
        sentence = f"{run.version} is {kind}: {found} in {count(run.rows, 'row')}."
        return Verdict("first", f"{sentence} The next run will be compared with it.", reasons)
    subject = "The new rows" if run.kind == "score" else "Its rows"
    if severity == "ok" and not (drift.get("totals") or {}).get("rows", 1):
        return Verdict("warn", f"No row could be compared with {reference}: nothing was judged.", reasons)
    look = {
        "ok": f"{subject} look like those of {reference}{_tell_too_few(drift)}.",
        "warn": f"{subject} begin to differ from those of {reference}.",
        "alert": f"{subject} differ from those of {reference}.",
    }.get(severity, f"Compared with {reference}: {severity}.")
    published = f"{run.version} is published. " if run.status == "published" else ""
    return Verdict(severity if severity in SEVERITIES else "warn", published + look, reasons)


def _tell_failed(failed: Iterable[Mapping[str, Any]], drift: Mapping[str, Any]) -> list[Reason]:
    living = living_segments(drift)
    lives = {segment.get("cluster_label") for segment in living}
    gone = [str(one["cluster_label"]) for one in by_size(drift) if one.get("cluster_label") not in lives]
    new = [str(one["cluster_label"]) for one in living if one.get("status") == "emerged"]
    told = (tell_check(check, gone, new) for check in failed)
    return [Reason("alert", f"{text[:1].upper()}{text[1:]}.") for text in told]


def _tell_too_few(drift: Mapping[str, Any]) -> str:
    """Say by which measures a window is too small to be judged."""
    measures = drift.get("too_few_rows")
    if not measures:
        return ""
    rows = (drift.get("totals") or {}).get("rows") or 0
    return f" as far as {number(rows)} rows tell: too few to judge by {tell_measures(measures)}"


def ranked(reasons: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Order reasons: alerts first, then by how far the value is beyond its threshold."""

    def strength(reason: Mapping[str, Any]) -> tuple[bool, float]:
        value, threshold = reason.get("value"), reason.get("threshold")
        beyond = value / threshold if value is not None and threshold else 0.0
        return reason.get("severity") == "alert", beyond

    return sorted(reasons, key=strength, reverse=True)


def by_size(drift: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Copy the segments, largest first, each with ``_change``: its share minus its reference share."""
    segments = [dict(segment) for segment in drift.get("segments") or ()]
    for segment in segments:
        now, then = segment.get("share"), segment.get("reference_share")
        segment["_change"] = None if now is None or then is None else now - then
    return sorted(segments, key=lambda segment: -(segment.get("rows") or 0))


def living_segments(drift: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Take the segments that the model has now, largest first; those that ended are told of, but have no rows."""
    labels = (drift.get("migration") or {}).get("labels_to")
    return [
        segment
        for segment in by_size(drift)
        if (segment.get("status") != "retired" if labels is None else segment.get("cluster_label") in labels)
    ]


def find_flags(drift: Mapping[str, Any], about: str) -> dict[tuple[str, Any], str]:
    """Find which figures are beyond a threshold: (measure, label or feature) to its severity, alerts before warnings.

    Parameters
    ----------
    drift : mapping
    about : {"label", "feature"}
    """
    reasons = reversed(ranked(drift.get("reasons") or ()))  # an alert replaces a warning
    return {(str(reason.get("measure")), reason.get(about)): str(reason.get("severity")) for reason in reasons}


def explain(reason: Mapping[str, Any]) -> str:
    """Turn one reason of drift.json into a whole sentence, with its limit.

    Examples
    --------
    >>> reason = {
    ...     "measure": "share_psi",
    ...     "value": 0.3,
    ...     "threshold": 0.25,
    ...     "severity": "alert",
    ...     "text": "the mix changed",
    ... }
    >>> explain(reason)
    'The mix changed (alert from 0.25).'
    """
    text, measure = str(reason["text"]), reason["measure"]
    as_text = percent if measure == "outlier_share" else points if measure == "share_change" else number
    limit = as_text(reason["threshold"]).lstrip("+")
    return f"{text[:1].upper()}{text[1:]} ({reason['severity']} from {limit})."
