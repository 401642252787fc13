"""The tables of the page as plain HTML: complete without JavaScript, on a phone and on paper."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kmstream.report.facts import RunFacts
from kmstream.report.markup import LONG_NAME, Column, as_chip, as_name, render_table
from kmstream.report.verdict import by_size, find_flags, living_segments
from kmstream.report.wording import (
    NOTHING,
    as_html,
    number,
    p_value,
    percent,
    points,
    shorten,
    signed,
    sort_names,
    tell_log1p,
)

WIDE_TABLE_FEATURES = 8  # more features than this go down the rows of the table of centroids
MOVES_SHOWN = 3
LARGEST_MOVES = 10
STATUSES = ("kept", "split", "merged", "emerged", "retired")

TOTALS = {
    "version": ("Compared with", ""),
    "severity": ("Severity", ""),
    "rows": ("Rows", "compared"),
    "reference_rows": ("Rows of the reference", ""),
    "share_psi": ("PSI of the shares", "0 = the same mix; 0.1 to 0.25 a shift, more is a large one"),
    "share_js": ("Jensen-Shannon distance of the shares", "0 = the same mix, 1 = nothing in common"),
    "share_chi2_p": ("p of the chi-square test", "always small on many rows; read it with Cramer's V"),
    "share_cramers_v": ("Cramer's V", "strength of that difference, 0 to 1"),
    "cramers_v": ("Cramer's V", "strength of that difference, 0 to 1"),
    "share_change": ("Largest change of a share", "one segment"),
    "centroid_shift_radii": ("Largest move of a centre, radii", "counts as drift beyond three standard errors"),
    "inertia_ratio": ("Inertia per row, times the reference", "above 1: rows lie farther from their centres"),
    "outlier_share": ("Rows beyond the reference 99 % distance", "1 % when nothing changed"),
    "feature_psi": ("Largest PSI of a feature", "on frozen bins"),
}


def render_segments(drift: Mapping[str, Any]) -> str:
    """Render the segments, largest first: size then and now, how far each moved, and what moved most."""
    segments = by_size(drift)
    flags = find_flags(drift, "label")
    widest = max((share for s in segments for share in (s.get("share"), s.get("reference_share")) if share), default=1)

    def flagged(measure: str, key: str, write: Callable[[Any], str]) -> list[str]:
        return [as_chip(write(s.get(key)), flags.get((measure, s.get("cluster_label")))) for s in segments]

    changes = flagged("share_change", "_change", points)
    return render_table(
        [
            Column("Segment", [as_name(s.get("cluster_label")) for s in segments], is_text=True),
            Column("Status", [_status(s.get("status")) for s in segments], is_text=True),
            Column("Rows", [number(s.get("rows")) for s in segments]),
            Column("Share then", [percent(s.get("reference_share")) for s in segments]),
            Column("Share now", [_share(s, widest) for s in segments]),
            Column("Change", changes),
            Column("Centre moved (radii)", flagged("centroid_shift", "centroid_shift_radii", _three)),
            Column("Inertia (times)", flagged("inertia_ratio", "inertia_ratio", _three)),
            Column("Outliers", flagged("outlier_share", "outlier_share", percent)),
            Column("What moved most", [_moves(s.get("moved_most")) for s in segments], is_text=True),
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
    statuses = [segment.get("status") for segment in drift.get("segments") or ()]
    return {status: statuses.count(status) for status in STATUSES}


def render_life_cycle(drift: Mapping[str, Any]) -> str:
    """Render how many segments were kept, split, merged, and so on."""
    counts = {status: n for status, n in count_statuses(drift).items() if n}
    chips = " ".join(f'<span class="chip status-{status}">{n} {status}</span>' for status, n in counts.items())
    return f'<p class="life">{chips}</p>' if chips else ""


def render_centroids(drift: Mapping[str, Any]) -> str:
    """Render the centres of the segments in original units; a darker cell is a higher rank among the segments."""
    segments = [s for s in living_segments(drift) if s.get("centroid")]
    features = list(dict.fromkeys(feature for s in segments for feature in s["centroid"]))
    labels = [as_name(s.get("cluster_label")) for s in segments]
    cells = {feature: _ranked_cells([s["centroid"].get(feature) for s in segments]) for feature in features}
    if len(features) <= WIDE_TABLE_FEATURES:
        columns = [Column("Segment", labels, is_text=True)]
        columns += [Column(feature, cells[feature]) for feature in features]
    else:
        columns = [Column("Feature", [as_name(feature) for feature in features], is_text=True)]
        columns += [
            Column(str(s.get("cluster_label")), [cells[feature][i] for feature in features])
            for i, s in enumerate(segments)
        ]
    return render_table(columns, label="Centres of the segments")


def render_descriptions(drift: Mapping[str, Any]) -> str:
    """Render what sets each segment apart, in words."""
    segments = [s for s in living_segments(drift) if s.get("description")]
    table = render_table(
        [
            Column("Segment", [as_name(s.get("cluster_label")) for s in segments], is_text=True),
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
        label, rows_say = segment.get("cluster_label"), segment["label_by_overlap"]
        known = segment.get("matched_distance") is not None
        if rows_say is None and not known:
            return NOTHING
        if rows_say == label:
            return '<span class="chip ok">the same</span>'
        return f'<span class="chip warn">{as_name(rows_say) if rows_say else "a new name"}</span>'

    return render_table(
        [
            Column("Segment", [as_name(s.get("cluster_label")) for s in segments], is_text=True),
            Column("Status", [_status(s.get("status")) for s in segments], is_text=True),
            Column("Old rows kept", [as_chip(percent(s.get("overlap")), _flag(s)) for s in segments]),
            Column("Distance", [_three(s.get("matched_distance")) for s in segments]),
            Column("Margin", [_three(s.get("matched_margin")) for s in segments]),
            Column("By shared rows", [by_rows(s) for s in segments], is_text=True),
        ],
        label="What speaks for the names",
    )


def render_moves(table: Mapping[str, Any] | None, unit: str) -> str:
    """Render the largest moves of a from-to table from one name to another; `unit` is what it counts."""
    table = table or {"labels_from": [], "labels_to": [], "rows": []}
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
    rows = sorted(drift.get("features") or (), key=lambda row: -(row.get("psi") or 0.0))
    flags = find_flags(drift, "feature")
    psi = [as_chip(number(row.get("psi"), 3), flags.get(("feature_psi", row.get("feature")))) for row in rows]
    return render_table(
        [
            Column("Feature", [as_name(row.get("feature")) for row in rows], is_text=True),
            Column("PSI", psi),
            Column("Mean then (scaled)", [_scaled(row.get("mean_from")) for row in rows]),
            Column("Mean now (scaled)", [_scaled(row.get("mean_to")) for row in rows]),
            Column("Change by the mix", [signed(row.get("mix_effect")) for row in rows]),
            Column("Change within segments", [signed(row.get("within_effect")) for row in rows]),
        ],
        label="Features",
    )


def render_totals(drift: Mapping[str, Any]) -> str:
    """Render the measures over all rows, against the reference and against the baseline."""
    if drift.get("reference") is None:
        return ""
    totals = {"version": drift["reference"], "severity": drift.get("severity")} | (drift.get("totals") or {})
    baseline = drift.get("against_baseline") or {}
    if baseline.get("version") == drift["reference"]:
        baseline = {}  # the same figures once more
    keys = [key for key in dict.fromkeys([*totals, *baseline]) if not isinstance(totals.get(key), Mapping | list)]
    keys = [key for key in keys if totals.get(key) is not None or baseline.get(key) is not None]
    names = [TOTALS.get(key, (key.replace("_", " "), "")) for key in keys]

    def write(key: str, value: Any) -> str:  # noqa: ANN401 # a number, or the name of a version
        if key == "share_change":
            return points(value).removeprefix("+")
        if key.endswith("_share"):
            return percent(value)
        return as_html(p_value(value) if key.endswith("_p") else number(value, 3))

    def write_limit(key: str, level: str) -> str:
        limits = (drift.get("thresholds") or {}).get(key.removesuffix("_radii"))
        return write(key, limits[level]) if limits else ""

    return render_table(
        [
            Column("Measure", [as_html(name) for name, _ in names], is_text=True),
            Column("Against the reference", [write(key, totals.get(key)) for key in keys]),
            Column("Warns from", [write_limit(key, "warn") for key in keys]),
            Column("Alerts from", [write_limit(key, "alert") for key in keys]),
            Column("Against the baseline", [write(key, baseline.get(key)) for key in keys]),
            Column("How to read it", [as_html(hint) for _, hint in names], is_text=True),
        ],
        label="Measures over all rows",
    )


def render_gate(run: RunFacts) -> str:
    """Render the checks that decide about publishing."""
    marks = {True: '<span class="chip ok">passed</span>', False: '<span class="chip alert">failed</span>'}
    return render_table(
        [
            Column("Check", [as_html(str(check.get("check")).replace("_", " ")) for check in run.gate], is_text=True),
            Column("Segment", [as_name(check.get("label") or "") for check in run.gate], is_text=True),
            Column("Result", [marks[bool(check.get("ok"))] for check in run.gate], is_text=True),
            Column("Observed", [as_html(number(check.get("observed"))) for check in run.gate]),
            Column("Limit", [as_html(number(check.get("limit"))) for check in run.gate]),
        ],
        label="Gate",
    )


def render_passes(run: RunFacts) -> str:
    """Render the fit history."""
    return render_table(
        [
            Column("Pass", [as_html(entry.get("pass")) for entry in run.passes], is_text=True),
            Column("Rows", [number(entry.get("rows")) for entry in run.passes]),
            Column("Inertia per row", [number(entry.get("inertia_per_row")) for entry in run.passes]),
            Column("Largest move", [number(entry.get("largest_move"), 3) for entry in run.passes]),
            Column("Seconds", [number(entry.get("seconds"), 3) for entry in run.passes]),
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


def _flag(segment: Mapping[str, Any]) -> str | None:
    return "warn" if segment.get("flagged") else None


def _status(status: str | None) -> str:
    return f'<span class="chip status-{as_html(status)}">{as_html(status)}</span>' if status else ""


def _scaled(value: float | None) -> str:
    return number(None if value is None else round(value, 4))  # a mean of the reference is 0 but for rounding


def _three(value: float | None) -> str:
    return number(value, 3)


def _share(segment: Mapping[str, Any], widest: float) -> str:
    now, then = segment.get("share"), segment.get("reference_share")
    if now is None:
        return NOTHING
    mark = "" if then is None else f'<i style="left:{100 * then / widest:.1f}%"></i>'
    bar = f'<span class="bar"><b style="width:{100 * now / widest:.1f}%"></b>{mark}</span>'
    return f'<span class="share">{bar}{percent(now)}</span>'


def _moves(moves: Sequence[Mapping[str, Any]] | None) -> str:
    shown = []
    for move in (moves or ())[:MOVES_SHOWN]:
        by = "" if move.get("in_sd") is None else f" <small>({signed(move['in_sd'], 2)} sd)</small>"
        values = f"{number(move.get('from'))} \u2192 {number(move.get('to'))}"
        name = str(move.get("feature"))
        feature = f'<span title="{as_html(name)}">{as_html(shorten(name, LONG_NAME))}</span>'
        shown.append(f'<span class="move">{feature} <b>{values}</b>{by}</span>')
    return "<br>".join(shown)


def _ranked_cells(values: Sequence[Any]) -> list[str]:
    order = sorted({value for value in values if isinstance(value, int | float) and value == value})
    level = {value: i / (len(order) - 1) for i, value in enumerate(order)} if len(order) > 1 else {}
    return [
        f'<span class="level" style="--level:{level[value]:.2f}">{number(value)}</span>'
        if value in level
        else as_html(number(value))
        for value in values
    ]
