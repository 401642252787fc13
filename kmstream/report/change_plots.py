"""The sections Segments, Gate and fit: what changed from then to now, from run to run, and from pass to pass."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from kmstream.noise import STANDARD_ERRORS
from kmstream.report.plot_style import (
    ALERT,
    HEIGHT,
    INVISIBLE,
    MAX_ROWS,
    NOW,
    PALE,
    ROW_HEIGHT,
    SEGMENT_COLOURS,
    THEN,
    WARN,
    hover_name,
    lay_out_plain,
    lay_out_with_legend,
    name_ticks,
    tick_name,
)
from kmstream.report.verdict import find_flags, share_change
from kmstream.wording import by_size, moment, number, percent, points

LEAST_RUNS = 3  # fewer are no history
MAX_LINES = 12
_COLOURS = {"warn": WARN, "alert": ALERT}


def draw_shares(drift: Mapping[str, Any]) -> go.Figure:
    """Draw the share of each segment then and now; if there are many, those that changed most."""
    segments = _choose_most(by_size(drift["segments"]), share_change)
    y = list(range(len(segments)))
    then, now = [s["reference_share"] for s in segments], [s["share"] for s in segments]
    hover = [
        f"{hover_name(s['cluster_label'])}<br>{percent(s['reference_share'])} \u2192 "
        f"{percent(s['share'])} ({points(share_change(s))})"
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
    _lay_out_rows(figure, [s["cluster_label"] for s in segments], [len(segments) - 0.4, -0.6])  # the first on top
    return figure.update_xaxes(tickformat=".2~%", rangemode="tozero", title="share of the rows")


def draw_shifts(drift: Mapping[str, Any]) -> go.Figure | None:
    """Draw how far each centroid moved, in radii of its reference segment; None if there is no reference."""
    moved = [s for s in by_size(drift["segments"]) if s["centroid_shift_radii"] is not None]
    if not moved:
        return None
    segments = sorted(_choose_most(moved, _shift_of), key=_shift_of)
    shifts, names = [_shift_of(s) for s in segments], [s["cluster_label"] for s in segments]
    flags = find_flags(drift, "label")
    hover = [
        f"{hover_name(s['cluster_label'])}<br>{number(_shift_of(s), 3)} radii, "
        f"{number(s['standard_errors'], 3)} standard errors"
        for s in segments
    ]
    figure = go.Figure()
    figure.add_bar(
        x=shifts,
        y=list(range(len(segments))),
        orientation="h",
        marker_color=[
            _COLOURS.get(flags.get(("centroid_shift", s["cluster_label"]), ""), PALE if _is_noise(s) else NOW)
            for s in segments
        ],
        width=0.55,
        hovertext=hover,
        hoverinfo="text",
    )
    for severity, limit in _find_limits(drift, "centroid_shift").items():
        colour = _COLOURS[severity]
        note = {"text": severity, "font": {"color": colour}, "yanchor": "bottom"}
        figure.add_vline(limit, line={"color": colour, "dash": "dash", "width": 1.5}, annotation=note)
    _lay_out_rows(figure, names, [-0.6, len(names) - 0.4])
    return figure.update_xaxes(rangemode="tozero", title="radii of the reference segment")


def title_changed(title: str, n_segments: int) -> str:
    """Say in the title of a figure if it leaves segments out.

    Examples
    --------
    >>> title_changed("Shares", 5), title_changed("Shares", 100)
    ('Shares', 'Shares: the 24 of 100 segments that changed most')
    """
    return title if n_segments <= MAX_ROWS else f"{title}: the {MAX_ROWS} of {n_segments} segments that changed most"


def draw_history(history: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> go.Figure | None:
    """Draw the share of each segment from run to run; None with fewer than three runs.

    Parameters
    ----------
    history : sequence of mapping
        By time, this run last: time (ISO 8601), kind ("refresh" or "score"), shares by label.
    colours : mapping of str to str
        Those of the page; segments that have ended since get what is left.
    """
    if len({run["time"] for run in history}) < LEAST_RUNS:
        return None
    largest: dict[str, float] = {}
    for run in history:
        for label, share in run["shares"].items():
            largest[label] = max(share or 0.0, largest.get(label, 0.0))
    shown = sorted(largest, key=lambda label: (label not in colours, -largest[label]))[:MAX_LINES]
    shades = dict(colours)
    for label in sorted(largest):
        shades.setdefault(label, SEGMENT_COLOURS[len(shades) % len(SEGMENT_COLOURS)])
    figure = go.Figure()
    for label in sorted(shown):
        _add_line(figure, history, label, shades[label])
    lay_out_plain(figure, 340 + 20 * (len(shown) // 3))
    figure.update_xaxes(type="date", showgrid=False)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title={"text": "share of the rows"})
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"})


def _add_line(figure: go.Figure, history: Sequence[Mapping[str, Any]], label: str, colour: str) -> None:
    """Add the share of one segment in each run, a diamond where it is a refit."""
    refits = [run["kind"] == "refresh" for run in history]
    shares = [run["shares"].get(label) for run in history]
    figure.add_scatter(
        x=[run["time"] for run in history],
        y=shares,
        mode="lines+markers",
        name=tick_name(label),
        line={"color": colour, "width": 2},
        marker={
            "size": [9 if refit else 5 for refit in refits],
            "symbol": ["diamond" if refit else "circle" for refit in refits],
        },
        hovertext=[
            f"{hover_name(label)}: {percent(share)}<br>{run['kind']}, {hover_name(moment(run['time']))}"
            for run, share in zip(history, shares, strict=True)
        ],
        hoverinfo="text",
    )


def title_history(n_segments: int) -> str:
    """Say in the title of the history how to read it, and what it leaves out."""
    largest = f", the {MAX_LINES} largest of {n_segments} segments" if n_segments > MAX_LINES else ""
    return f"Shares over time{largest}; a diamond is a refit"


def of_all_runs(drift: Mapping[str, Any], history: Sequence[Mapping[str, Any]], time: str, kind: str) -> list[Any]:
    """Give the runs before, and this one, whose shares are in drift.json."""
    shares = {segment["cluster_label"]: segment["share"] for segment in by_size(drift["segments"])}
    return [*(run for run in history if run["time"] < time), {"time": time, "kind": kind, "shares": shares}]


def draw_passes(passes: Sequence[Mapping[str, Any]]) -> go.Figure | None:
    """Draw inertia per row over the passes of a fit; None if fewer than two passes measured it."""
    measured = [entry for entry in passes if entry["inertia_per_row"] is not None]
    if len(measured) < 2:
        return None
    names = [entry["pass"] for entry in measured]
    hover = [
        f"{hover_name(entry['pass'])}<br>inertia per row {number(entry['inertia_per_row'])}<br>"
        f"largest move {number(entry['largest_move'], 3)}"
        for entry in measured
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
    figure.update_xaxes(**name_ticks(names), tickfont={"size": 12}, title="pass", automargin=True)
    figure.update_yaxes(title="inertia per row", automargin=True)
    return lay_out_with_legend(figure, 320)


def _find_limits(drift: Mapping[str, Any], measure: str) -> dict[str, float]:
    """Find the limits of a measure that the reasons mention, by severity."""
    return {one["severity"]: one["threshold"] for one in drift["reasons"] if one["measure"] == measure}


def _shift_of(segment: Mapping[str, Any]) -> float:
    return float(segment["centroid_shift_radii"])


def _is_noise(segment: Mapping[str, Any]) -> bool:
    errors = segment["standard_errors"]
    return errors is not None and errors <= STANDARD_ERRORS


def _choose_most(
    segments: list[Mapping[str, Any]], change_of: Callable[[Mapping[str, Any]], float | None]
) -> list[Mapping[str, Any]]:
    """Choose those that changed most, in the order in which they are."""
    if len(segments) <= MAX_ROWS:
        return segments
    chosen = sorted(segments, key=lambda segment: -abs(change_of(segment) or 0.0))[:MAX_ROWS]
    return [segment for segment in segments if segment in chosen]


def _lay_out_rows(figure: go.Figure, names: Sequence[str], ends: list[float]) -> None:
    """Give a figure the looks of the page, a row to each name; `ends` is its range, from the bottom to the top."""
    figure.update_yaxes(**name_ticks(names), range=ends)
    figure.update_yaxes(automargin=True, zeroline=False, ticks="outside", ticklen=6, tickcolor=INVISIBLE)
    lay_out_with_legend(figure, min(HEIGHT, 110 + ROW_HEIGHT * len(names)))
