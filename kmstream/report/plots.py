"""The figures of the page, drawn with plotly; names are data in them, never markup."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from kmstream.report.verdict import by_size, find_flags
from kmstream.report.wording import as_plot_text, number, percent, points

INK, MUTED, GRID = "#111827", "#6b7280", "#eceef2"

NOW, THEN, PALE, WARN, ALERT = "#2563eb", "#9ca3af", "#bfdbfe", "#d97706", "#dc2626"
STANDARD_ERRORS = 3  # a shift within this many is noise
MAX_ROWS = 24  # evidently's widgets are 450 to 500 px high; the tables name every segment
MAX_HEATMAP_NUMBERS = 12
MAX_FLOWS = 16  # segments on a side
_NODE_WIDTH = 0.02  # of the width
SEGMENT_COLOURS = (
    *("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d"),
    *("#92400e", "#0f766e", "#4f46e5", "#e879a6", "#64748b", "#ca8a04", "#15803d", "#a21caf"),
)
_COLOURS = {"warn": WARN, "alert": ALERT}
_HEIGHT, _ROW_HEIGHT, _MARGINS = 450, 34, 110


def draw_shares(drift: Mapping[str, Any]) -> go.Figure:
    """Draw the share of each segment then and now; if there are many, those that changed most."""
    segments = _most(by_size(drift), "_change")
    y = list(range(len(segments)))
    then, now = [s.get("reference_share") for s in segments], [s.get("share") for s in segments]
    hover = [
        f"{as_plot_text(str(s.get('cluster_label')), 60)}<br>{percent(s.get('reference_share'))} \u2192 "
        f"{percent(s.get('share'))} ({points(s['_change'])})"
        for s in segments
    ]
    figure = go.Figure()
    if any(share is not None for share in then):
        ways_x = [x for pair in zip(then, now, strict=True) for x in (*pair, None)]
        ways_y = [value for i in y for value in (i, i, None)]
        way = {"color": THEN, "width": 3}
        figure.add_scatter(x=ways_x, y=ways_y, mode="lines", line=way, hoverinfo="skip", showlegend=False)
        hollow = {"color": "white", "size": 11, "line": {"color": THEN, "width": 2.5}}
        figure.add_scatter(x=then, y=y, mode="markers", name="then", marker=hollow, hovertext=hover, hoverinfo="text")
    marker = {"color": NOW, "size": 11}
    figure.add_scatter(x=now, y=y, mode="markers", name="now", marker=marker, hovertext=hover, hoverinfo="text")
    figure.update_traces(cliponaxis=False)
    _lay_out_rows(figure, [str(s.get("cluster_label")) for s in segments])
    figure.update_xaxes(tickformat=".2~%", rangemode="tozero", title="share of the rows")
    return figure


def draw_shifts(drift: Mapping[str, Any]) -> go.Figure | None:
    """Draw how far each centre moved, in radii of its reference segment; None if there is no reference."""
    segments = [s for s in by_size(drift) if s.get("centroid_shift_radii") is not None]
    if not segments:
        return None
    segments = sorted(_most(segments, "centroid_shift_radii"), key=lambda s: float(s["centroid_shift_radii"]))
    flags = find_flags(drift, "label")
    colours = [
        _COLOURS.get(flags.get(("centroid_shift", s.get("cluster_label")), ""), PALE if _is_noise(s) else NOW)
        for s in segments
    ]
    shifts = [s["centroid_shift_radii"] for s in segments]
    errors = [number(s.get("standard_errors"), 3) for s in segments]
    hover = [
        f"{as_plot_text(str(s.get('cluster_label')), 60)}<br>{number(shift, 3)} radii, {error} standard errors"
        for s, shift, error in zip(segments, shifts, errors, strict=True)
    ]
    rows = list(range(len(segments)))
    figure = go.Figure()
    figure.add_bar(
        x=shifts, y=rows, orientation="h", marker_color=colours, width=0.55, hovertext=hover, hoverinfo="text"
    )
    for severity, threshold in thresholds(drift, "centroid_shift").items():
        colour = _COLOURS.get(severity, THEN)
        note = {"text": severity, "font": {"color": colour}, "yanchor": "bottom"}
        figure.add_vline(threshold, line={"color": colour, "dash": "dash", "width": 1.5}, annotation=note)
    _lay_out_rows(figure, [str(s.get("cluster_label")) for s in segments], reverse=False)
    figure.update_xaxes(rangemode="tozero", title="radii of the reference segment")
    return figure


def draw_migration(drift: Mapping[str, Any]) -> go.Figure | None:
    """Draw where the rows of each old segment are now, as shares of the old segment; None for a score run.

    If there are many segments, it shows those that gave or got the most rows.
    """
    migration = drift.get("migration")
    if not migration or not migration.get("rows"):
        return None
    counts = np.asarray(migration["rows"], dtype=float)
    shares = _divide_rows(counts)
    before, after = [str(x) for x in migration["labels_from"]], [str(x) for x in migration["labels_to"]]
    gone = np.array([[old != new for new in after] for old in before]) * counts
    rows, columns = _largest(gone.sum(axis=1), before), _largest(gone.sum(axis=0), after)
    counts, shares = counts[np.ix_(rows, columns)], shares[np.ix_(rows, columns)]
    before, after = [before[i] for i in rows], [after[i] for i in columns]
    hover = [
        [
            f"{as_plot_text(old, 60)} \u2192 {as_plot_text(new, 60)}<br>{number(counts[i, j])} rows, "
            f"{percent(shares[i, j])}"
            for j, new in enumerate(after)
        ]
        for i, old in enumerate(before)
    ]
    figure = go.Figure()
    few = max(len(before), len(after)) <= MAX_HEATMAP_NUMBERS
    figure.add_heatmap(
        z=shares.round(4).tolist(),
        zmin=0,
        zmax=1,
        colorscale=[[0, "#eff6ff"], [0.05, "#bfdbfe"], [1, "#1d4ed8"]],
        text=[[f"{share:.0%}" if share >= 0.005 else "" for share in row] for row in shares] if few else None,
        texttemplate="%{text}" if few else None,
        hovertext=hover,
        hoverinfo="text",
        xgap=1,
        ygap=1,
        colorbar={"tickformat": ".0%", "thickness": 10, "len": 0.9},
    )
    figure.update_xaxes(**_ticks(after), title="new segment", tickangle=-40, automargin=True, showgrid=False)
    figure.update_yaxes(**_ticks(before), title="old segment", autorange="reversed", automargin=True, showgrid=False)
    return _lay_out(figure, min(_HEIGHT, 180 + _ROW_HEIGHT * len(before)))


def draw_flows(table: Mapping[str, Any], unit: str) -> go.Figure | None:
    """Draw a from-to table as flows between the segments on the left and those on the right (a Sankey diagram).

    Evidently's plotly can't draw one by itself, so the bands are shapes, and hidden markers in them hold the figures.

    Parameters
    ----------
    table : mapping
        "labels_from", "labels_to" and "rows", like "migration" of drift.json.
    unit : str
        What is counted: rows or times.

    Returns
    -------
    plotly figure or None
        None where nothing is counted, or there are more segments than the eye can follow.
    """
    counts = np.asarray(table["rows"], dtype=float)
    before, after = [str(x) for x in table["labels_from"]], [str(x) for x in table["labels_to"]]
    if not counts.any() or max(len(before), len(after)) > MAX_FLOWS:
        return None
    order = {name: n for name, n in zip(before, counts.sum(axis=1), strict=True)}
    names = sorted({*before, *after}, key=lambda name: (-order.get(name, 0.0), name))
    colour_of = segment_colours(after, before)
    rows = sorted(range(len(before)), key=lambda i: names.index(before[i]))
    columns = sorted(range(len(after)), key=lambda j: names.index(after[j]))
    counts, before, after = counts[np.ix_(rows, columns)], [before[i] for i in rows], [after[j] for j in columns]
    figure = go.Figure()
    left, right = _stack_bands(counts, counts.sum(axis=1)), _stack_bands(counts.T, counts.sum(axis=0)).swapaxes(0, 1)
    moves = sorted(np.argwhere(counts > 0).tolist(), key=lambda at: before[at[0]] != after[at[1]])
    for i, j in moves:  # what stays is pale and lies below; what moves has the colour of where it came from
        (top, end), (to_top, to_end) = left[i, j], right[i, j]
        path = f"M 0,{top} C .5,{top} .5,{to_top} 1,{to_top} L 1,{to_end} C .5,{to_end} .5,{end} 0,{end} Z"
        opacity = 0.15 if before[i] == after[j] else 0.5
        figure.add_shape(type="path", path=path, fillcolor=faded(colour_of[before[i]], opacity), line_width=0)
    for x, labels, bands, totals, anchor in (
        (0, before, left, counts.sum(axis=1), "left"),
        (1, after, right.swapaxes(0, 1), counts.sum(axis=0), "right"),
    ):
        for name, band, total in zip(labels, bands, totals, strict=True):
            top, end, colour = band.min(), band.max(), colour_of[name]
            ends = sorted((x, x + _NODE_WIDTH * (1 if x else -1)))
            figure.add_shape(
                type="rect",
                x0=ends[0],
                x1=ends[1],
                y0=top,
                y1=end,
                fillcolor=colour,
                line={"color": colour, "width": 1},
            )
            text = f"{as_plot_text(name, 18)} ({number(total)})"
            shift = 6 if anchor == "left" else -6
            figure.add_annotation(
                x=x, y=(top + end) / 2, text=text, xanchor=anchor, xshift=shift, showarrow=False, font={"size": 12}
            )
    shares = _divide_rows(counts)
    hover = [
        f"{as_plot_text(before[i], 60)} \u2192 {as_plot_text(after[j], 60)}<br>"
        f"{number(counts[i, j])} {unit}, {percent(shares[i, j])}"
        for i, j in moves
    ]
    places = [((left[i, j].mean() + right[i, j].mean()) / 2) for i, j in moves]
    hidden = {"size": 16, "color": "rgba(0,0,0,0)"}
    figure.add_scatter(x=[0.5] * len(moves), y=places, mode="markers", marker=hidden, hovertext=hover, hoverinfo="text")
    figure.update_xaxes(visible=False, range=[-_NODE_WIDTH, 1 + _NODE_WIDTH], fixedrange=True)
    figure.update_yaxes(visible=False, autorange="reversed", fixedrange=True)
    return _lay_out(figure, min(_HEIGHT, 120 + _ROW_HEIGHT * max(len(before), len(after)))).update_layout(
        showlegend=False, margin={"l": 4, "r": 4, "t": 8, "b": 8}
    )


def segment_colours(now: Iterable[str], then: Iterable[str] = ()) -> dict[str, str]:
    """Give each segment its colour, the same in all plots of a page: by name, those that ended last.

    Examples
    --------
    >>> list(segment_colours(["new", "kept"], ["kept", "ended"]))
    ['kept', 'new', 'ended']
    """
    names = [*sorted(set(now)), *sorted(set(then) - set(now))]
    return {name: SEGMENT_COLOURS[i % len(SEGMENT_COLOURS)] for i, name in enumerate(names)}


def _stack_bands(counts: NDArray[np.float64], totals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give where the bands of each row begin and end (n_rows, n_columns, 2): one below the other, rows apart."""
    gap = 0.04 * totals.sum()
    starts = np.concatenate([[0.0], np.cumsum(totals + gap)[:-1]])
    ends = starts[:, None] + np.cumsum(counts, axis=1)
    return np.stack([ends - counts, ends], axis=2)


