"""The section What separates the segments, from `profile` in drift.json: two tables of plain HTML."""

from collections.abc import Mapping
from typing import Any

from kmstream.report.markup import Column, as_name, render_table
from kmstream.wording import NOTHING, as_html, higher_first, number, p_value, percent


def explain(profile: Mapping[str, Any]) -> str:
    """Say how to read the tables, in HTML."""
    if profile.get("explained") is None:
        return ""
    freedom = f"{number(profile['df_between'])} and {number(profile['df_within'])} degrees of freedom"
    return (
        f"The segments explain {percent(profile['explained'])} of the variance of all scaled features together. Eta "
        "squared is that of one feature: 0 where they are alike in it, 1 where it tells them apart without fail. "
        "Cohen&#x27;s d is the distance of two means in standard deviations within the two segments; 0.8 is called "
        "large. Exact over every row; log1p features by their logs. The segments were made of these features, so a "
        f"small p is no discovery (F with {freedom}; of a pair Welch&#x27;s test, adjusted by Holm)."
    )


def render_features(profile: Mapping[str, Any]) -> str:
    """Render the features, the one that separates best first."""
    features = profile.get("features") or ()
    if len(features) and all(line["eta_squared"] is None for line in features):
        return ""  # one segment, or nothing that varies
    return render_table(
        [
            Column("Feature", [as_name(line["feature"]) for line in features], is_text=True),
            Column("Eta squared", [_bar(line["eta_squared"]) for line in features]),
            Column("Lowest mean", [_end(line["lowest"], line["kind"]) for line in features], is_text=True),
            Column("Highest mean", [_end(line["highest"], line["kind"]) for line in features], is_text=True),
            Column("Cohen's d", [_effect(line["cohens_d"]) for line in features]),
            Column("F", [number(line["f"], 3) for line in features]),
            Column("p", [as_html(p_value(line["p"])) for line in features]),
        ],
        label="What separates the segments",
    )


def render_closest(profile: Mapping[str, Any]) -> str:
    """Render the pairs of segments that are hardest to tell apart, and the feature that does it best."""
    pairs = profile.get("closest") or ()
    return render_table(
        [
            Column("Higher mean", [as_name(higher_first(pair)[0]) for pair in pairs], is_text=True),
            Column("Lower mean", [as_name(higher_first(pair)[1]) for pair in pairs], is_text=True),
            Column("Feature that tells them apart best", [as_name(pair["feature"]) for pair in pairs], is_text=True),
            Column("Cohen's d", [_effect(pair["cohens_d"]) for pair in pairs]),
            Column("Welch's t", [NOTHING if pair["t"] is None else number(abs(pair["t"]), 3) for pair in pairs]),
            Column("df", [number(pair["df"], 3) for pair in pairs]),
            Column("p", [as_html(p_value(pair["p_adjusted"])) for pair in pairs]),
        ],
        label="Pairs hardest to tell apart",
    )


def _bar(eta_squared: float | None) -> str:
    if eta_squared is None:
        return NOTHING
    bar = f'<span class="bar"><b style="width:{100 * eta_squared:.1f}%"></b></span>'
    return f'<span class="share">{bar}{eta_squared:.2f}</span>'


def _effect(cohens_d: float | None) -> str:
    return NOTHING if cohens_d is None else f"{abs(cohens_d):.2f}"


def _end(end: Mapping[str, Any] | None, kind: str) -> str:
    if end is None:
        return NOTHING
    mean = percent(end["mean"]) if kind == "category" else number(end["mean"])
    return f"{as_name(end['cluster_label'])} <small>({mean})</small>"
