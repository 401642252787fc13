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
    for one in _candidates(totals, segments, features):
        limits: Threshold = getattr(thresholds, one.measure)
        if one.value is not None and one.value >= limits.warn and one.value > one.noise:
            severity, limit = ("alert", limits.alert) if one.value >= limits.alert else ("warn", limits.warn)
            found.append(Reason(one.measure, one.label, one.feature, one.value, limit, severity, one.text))
    return tuple(sorted(found, key=lambda one: (-SEVERITIES.index(one.severity), -one.value / (one.threshold or 1.0))))


def find_too_few(
    totals: Figures, segments: Sequence[Figures], features: Sequence[Figures], thresholds: DriftConfig
) -> tuple[str, ...]:
    """Find the measures by which a window has too few rows to be judged: chance alone may reach the alert."""
    levels = [
        *totals["noise"].items(),
        *(("share_change", one["share_noise"]) for one in segments),
        *(("feature_psi", one["psi_noise"]) for one in features),
    ]
    return tuple(dict.fromkeys(measure for measure, level in levels if level >= getattr(thresholds, measure).alert))


def worst(reasons: Sequence[Reason]) -> str:
    """Give the severity of the whole: that of its strongest reason."""
    return max((reason.severity for reason in reasons), key=SEVERITIES.index, default="ok")


@dataclass(frozen=True)
class _Candidate:
    """One measure with the words for it; `noise` is the level that chance alone may take it to."""

    measure: str
    value: float | None
    noise: float
    text: str
    label: str | None = None
    feature: str | None = None


def _candidates(totals: Figures, segments: Sequence[Figures], features: Sequence[Figures]) -> Iterator[_Candidate]:
    psi, inertia, outliers = totals["share_psi"], totals["inertia_ratio"], totals["outlier_share"]
    mixed = f"the mix of the segments changed: the PSI of their shares is {plain_number(psi)}"
    far = f"rows lie farther from their centroids: inertia per row is {plain_number(inertia)} times the reference"
    beyond = f"{plain_percent(outliers or 0.0)} of the rows lie farther out than 99 % of the reference rows did"
    for measure, text in (("share_psi", mixed), ("inertia_ratio", far), ("outlier_share", beyond)):
        yield _Candidate(measure, totals[measure], totals["noise"][measure], text)
    for segment in segments:
        label, then, now = segment["cluster_label"], segment["reference_share"], segment["share"]
        text = _tell_share(label, then, now)
        yield _Candidate("share_change", abs(now - then), segment["share_noise"], text, label)
        errors = segment["standard_errors"]
        if segment["moved_most"] and (errors is None or errors > STANDARD_ERRORS):
            radii, feature = segment["centroid_shift_radii"], segment["moved_most"][0]["feature"]
            noise = 0.0 if errors is None else segment["shift_noise"]
            yield _Candidate("centroid_shift", radii, noise, _tell_shift(segment), label, feature)
    for one in features:
        text = f"the distribution of {one['feature']} changed: PSI {plain_number(one['psi'])}{_tell_lost(one)}"
        yield _Candidate("feature_psi", one["psi"], one["psi_noise"], text, feature=one["feature"])


def _tell_shift(segment: Figures) -> str:
    label, radii, most = segment["cluster_label"], segment["centroid_shift_radii"], segment["moved_most"][0]
    verb = "rose" if most["to"] > most["from"] else "fell"
    return (
        f"the centroid of '{label}' moved by {plain_number(radii)} of its radius; "
        f"its {most['feature']} {verb} from {plain_number(most['from'])} to {plain_number(most['to'])}"
    )


def _tell_lost(feature: Figures) -> str:
    """Say where values are missing, or unknown, that were not before; a point or more."""
    for kind, words in (("missing", "missing values"), ("unseen", "categories unknown at the baseline, or none,")):
        then, now = feature.get(f"{kind}_from"), feature.get(f"{kind}_to")
        if then is not None and now is not None and abs(now - then) >= LEAST_LOST:
            return f"; {words} {'rose' if now > then else 'fell'} from {plain_percent(then)} to {plain_percent(now)}"
    return ""


def _tell_share(label: str, then: float, now: float) -> str:
    if not then:
        return f"'{label}' is new and holds {plain_percent(now)} of the rows"
    if not now:
        return f"'{label}' holds no row now; it held {plain_percent(then)} of the rows"
    return (
        f"'{label}' {'grew' if now > then else 'shrank'} from {plain_percent(then)} to {plain_percent(now)} of the rows"
    )


def plain_number(value: float | None) -> str:
    """Write a number as the sentences have it that drift.json and model.json keep: three digits, plain blanks.

    Examples
    --------
    >>> plain_number(1234.567), plain_number(0.61234), plain_number(-3.0)
    ('1,235', '0.612', '-3')
    >>> plain_number(999.4), plain_number(999.6)
    ('999', '1,000')
    """
    if value is None:
        return "none"
    return f"{value:,.0f}" if abs(value) >= 999.5 else f"{value:.3g}"  # .3g would write 999.5 as 1e+03


def plain_percent(share: float) -> str:
    """Write a share as a percentage, in the same sentences.

    Examples
    --------
    >>> plain_percent(0.2743)
    '27.4 %'
    """
    return f"{share * 100:.1f} %"
