"""From where to where, in the sections From old segments to new ones and Who moved: flows, or a heat map of many."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kmstream.arrays import FloatArray
from kmstream.report.plot_style import (
    HEIGHT,
    INVISIBLE,
    MAX_ROWS,
    ROW_HEIGHT,
    faded,
    hover_name,
    lay_out_with_legend,
    name_ticks,
    segment_colours,
    tick_name,
)
from kmstream.wording import number, percent

MAX_FLOWS = 16  # segments on a side
MAX_HEATMAP_NUMBERS = 12
_NODE_WIDTH = 0.02  # of the width


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
    if not np.any(table["rows"]) or max(len(table["labels_from"]), len(table["labels_to"])) > MAX_FLOWS:
        return None
    counts, before, after = _sort_sides(table)
    colour_of = segment_colours(after, before)
    left = _stack_bands(counts, counts.sum(axis=1))
    right = _stack_bands(counts.T, counts.sum(axis=0)).swapaxes(0, 1)
    # What stays is pale and lies below; what moves has the colour of where it came from.
    moves = sorted(np.argwhere(counts > 0).tolist(), key=lambda at: before[at[0]] != after[at[1]])
    shares = _divide_rows(counts)
    figure = go.Figure()
    for i, j in moves:
        (top, end), (to_top, to_end) = left[i, j], right[i, j]
        path = f"M 0,{top} C .5,{top} .5,{to_top} 1,{to_top} L 1,{to_end} C .5,{to_end} .5,{end} 0,{end} Z"
        colour = faded(colour_of[before[i]], 0.15 if before[i] == after[j] else 0.5)
        figure.add_shape(type="path", path=path, fillcolor=colour, line_width=0)
    for i, name in enumerate(before):
        _add_node(figure, 0, left[i], f"{tick_name(name)} ({number(counts[i].sum())})", colour_of[name])
    for j, name in enumerate(after):
        _add_node(figure, 1, right[:, j], f"{tick_name(name)} ({number(counts[:, j].sum())})", colour_of[name])
    figure.add_scatter(
        x=[0.5] * len(moves),
        y=[(left[i, j].mean() + right[i, j].mean()) / 2 for i, j in moves],
        mode="markers",
        marker={"size": 16, "color": INVISIBLE},
        hovertext=[_tell_move(before[i], after[j], f"{number(counts[i, j])} {unit}", shares[i, j]) for i, j in moves],
        hoverinfo="text",
    )
    figure.update_xaxes(visible=False, range=[-_NODE_WIDTH, 1 + _NODE_WIDTH], fixedrange=True)
    figure.update_yaxes(visible=False, autorange="reversed", fixedrange=True)
    lay_out_with_legend(figure, min(HEIGHT, 120 + ROW_HEIGHT * max(len(before), len(after))))
    return figure.update_layout(showlegend=False, margin={"l": 4, "r": 4, "t": 8, "b": 8})


def draw_migration(migration: Mapping[str, Any]) -> go.Figure:
    """Draw where the rows of each old segment are now, as shares of the old segment: a heat map.

    If there are many segments, it shows those that gave or got the most rows.

    Parameters
    ----------
    migration : mapping
        As in drift.json: "labels_from", "labels_to" and "rows".
    """
    counts = np.asarray(migration["rows"], dtype=float)
    before, after = migration["labels_from"], migration["labels_to"]
    gone = np.array([[old != new for new in after] for old in before]) * counts
    rows, columns = _choose_most(gone.sum(axis=1), before), _choose_most(gone.sum(axis=0), after)
    counts, shares = counts[np.ix_(rows, columns)], _divide_rows(counts)[np.ix_(rows, columns)]
    before, after = [before[i] for i in rows], [after[j] for j in columns]
    few = max(len(before), len(after)) <= MAX_HEATMAP_NUMBERS
    figure = go.Figure()
    figure.add_heatmap(
        z=shares.round(4).tolist(),
        zmin=0,
        zmax=1,
        colorscale=[[0, "#eff6ff"], [0.05, "#bfdbfe"], [1, "#1d4ed8"]],
        text=[[f"{share:.0%}" if share >= 0.005 else "" for share in row] for row in shares] if few else None,
        texttemplate="%{text}" if few else None,
        hovertext=[
            [_tell_move(old, new, f"{number(counts[i, j])} rows", shares[i, j]) for j, new in enumerate(after)]
            for i, old in enumerate(before)
        ],
        hoverinfo="text",
        xgap=1,
        ygap=1,
        colorbar={"tickformat": ".0%", "thickness": 10, "len": 0.9},
    )
    figure.update_xaxes(**_name_side(after), title="new segment", tickangle=-40)
    figure.update_yaxes(**_name_side(before), title="old segment", autorange="reversed")
    return lay_out_with_legend(figure, min(HEIGHT, 180 + ROW_HEIGHT * len(before)))


def _sort_sides(table: Mapping[str, Any]) -> tuple[FloatArray, list[str], list[str]]:
    """Give the counts of a table, its rows and its columns in one order: what was largest before comes first."""
    counts = np.asarray(table["rows"], dtype=float)
    before, after = table["labels_from"], table["labels_to"]
    size = dict(zip(before, counts.sum(axis=1), strict=True))

    def place_of(name: str) -> tuple[float, str]:
        return -size.get(name, 0.0), name

    rows = sorted(range(len(before)), key=lambda i: place_of(before[i]))
    columns = sorted(range(len(after)), key=lambda j: place_of(after[j]))
    return counts[np.ix_(rows, columns)], [before[i] for i in rows], [after[j] for j in columns]


def _stack_bands(counts: FloatArray, totals: FloatArray) -> FloatArray:
    """Give where the bands of each row begin and end (n_rows, n_columns, 2): one below the other, rows apart."""
    gap = 0.04 * totals.sum()
    starts = np.concatenate([[0.0], np.cumsum(totals + gap)[:-1]])
    ends = starts[:, None] + np.cumsum(counts, axis=1)
    return np.stack([ends - counts, ends], axis=2)


def _add_node(figure: go.Figure, x: int, bands: FloatArray, text: str, colour: str) -> None:
    """Add the bar of one segment beside all its bands, on the left (x = 0) or the right (1), and its name over them."""
    outwards = 1 if x else -1
    left, right = sorted((x, x + _NODE_WIDTH * outwards))
    top, end = bands.min(), bands.max()
    line = {"color": colour, "width": 1}
    figure.add_shape(type="rect", x0=left, x1=right, y0=top, y1=end, fillcolor=colour, line=line)
    figure.add_annotation(
        x=x,
        y=(top + end) / 2,
        text=text,
        xanchor="right" if x else "left",
        xshift=-6 * outwards,
        showarrow=False,
        font={"size": 12},
    )


def _divide_rows(counts: FloatArray) -> FloatArray:
    """Give the shares of each row of a table."""
    totals = counts.sum(axis=1, keepdims=True)
    shares: FloatArray = np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    return shares


def _tell_move(old: str, new: str, counted: str, share: float) -> str:
    return f"{hover_name(old)} \u2192 {hover_name(new)}<br>{counted}, {percent(share)}"


def _choose_most(moved: FloatArray, names: Sequence[str]) -> list[int]:
    """Choose those with the most rows moved, in the order of their names: what stayed is then near the diagonal."""
    return sorted(np.argsort(-moved, kind="stable")[:MAX_ROWS].tolist(), key=lambda i: names[i])


def _name_side(names: Sequence[str]) -> dict[str, Any]:
    font = {"size": 12 if len(names) <= MAX_HEATMAP_NUMBERS else 9}
    return name_ticks(names) | {"tickfont": font, "automargin": True, "showgrid": False}