def _divide_rows(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the shares of each row of a table."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares


def faded(colour: str, opacity: float) -> str:
    """Make a colour translucent.

    Examples
    --------
    >>> faded("#2563eb", 0.5)
    'rgba(37,99,235,0.5)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def draw_passes(passes: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw inertia per row over the passes of a fit; None if fewer than two passes measured it."""
    measured = [entry for entry in passes if entry.get("inertia_per_row") is not None]
    if len(measured) < 2:
        return None
    names = [str(entry.get("pass")) for entry in measured]
    hover = [
        f"{as_plot_text(name, 60)}<br>inertia per row {number(entry['inertia_per_row'])}<br>"
        f"largest move {number(entry.get('largest_move'), 3)}"
        for name, entry in zip(names, measured, strict=True)
    ]
    figure = go.Figure()
    figure.add_scatter(
        x=list(range(len(measured))),
        y=[entry["inertia_per_row"] for entry in measured],
        mode="lines+markers",
        line={"color": NOW, "width": 2},
        marker={"size": 9},
        hovertext=hover,
        hoverinfo="text",
    )
    figure.update_xaxes(**_ticks(names), title="pass", automargin=True)
    figure.update_yaxes(title="inertia per row", automargin=True)
    return _lay_out(figure, 320)


def title_of(title: str, n_segments: int) -> str:
    """Say in the title of a figure if it leaves segments out.

    Examples
    --------
    >>> title_of("Shares", 5), title_of("Shares", 100)
    ('Shares', 'Shares: the 24 of 100 segments that changed most')
    """
    return title if n_segments <= MAX_ROWS else f"{title}: the {MAX_ROWS} of {n_segments} segments that changed most"


def thresholds(drift: Mapping[str, Any], measure: str) -> dict[str, float]:
    """Find the limits of a measure that the reasons mention, by severity."""
    return {
        str(reason.get("severity")): float(reason["threshold"])
        for reason in drift.get("reasons") or ()
        if reason.get("measure") == measure and reason.get("threshold") is not None
    }


def _is_noise(segment: Mapping[str, Any]) -> bool:
    errors = segment.get("standard_errors")
    return errors is not None and errors <= STANDARD_ERRORS


def _most(segments: list[dict[str, Any]], key: str) -> list[dict[str, Any]]:
    if len(segments) <= MAX_ROWS:
        return segments
    chosen = sorted(segments, key=lambda s: -abs(s.get(key) or 0.0))[:MAX_ROWS]
    return [segment for segment in segments if segment in chosen]


def _largest(moved: NDArray[np.float64], names: Sequence[str]) -> list[int]:
    """Choose those with the most rows moved, in the order of their names: what stayed is then near the diagonal."""
    return sorted(np.argsort(-moved, kind="stable")[:MAX_ROWS].tolist(), key=lambda i: names[i])


def _ticks(names: Sequence[str]) -> dict[str, Any]:
    text = [as_plot_text(name, 18) for name in names]
    font = {"size": 12 if len(names) <= MAX_HEATMAP_NUMBERS else 9}
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": text, "tickfont": font}


def _lay_out_rows(figure: go.Figure, names: Sequence[str], *, reverse: bool = True) -> None:
    ends = [len(names) - 0.4, -0.6] if reverse else [-0.6, len(names) - 0.4]
    text = [as_plot_text(name, 18) for name in names]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=text, range=ends)
    figure.update_yaxes(automargin=True, zeroline=False, ticks="outside", ticklen=6, tickcolor="rgba(0,0,0,0)")
    _lay_out(figure, min(_HEIGHT, _MARGINS + _ROW_HEIGHT * len(names)))


def _lay_out(figure: go.Figure, height: int) -> go.Figure:
    axis = {"gridcolor": GRID, "zerolinecolor": GRID}
    figure.update_xaxes(**axis).update_yaxes(**axis)
    return figure.update_layout(
        template="none",  # plotly's own would be 7 kB in each
        paper_bgcolor="white",
        plot_bgcolor="white",
        height=height,
        margin={"l": 10, "r": 16, "t": 34, "b": 44},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        font={"size": 12, "color": INK},
        showlegend=None,
    )
