"""The figures of drift over all rows in the words of people: one entry each, for page, dashboard and history alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from kmstream.wording import join_words, number, p_value, percent, points


@dataclass(frozen=True)
class Figure:
    """What people read about a key of ``totals`` in drift.json.

    Attributes
    ----------
    title : str
    meaning : str
        How to read it.
    phrase : str
        What it is within a sentence; empty if it has no thresholds.
    column : str
        Its name where there is little room; empty if it is in the tables of a report only.
    """

    title: str
    meaning: str
    phrase: str = ""
    column: str = ""


FIGURES = {
    "rows": Figure("Rows", "compared"),
    "reference_rows": Figure("Rows of the reference", ""),
    "share_psi": Figure(
        "PSI of the shares",
        "how far the mix of segments moved: from 0.1 a shift, from 0.25 a large one",
        "the PSI of the shares",
        "PSI",
    ),
    "share_js": Figure("Jensen-Shannon distance of the shares", "0 = the same mix, 1 = nothing in common"),
    "share_chi2_p": Figure("p of the chi-square test", "always small on many rows; read it with Cramer's V"),
    "share_cramers_v": Figure("Cramer's V", "strength of that difference, 0 to 1"),
    "share_change": Figure("Largest change of a share", "one segment", "changes of shares"),
    "centroid_shift_radii": Figure(
        "Largest shift, radii",
        "of the centroid that moved most, in radii; drift beyond 3 standard errors",
        "shifts of centroids",
        "shift",
    ),
    "inertia_ratio": Figure(
        "Inertia, times",
        "per row, times the reference; above 1 rows lie farther from centroids",
        "inertia",
        "inertia",
    ),
    "outlier_share": Figure(
        "Outliers",
        "rows beyond the reference's 99 % distance; 1 % (0.01) if unchanged",
        "outliers",
        "outliers",
    ),
    "feature_psi": Figure("Largest PSI of a feature", "on frozen bins", "the PSI of features"),
}

# A shift is measured in scaled units, and told and judged in radii.
_PHRASES = {key.removesuffix("_radii"): figure.phrase for key, figure in FIGURES.items() if figure.phrase}

MEASURES = tuple(_PHRASES)
"""What has thresholds, by its key in the configuration."""

AT_A_GLANCE = tuple(key for key, figure in FIGURES.items() if figure.column)
"""The keys that tell most: on top of the page, in the dashboard and in the history."""


def write_figure(key: str, value: str | float | None, digits: int = 3) -> str:
    r"""Write a figure in the unit in which people read it; text stays as it is, None is a dash.

    Examples
    --------
    >>> write_figure("share_psi", 0.12345), write_figure("outlier_share", 0.031).replace("\u00a0", " ")
    ('0.123', '3.1 %')
    """
    if isinstance(value, str):
        return value
    if key == "share_change":
        return points(value).removeprefix("+")
    if key.endswith("_share"):
        return percent(value)
    return p_value(value) if key.endswith("_p") else number(value, digits)


def tell_measures(measures: Sequence[str]) -> str:
    """Name measures of drift in a list.

    Examples
    --------
    >>> tell_measures(["share_psi", "inertia_ratio", "outlier_share"]), tell_measures(["feature_psi"])
    ('the PSI of the shares, inertia and outliers', 'the PSI of features')
    """
    return join_words([_PHRASES[measure] for measure in measures])
