"""The thresholds of a run as tests in evidently's UI: each measure against its limits, as drift.json judged it.

Nothing is judged anew here. What chance alone explains, and what too few rows can't tell, is in no reason of drift.json
and so passes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kmstream.drift_figures import FIGURES, write_figure
from kmstream.report.facts import RunFacts
from kmstream.report.verdict import explain, share_change
from kmstream.wording import by_size, name_check, number

_STATUS = {"warn": "WARNING", "alert": "FAIL"}
_NAMES_OF_EACH = {
    "share_change": "Change of the share of '{}'",
    "centroid_shift": "Shift of the centroid of '{}', in radii",
    "feature_psi": "PSI of the feature '{}'",
}


@dataclass(frozen=True)
class ThresholdTest:
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


def judge_measure(drift: Mapping[str, Any], measure: str) -> Iterator[ThresholdTest]:
    """Give the tests of one measure: of the rows as a whole, or of each segment or feature that has the figure.

    Parameters
    ----------
    drift : mapping
        Content of drift.json. A first version, and one that tells no thresholds, has no tests.
    measure : str
        A key of its thresholds.
    """
    limits = (drift["thresholds"] or {}).get(measure)
    if limits is None:
        return
    name = _NAMES_OF_EACH.get(measure) or FIGURES[measure].title
    about = "feature" if measure == "feature_psi" else "label"
    reasons = {one[about]: one for one in drift["reasons"] if one["measure"] == measure}
    for whose, value in _find_figures(drift, measure):
        reason = reasons.get(whose)
        yield ThresholdTest(
            id=measure,
            name=name.format(whose),
            text=explain(reason) if reason else _tell_passed(drift, measure, value, limits),
            status=_STATUS[reason["severity"]] if reason else "SUCCESS",
            config={about: whose, "value": value, **limits},
        )


def judge_gate(run: RunFacts) -> Iterator[ThresholdTest]:
    """Give the checks that decided about publishing a refit as tests."""
    for check in run.gate:
        whose = check.get("label")
        yield ThresholdTest(
            id="gate",
            name=f"Gate: {name_check(check)}" + (f" of '{whose}'" if whose else ""),
            text=f"{number(check['observed'])}, the limit is {number(check['limit'])}.",
            status="SUCCESS" if check["ok"] else "FAIL",
            config=dict(check),
        )


def _find_figures(drift: Mapping[str, Any], measure: str) -> Iterator[tuple[str | None, float]]:
    """Give what is held against the limits, and the label or feature it is about; None: all rows."""
    found: list[tuple[str | None, float | None]]
    match measure:
        case "share_change":
            found = [(s["cluster_label"], share_change(s)) for s in by_size(drift["segments"])]
        case "centroid_shift":
            found = [(s["cluster_label"], s["centroid_shift_radii"]) for s in by_size(drift["segments"])]
        case "feature_psi":
            found = [(one["feature"], one["psi"]) for one in drift["features"]]
        case _:
            found = [(None, drift["totals"][measure])]
    return ((whose, abs(value)) for whose, value in found if value is not None)


def _tell_passed(drift: Mapping[str, Any], measure: str, value: float, limits: Mapping[str, float]) -> str:
    told, warn, alert = (write_figure(measure, one, digits=4) for one in (value, limits["warn"], limits["alert"]))
    if not drift["totals"]["rows"]:
        return "There are no rows to judge by."
    if value < limits["warn"]:
        return f"{told} (warning from {warn}, alert from {alert})."
    if measure in drift["too_few_rows"]:
        return f"{told}, of too few rows to judge: chance alone may reach the alert from {alert}."
    return f"{told} is beyond the warning from {warn}, but chance alone makes as much of so few rows."
