"""The thresholds of a run as tests: each measure against its limits, with the verdict that drift.json gives.

Nothing is judged anew here. What chance alone explains, and what too few rows can't tell, is in no reason of drift.json
and so passes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.report.facts import RunFacts
from kmstream.report.verdict import by_size, explain
from kmstream.report.wording import number, percent, points

_STATUS = {"warn": "WARNING", "alert": "FAIL"}
_NAMES = {
    "share_psi": "PSI of the shares",
    "inertia_ratio": "Inertia per row, times the reference",
    "outlier_share": "Rows beyond the reference 99 % distance",
    "share_change": "Change of the share of '{}'",
    "centroid_shift": "Shift of the centre of '{}', in radii",
    "feature_psi": "PSI of the feature '{}'",
}


@dataclass(frozen=True)
class Judged:
    """One figure that was held against its limits.

    Attributes
    ----------
    id : str
        The measure, or "gate".
    name, text : str
        What was tested, and how it ended, in words.
    status : {"SUCCESS", "WARNING", "FAIL"}
    config : mapping
        The value and its limits, for programs.
    """

    id: str
    name: str
    text: str
    status: str
    config: Mapping[str, Any]


def judge_measure(drift: Mapping[str, Any], measure: str) -> Iterator[Judged]:
    """Give the tests of one measure: of the rows as a whole, or of each segment or feature that has the figure.

    Parameters
    ----------
    drift : mapping
        Content of drift.json. A first version, and one that tells no thresholds, has no tests.
    measure : str
        A key of its thresholds.
    """
    limits = (drift.get("thresholds") or {}).get(measure)
    if limits is None:
        return
    about = "feature" if measure == "feature_psi" else "label"
    reasons = {one.get(about): one for one in drift.get("reasons") or () if one.get("measure") == measure}
    for whose, value in _values(drift, measure):
        reason = reasons.get(whose)
        yield Judged(
            id=measure,
            name=_NAMES[measure].format(whose),
            text=explain(reason) if reason else _tell_passed(drift, measure, value, limits),
            status=_STATUS[reason["severity"]] if reason else "SUCCESS",
            config={about: whose, "value": value, **limits},
        )


def judge_gate(run: RunFacts) -> Iterator[Judged]:
    """Give the checks that decided about publishing a refit as tests."""
    for check in run.gate:
        what, whose = str(check.get("check")).replace("_", " "), check.get("label")
        yield Judged(
            id="gate",
            name=f"Gate: {what}" + (f" of '{whose}'" if whose else ""),
            text=f"{number(check.get('observed'))}, the limit is {number(check.get('limit'))}.",
            status="SUCCESS" if check.get("ok") else "FAIL",
            config=dict(check),
        )


def _values(drift: Mapping[str, Any], measure: str) -> Iterator[tuple[str | None, float]]:
    match measure:
        case "share_change":
            found = [(s["cluster_label"], s["_change"] and abs(s["_change"])) for s in by_size(drift)]
        case "centroid_shift":
            found = [(s["cluster_label"], s.get("centroid_shift_radii")) for s in by_size(drift)]
        case "feature_psi":
            found = [(one["feature"], one.get("psi")) for one in drift.get("features") or ()]
        case _:
            found = [(None, (drift.get("totals") or {}).get(measure))]
    return ((whose, value) for whose, value in found if value is not None)


def _tell_passed(drift: Mapping[str, Any], measure: str, value: float, limits: Mapping[str, float]) -> str:
    as_text = percent if measure == "outlier_share" else points if measure == "share_change" else number
    told, warn, alert = (as_text(one).lstrip("+") for one in (value, limits["warn"], limits["alert"]))
    if not (drift.get("totals") or {}).get("rows"):
        return "There are no rows to judge by."
    if value < limits["warn"]:
        return f"{told} (warning from {warn}, alert from {alert})."
    if measure in (drift.get("too_few_rows") or ()):
        return f"{told}, of too few rows to judge: chance alone may reach the alert from {alert}."
    return f"{told} is beyond the warning from {warn}, but chance alone makes as much of so few rows."
