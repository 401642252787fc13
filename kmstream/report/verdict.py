"""The top of the page: the verdict in a plain sentence, and what drives it, strongest first.

Also drift.json in the order in which people read it: segments by their size, reasons by their strength.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.drift_figures import tell_measures, write_figure
from kmstream.report.facts import RunFacts
from kmstream.wording import as_sentence, by_size, count, number, tell_check

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
    >>> drift = {"reference": "v000003", "severity": "ok", "reasons": [], "totals": {"rows": 500}, "too_few_rows": []}
    >>> find_verdict(drift, run).sentence
    'The new rows look like those of v000003.'
    """
    severity, reference = drift["severity"], drift["reference"]
    reasons = tuple(Reason(reason["severity"], explain(reason)) for reason in ranked(drift["reasons"]))
    if run.status == "held":
        failed = [check for check in run.gate if not check["ok"]]
        why = f"{len(failed)} of {count(len(run.gate), 'check')} failed" if failed else "its gate refused it"
        sentence = f"{run.version} is held: {why}. The version in use has not changed; a person may promote this one."
        return Verdict("held", sentence, (*_tell_failed(failed, drift), *reasons))
    if reference is None:
        found = count(len(living_segments(drift)), "segment")
        kind = "the first version" if run.parent is None else f"a new baseline after {run.parent}"
        sentence = f"{run.version} is {kind}: {found} in {count(run.rows, 'row')}."
        return Verdict("first", f"{sentence} The next run will be compared with it.", reasons)
    if severity == "ok" and not drift["totals"]["rows"]:
        return Verdict("warn", f"No row could be compared with {reference}: nothing was judged.", reasons)
    subject = "The new rows" if run.kind == "score" else "Its rows"
    look = {
        "ok": f"{subject} look like those of {reference}{_tell_too_few(drift)}.",
        "warn": f"{subject} begin to differ from those of {reference}.",
        "alert": f"{subject} differ from those of {reference}.",
    }
    published = f"{run.version} is published. " if run.status == "published" else ""
    return Verdict(severity, published + look[severity], reasons)


def _tell_failed(failed: Iterable[Mapping[str, Any]], drift: Mapping[str, Any]) -> list[Reason]:
    living = living_segments(drift)
    lives = {segment["cluster_label"] for segment in living}
    gone = [segment["cluster_label"] for segment in drift["segments"] if segment["cluster_label"] not in lives]
    new = [segment["cluster_label"] for segment in living if segment["status"] == "emerged"]
    return [Reason("alert", f"{as_sentence(tell_check(check, gone, new))}.") for check in failed]


def _tell_too_few(drift: Mapping[str, Any]) -> str:
    """Say by which measures a window is too small to be judged."""
    measures = drift["too_few_rows"]
    if not measures:
        return ""
    rows = number(drift["totals"]["rows"])
    return f" as far as {rows} rows tell: too few to judge by {tell_measures(measures)}"


def explain(reason: Mapping[str, Any]) -> str:
    """Turn one reason of drift.json into a whole sentence, with its limit.

    Examples
    --------
    >>> reason = {"measure": "share_psi", "value": 0.3, "threshold": 0.25, "severity": "alert"}
    >>> explain(reason | {"text": "the mix changed"})
    'The mix changed (alert from 0.25).'
    """
    limit = write_figure(reason["measure"], reason["threshold"], digits=4)
    return f"{as_sentence(reason['text'])} ({reason['severity']} from {limit})."


def ranked(reasons: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Order reasons: alerts first, then by how far the value is beyond its threshold."""

    def strength(reason: Mapping[str, Any]) -> tuple[bool, float]:
        beyond = reason["value"] / reason["threshold"] if reason["threshold"] else 0.0
        return reason["severity"] == "alert", beyond

    return sorted(reasons, key=strength, reverse=True)


def find_flags(drift: Mapping[str, Any], about: str) -> dict[tuple[str, Any], str]:
    """Find which figures are beyond a threshold: (measure, label or feature) to its severity, alerts before warnings.

    Parameters
    ----------
    drift : mapping
    about : {"label", "feature"}
    """
    reasons = reversed(ranked(drift["reasons"]))  # an alert replaces a warning
    return {(reason["measure"], reason[about]): reason["severity"] for reason in reasons}


def living_segments(drift: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Take the segments that the model has now, largest first; those that ended are told of, but have no rows."""
    if drift["migration"] is None:
        return [segment for segment in by_size(drift["segments"]) if segment["status"] != "retired"]
    return [
        segment for segment in by_size(drift["segments"]) if segment["cluster_label"] in drift["migration"]["labels_to"]
    ]


def share_change(segment: Mapping[str, Any]) -> float | None:
    """Subtract the share of a segment in the reference from its share now; None where there was none to compare."""
    then = segment["reference_share"]
    return None if then is None else segment["share"] - then
