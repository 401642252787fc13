"""What drives a drift report: each measure at or above its threshold, as a sentence with numbers in original units."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kmstream.config import DriftConfig, Threshold
from kmstream.noise import STANDARD_ERRORS

SEVERITIES = ("ok", "warn", "alert")
LEAST_LOST = 0.01  # of the rows, that are worth a word

Figures = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """One measure at or above a threshold.

    Attributes
    ----------
    label, feature : str or None
        What it was measured on; both None for the rows as a whole.
    text : str
        A sentence, without a full stop.
    """

    measure: str
    label: str | None
    feature: str | None
    value: float
    threshold: float
    severity: str
    text: str


def find_reasons(
    totals: Figures, segments: Sequence[Figures], features: Sequence[Figures], thresholds: DriftConfig
) -> tuple[Reason, ...]:
    """Find what is at or above its threshold: alerts first, each by how far it is beyond.

    Parameters
    ----------
    totals, segments, features : mapping, sequences of mapping
        As in drift.json.
    thresholds : DriftConfig
    """
    found = []
    for measure, value, noise, label, feature, text in _candidates(totals, segments, features):
        limits: Threshold = getattr(thresholds, measure)
        if value is not None and value >= limits.warn and value > noise:
            severity, limit = ("alert", limits.alert) if value >= limits.alert else ("warn", limits.warn)
            found.append(Reason(measure, label, feature, value, limit, severity, text))
    return tuple(sorted(found, key=lambda one: (-SEVERITIES.index(one.severity), -one.value / (one.threshold or 1.0))))


def find_too_few(
    totals: Figures, segments: Sequence[Figures], features: Sequence[Figures], thresholds: DriftConfig
) -> tuple[str, ...]:
    """Find the measures by which a window has too few rows to be judged: chance alone may reach the alert."""
    levels = [
        *totals.get("noise", {}).items(),
        *(("share_change", one["share_noise"]) for one in segments if "share_noise" in one),
        *(("feature_psi", one["psi_noise"]) for one in features if "psi_noise" in one),
    ]
    return tuple(dict.fromkeys(measure for measure, level in levels if level >= getattr(thresholds, measure).alert))


def worst(reasons: Sequence[Reason]) -> str:
    """Give the severity of the whole: that of its strongest reason."""
    return max((reason.severity for reason in reasons), key=SEVERITIES.index, default="ok")


def _candidates(
    totals: Figures, segments: Sequence[Figures], features: Sequence[Figures]
) -> Iterator[tuple[str, float | None, float, str | None, str | None, str]]:
    psi, inertia, outliers = totals["share_psi"], totals["inertia_ratio"], totals["outlier_share"]
    noise = totals.get("noise", {})

    def chance(measure: str) -> float:
        return float(noise.get(measure, 0.0))

    yield (
        "share_psi",
        psi,
        chance("share_psi"),
        None,
        None,
        f"the mix of the segments changed: the PSI of their shares is {number(psi)}",
    )
    far = f"rows lie farther from their centroids: inertia per row is {number(inertia)} times the reference"
    yield "inertia_ratio", inertia, chance("inertia_ratio"), None, None, far
    beyond = f"{percent(outliers or 0.0)} of the rows lie farther out than 99 % of the reference rows did"
    yield "outlier_share", outliers, chance("outlier_share"), None, None, beyond
    for segment in segments:
        label, then, now = segment["cluster_label"], segment["reference_share"], segment["share"]
        yield (
            "share_change",
            abs(now - then),
            segment.get("share_noise", 0.0),
            label,
            None,
            _tell_share(label, then, now),
        )
        errors = segment["standard_errors"]
        if segment["moved_most"] and (errors is None or errors > STANDARD_ERRORS):
            most, radii = segment["moved_most"][0], segment["centroid_shift_radii"]
            verb = "rose" if most["to"] > most["from"] else "fell"
            text = (
                f"the centroid of '{label}' moved by {number(radii)} of its radius; "
                f"its {most['feature']} {verb} from {number(most['from'])} to {number(most['to'])}"
            )
            chance_of_shift = 0.0 if errors is None else segment.get("shift_noise", 0.0)
            yield "centroid_shift", radii, chance_of_shift, label, most["feature"], text
    for one in features:
        text = f"the distribution of {one['feature']} changed: PSI {number(one['psi'])}{_tell_lost(one)}"
        yield "feature_psi", one["psi"], one.get("psi_noise", 0.0), None, one["feature"], text


def _tell_lost(feature: Figures) -> str:
    """Say where values are missing, or unknown, that were not before; a point or more."""
    for kind, words in (("missing", "missing values"), ("unseen", "categories unknown at the baseline, or none,")):
        then, now = feature.get(f"{kind}_from"), feature.get(f"{kind}_to")
        if then is not None and now is not None and abs(now - then) >= LEAST_LOST:
            return f"; {words} {'rose' if now > then else 'fell'} from {percent(then)} to {percent(now)}"
    return ""


def _tell_share(label: str, then: float, now: float) -> str:
    if not then:
        return f"'{label}' is new and holds {percent(now)} of the rows"
    if not now:
        return f"'{label}' holds no row now; it held {percent(then)} of the rows"
    return f"'{label}' {'grew' if now > then else 'shrank'} from {percent(then)} to {percent(now)} of the rows"


def number(value: float | None) -> str:
    """Write a number as people read it.

    Examples
    --------
    >>> number(1234.567), number(0.61234), number(-3.0)
    ('1,235', '0.612', '-3')
    >>> number(999.4), number(999.6)
    ('999', '1,000')
    """
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"  # .3g would write 999.5 as 1e+03


def percent(share: float) -> str:
    """Write a share as a percentage.

    Examples
    --------
    >>> percent(0.2743)
    '27.4 %'
    """
    return f"{share * 100:.1f} %"
