"""The verdict in a plain sentence, and what drives it, strongest first."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.report.facts import RunFacts
from kmstream.report.wording import count, number, percent, points, signed

SEVERITIES = ("ok", "warn", "alert")
LEVEL_NAMES = {"ok": "OK", "warn": "Warning", "alert": "Alert", "held": "Held", "first": "First version"}


@dataclass(frozen=True)
class Reason:
    """One measure beyond its threshold.

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
        Alerts first, the farthest beyond its threshold first.
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
        Reason(str(reason.get("severity")), explain(reason, drift)) for reason in ranked(drift.get("reasons") or ())
    )
    reference = drift.get("reference")
    if run.status == "held":
        failed = [check for check in run.gate if not check.get("ok")]
        why = f"{len(failed)} of {count(len(run.gate), 'check')} failed" if failed else "its gate refused it"
        sentence = f"{run.version} is held: {why}. The version in use has not changed; a person may promote this one."
        return Verdict("held", sentence, reasons)
    if reference is None:
        found = count(len(living_segments(drift)), "segment")
        sentence = f"{run.version} is the first version: {found} in {count(run.rows, 'row')}."
        return Verdict("first", f"{sentence} The next run will be compared with it.", reasons)
    subject = "The new rows" if run.kind == "score" else "Its rows"
    look = {
        "ok": f"{subject} look like those of {reference}.",
        "warn": f"{subject} begin to differ from those of {reference}.",
        "alert": f"{subject} differ from those of {reference}.",
    }.get(severity, f"Compared with {reference}: {severity}.")
    published = f"{run.version} is published. " if run.status == "published" else ""
    return Verdict(severity if severity in SEVERITIES else "warn", published + look, reasons)


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


def explain(reason: Mapping[str, Any], drift: Mapping[str, Any]) -> str:
    """Turn one reason of drift.json into a sentence.

    Examples
    --------
    >>> explain({"measure": "share_psi", "value": 0.314, "threshold": 0.25, "severity": "alert"}, {})
    'The mix of the segments changed: the PSI of their shares is 0.314 (alert from 0.25).'
    """
    measure = str(reason.get("measure"))
    sentence = _SENTENCES.get(measure, _any_measure)(reason, drift)
    as_text = percent if measure == "outlier_share" else points if measure == "share_change" else number
    limit = as_text(reason.get("threshold")).lstrip("+")
    return f"{sentence} ({reason.get('severity')} from {limit})."


def _share_psi(reason: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    return f"The mix of the segments changed: the PSI of their shares is {number(reason.get('value'), 3)}"


def _share_change(reason: Mapping[str, Any], drift: Mapping[str, Any]) -> str:
    segment = _find(drift.get("segments"), "cluster_label", reason.get("label"))
    then, now = segment.get("reference_share"), segment.get("share")
    name = f"'{reason.get('label')}'"
    if then is None or now is None:
        return f"The share of {name} changed by {points(reason.get('value')).lstrip('+')}"
    if not then:
        return f"{name} is new and holds {percent(now)} of the rows"
    if not now:
        return f"{name} holds no row now; it held {percent(then)} of them"
    verb = "grew" if now > then else "shrank"
    return f"{name} {verb} from {percent(then)} to {percent(now)} of the rows, {points(now - then)}"


def _centroid_shift(reason: Mapping[str, Any], drift: Mapping[str, Any]) -> str:
    segment = _find(drift.get("segments"), "cluster_label", reason.get("label"))
    moved = segment.get("moved_most") or ()
    sentence = f"The centre of '{reason.get('label')}' moved by {number(reason.get('value'), 3)} of its radius"
    return f"{sentence}; its {_moved(moved[0])}" if moved else sentence


def _inertia_ratio(reason: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    times = f"inertia per row is {number(reason.get('value'), 3)} times the reference"
    return f"Rows{_where(reason)} lie farther from their centres: {times}"


def _outlier_share(reason: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    far = f"{percent(reason.get('value'))} of the rows{_where(reason)}"
    return f"{far} lie farther out than 99{chr(160)}% of the reference rows did"


def _feature_psi(reason: Mapping[str, Any], drift: Mapping[str, Any]) -> str:
    row = _find(drift.get("features"), "feature", reason.get("feature"))
    sentence = f"The distribution of {reason.get('feature')} changed: PSI {number(reason.get('value'), 3)}"
    if row.get("mean_from") is None or row.get("mean_to") is None:
        return sentence
    return f"{sentence}; its mean moved by {signed(row['mean_to'] - row['mean_from'])} in scaled units"


def _any_measure(reason: Mapping[str, Any], _: Mapping[str, Any]) -> str:
    if reason.get("text"):
        return str(reason["text"])
    about = f" of {reason['feature']}" if reason.get("feature") is not None else ""
    measure = str(reason.get("measure")).replace("_", " ")
    return f"The {measure}{about}{_where(reason)} is {number(reason.get('value'), 3)}"


_SENTENCES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], str]] = {
    "share_psi": _share_psi,
    "share_change": _share_change,
    "centroid_shift": _centroid_shift,
    "inertia_ratio": _inertia_ratio,
    "outlier_share": _outlier_share,
    "feature_psi": _feature_psi,
}


def _moved(move: Mapping[str, Any]) -> str:
    start, end = move.get("from"), move.get("to")
    if start is None or end is None:
        return f"{move.get('feature')} changed most"
    verb = "rose" if end > start else "fell"
    return f"{move.get('feature')} {verb} from {number(start)} to {number(end)}"


def _where(reason: Mapping[str, Any]) -> str:
    return "" if reason.get("label") is None else f" of '{reason['label']}'"


def _find(rows: Iterable[Mapping[str, Any]] | None, key: str, value: object) -> Mapping[str, Any]:
    return next((row for row in rows or () if row.get(key) == value), {})
