"""The tables of all sections as plain HTML, but for those of `separation`: every figure, also without JavaScript."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmstream.drift_figures import FIGURES, Figure, write_figure
from kmstream.report.facts import RunFacts
from kmstream.report.markup import LONG_NAME, Column, as_chip, as_name, render_table
from kmstream.report.verdict import find_flags, living_segments, share_change
from kmstream.wording import (
    NOTHING,
    as_html,
    by_size,
    name_check,
    number,
    percent,
    points,
    shorten,
    signed,
    sort_names,
    tell_log1p,
)

WIDE_TABLE_FEATURES = 8  # more features than this go down the rows of the table of centroids
LARGEST_MOVES = 10
STATUSES = ("kept", "split", "merged", "emerged", "retired")


def render_segments(drift: Mapping[str, Any]) -> str:
    """Render the segments, largest first: size then and now, how far each moved, and what moved most."""
    segments = by_size(drift["segments"])
    flags = find_flags(drift, "label")
    widest = max((share for s in segments for share in (s["share"], s["reference_share"]) if share), default=1)

    def flagged(measure: str, write: Callable[[Mapping[str, Any]], str]) -> list[str]:
        return [as_chip(write(s), flags.get((measure, s["cluster_label"]))) for s in segments]

    return render_table(
        [
            _name_segments(segments),
            _tell_statuses(segments),
            Column("Rows", [number(s["rows"]) for s in segments]),
            Column("Share then", [percent(s["reference_share"]) for s in segments]),
            Column("Share now", [_share(s, widest) for s in segments]),
            Column("Change", flagged("share_change", lambda s: points(share_change(s)))),
            Column("Centroid moved (radii)", flagged("centroid_shift", lambda s: _three(s["centroid_shift_radii"]))),
            Column("Inertia (times)", flagged("inertia_ratio", lambda s: _three(s["inertia_ratio"]))),
            Column("Outliers", flagged("outlier_share", lambda s: percent(s["outlier_share"]))),
            Column("What moved most", [_moves(s["moved_most"]) for s in segments], is_text=True),
        ],
        label="Segments",
    )


def count_statuses(drift: Mapping[str, Any]) -> dict[str, int]:
    """Count the segments by what became of them; all statuses that there are, also those of no segment.

    Examples
    --------
    >>> count_statuses({"segments": [{"status": "kept"}, {"status": "retired"}, {"status": "kept"}]})
    {'kept': 2, 'split': 0, 'merged': 0, 'emerged': 0, 'retired': 1}
    """
    statuses = [segment["status"] for segment in drift["segments"]]
    return {status: statuses.count(status) for status in STATUSES}


def render_life_cycle(drift: Mapping[str, Any]) -> str:
    """Render how many segments were kept, split, merged, and so on."""
    counts = {status: n for status, n in count_statuses(drift).items() if n}
    chips = " ".join(f'<span class="chip status-{status}">{n} {status}</span>' for status, n in counts.items())
    return f'<p class="life">{chips}</p>' if chips else ""


def render_centroids(drift: Mapping[str, Any]) -> str:
    """Render the centroids of the segments in original units; a darker cell is a higher rank among the segments."""
    segments = living_segments(drift)
    features = list(dict.fromkeys(feature for s in segments for feature in s["centroid"]))
    cells = {feature: _ranked_cells([s["centroid"][feature] for s in segments]) for feature in features}
    if len(features) <= WIDE_TABLE_FEATURES:
        columns = [_name_segments(segments)]
        columns += [Column(feature, cells[feature]) for feature in features]
    else:
        columns = [Column("Feature", [as_name(feature) for feature in features], is_text=True)]
        columns += [
            Column(s["cluster_label"], [cells[feature][i] for feature in features]) for i, s in enumerate(segments)
        ]
    return render_table(columns, label="Centroids of the segments")


def render_descriptions(drift: Mapping[str, Any]) -> str:
    """Render what sets each segment apart, in words."""
    segments = [s for s in living_segments(drift) if s.get("description")]
    table = render_table(
        [
            _name_segments(segments),
            Column("What sets it apart", [as_html(s["description"]) for s in segments], is_text=True),
        ],
        label="What sets the segments apart",
    )
    logs = [one["feature"] for one in (drift.get("profile") or {}).get("features", ()) if one["kind"] == "log1p"]
    note = f'<p class="muted">{as_html(tell_log1p(sort_names(logs)))}</p>' if table and logs else ""
    return note + table


def render_names(drift: Mapping[str, Any]) -> str:
    """Render what speaks for the name of each segment: its rows, its place, and what the next best choice was."""
    segments = [s for s in living_segments(drift) if "label_by_overlap" in s]

    def by_rows(segment: Mapping[str, Any]) -> str:
        rows_say = segment["label_by_overlap"]
        if rows_say is None and segment["matched_distance"] is None:
            return NOTHING
        if rows_say == segment["cluster_label"]:
            return '<span class="chip ok">the same</span>'
        return f'<span class="chip warn">{as_name(rows_say) if rows_say else "a new name"}</span>'

    return render_table(
        [
            _name_segments(segments),
            _tell_statuses(segments),
            Column(
                "Old rows kept", [as_chip(percent(s["overlap"]), "warn" if s["flagged"] else None) for s in segments]
            ),
            Column("Distance", [_three(s["matched_distance"]) for s in segments]),
            Column("Margin", [_three(s["matched_margin"]) for s in segments]),
            Column("By shared rows", [by_rows(s) for s in segments], is_text=True),
        ],
        label="What speaks for the names",
    )


def render_moves(table: Mapping[str, Any], unit: str) -> str:
    """Render the largest moves of a from-to table from one name to another; `unit` is what it counts."""
    moves = [
        (rows, old, new, rows / sum(row))
        for old, row in zip(table["labels_from"], table["rows"], strict=True)
        for new, rows in zip(table["labels_to"], row, strict=True)
        if rows and old != new
    ]
    moves = sorted(moves, key=lambda move: -move[0])[:LARGEST_MOVES]
    return render_table(
        [
            Column("From", [as_name(old) for _, old, _, _ in moves], is_text=True),
            Column("To", [as_name(new) for _, _, new, _ in moves], is_text=True),
            Column(unit, [number(rows) for rows, _, _, _ in moves]),
            Column("Share of the old segment", [percent(share) for _, _, _, share in moves]),
        ],
        label="Largest moves",
    )


def render_features(drift: Mapping[str, Any]) -> str:
    """Render the features, the most changed first."""
    rows = sorted(drift["features"], key=lambda row: -(row["psi"] or 0.0))
    flags = find_flags(drift, "feature")
    return render_table(
        [
            Column("Feature", [as_name(row["feature"]) for row in rows], is_text=True),
            Column("PSI", [as_chip(_three(row["psi"]), flags.get(("feature_psi", row["feature"]))) for row in rows]),
            Column("Mean then (scaled)", [_scaled(row["mean_from"]) for row in rows]),
            Column("Mean now (scaled)", [_scaled(row["mean_to"]) for row in rows]),
            Column("Change by the mix", [signed(row["mix_effect"]) for row in rows]),
            Column("Change within segments", [signed(row["within_effect"]) for row in rows]),
        ],
        label="Features",
    )


def render_totals(drift: Mapping[str, Any]) -> str:
    """Render the measures over all rows, against the reference and against the baseline."""
    if drift["reference"] is None:
        return ""
    totals = {"version": drift["reference"], "severity": drift["severity"]} | drift["totals"]
    baseline = drift["against_baseline"]
    if baseline["version"] == drift["reference"]:
        baseline = {}  # the same figures once more
    figures = {"version": Figure("Compared with", ""), "severity": Figure("Severity", "")} | FIGURES
    keys = [key for key in figures if totals.get(key) is not None or baseline.get(key) is not None]

    def write(key: str, value: str | float | None) -> str:
        return as_html(write_figure(key, value))

    def write_limit(key: str, level: str) -> str:
        limits = (drift["thresholds"] or {}).get(key.removesuffix("_radii"))
        return write(key, limits[level]) if limits else ""

    return render_table(
        [
            Column("Measure", [as_html(figures[key].title) for key in keys], is_text=True),
            Column("Against the reference", [write(key, totals.get(key)) for key in keys]),
            Column("Warns from", [write_limit(key, "warn") for key in keys]),
            Column("Alerts from", [write_limit(key, "alert") for key in keys]),
            Column("Against the baseline", [write(key, baseline.get(key)) for key in keys]),
            Column("How to read it", [as_html(figures[key].meaning) for key in keys], is_text=True),
        ],
        label="Measures over all rows",
    )


def render_gate(run: RunFacts) -> str:
    """Render the checks that decide about publishing."""
    marks = {True: '<span class="chip ok">passed</span>', False: '<span class="chip alert">failed</span>'}
    return render_table(
        [
            Column("Check", [as_html(name_check(check)) for check in run.gate], is_text=True),
            Column("Segment", [as_name(check.get("label") or "") for check in run.gate], is_text=True),
            Column("Result", [marks[check["ok"]] for check in run.gate], is_text=True),
            Column("Observed", [number(check["observed"]) for check in run.gate]),
            Column("Limit", [number(check["limit"]) for check in run.gate]),
        ],
        label="Gate",
    )


def render_passes(run: RunFacts) -> str:
    """Render the fit history."""
    return render_table(
        [
            Column("Pass", [as_html(entry["pass"]) for entry in run.passes], is_text=True),
            Column("Rows", [number(entry["rows"]) for entry in run.passes]),
            Column("Inertia per row", [number(entry["inertia_per_row"]) for entry in run.passes]),
            Column("Largest move", [_three(entry["largest_move"]) for entry in run.passes]),
            Column("Seconds", [_three(entry["seconds"]) for entry in run.passes]),
        ],
        label="Fit history",
    )


def render_facts(facts: Mapping[str, Any], *, label: str) -> str:
    """Render names and values, two columns."""
    return render_table(
        [
            Column("", [as_name(name) for name in facts], is_text=True),
            Column(label, [as_html(number(value)) for value in facts.values()], is_text=True),
        ],
        label=label,
    )


def _name_segments(segments: Sequence[Mapping[str, Any]]) -> Column:
    return Column("Segment", [as_name(segment["cluster_label"]) for segment in segments], is_text=True)


def _tell_statuses(segments: Sequence[Mapping[str, Any]]) -> Column:
    chips = [f'<span class="chip status-{status}">{status}</span>' for status in (s["status"] for s in segments)]
    return Column("Status", chips, is_text=True)


def _scaled(value: float | None) -> str:
    return number(None if value is None else round(value, 4))  # a mean of the reference is 0 but for rounding


def _three(value: float | None) -> str:
    return number(value, 3)


def _share(segment: Mapping[str, Any], widest: float) -> str:
    now, then = segment["share"], segment["reference_share"]
    mark = "" if then is None else f'<i style="left:{100 * then / widest:.1f}%"></i>'
    bar = f'<span class="bar"><b style="width:{100 * now / widest:.1f}%"></b>{mark}</span>'
    return f'<span class="share">{bar}{percent(now)}</span>'


def _moves(moves: Sequence[Mapping[str, Any]]) -> str:
    shown = []
    for move in moves:
        name, by = move["feature"], f" <small>({signed(move['in_sd'], 2)} sd)</small>"
        values = f"{number(move['from'])} \u2192 {number(move['to'])}"
        feature = f'<span title="{as_html(name)}">{as_html(shorten(name, LONG_NAME))}</span>'
        shown.append(f'<span class="move">{feature} <b>{values}</b>{by}</span>')
    return "<br>".join(shown)


def _ranked_cells(values: Sequence[float]) -> list[str]:
    order = sorted(set(values))
    if len(order) < 2:
        return [number(value) for value in values]
    level = {value: i / (len(order) - 1) for i, value in enumerate(order)}
    return [f'<span class="level" style="--level:{level[value]:.2f}">{number(value)}</span>' for value in values]
