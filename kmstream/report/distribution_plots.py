"""The section Distributions by segment: histograms and box plots of numbers, stacked bars of categories."""

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kmstream.arrays import FloatArray
from kmstream.report.plot_style import INVISIBLE, MUTED, THEN, faded, hover_name, lay_out_plain, name_rows, tick_name
from kmstream.wording import number, percent

MAX_FILLED = 4  # areas over each other; more are lines alone
TICKS = 8
_WIDE = 5.0  # on an axis that goes so far, fractions would be crowded at its beginning
_CATEGORY_COLOURS = ("#1e3a5f", "#3f7cac", "#95afba", "#bdc4a7", "#d5e1a3", "#e2b56b", "#c97c5d", "#7d4f50")


def draw_histogram(found: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure:
    """Draw the values of a number in each segment as the outline of a histogram, on the same bins.

    Each outline encloses the same area, whatever the size of its segment: they compare in form.

    Parameters
    ----------
    found : mapping
        One entry of what `kmstream.distributions.tell_distributions` gives.
    colours : mapping of str to str
        By segment.
    """
    edges = np.asarray(found["edges"], dtype=float)
    at = _to_axis(edges, found["kind"])
    bins = [f"{number(low, 3)} to {number(high, 3)}" for low, high in pairwise(edges.tolist())]
    there = {label: np.asarray(counts, dtype=float) for label, counts in found["counts"].items() if any(counts)}
    shares = {label: counts / (counts.sum() + found["beyond"][label]) for label, counts in there.items()}
    heights = {label: share / np.diff(at) for label, share in shares.items()}
    highest = max((height.max() for height in heights.values()), default=1.0)
    figure = go.Figure()
    for label, height in heights.items():
        text = [f"{place}: {percent(share)}" for place, share in zip(bins, shares[label].tolist(), strict=True)]
        colour = colours.get(label, THEN)
        y = (height / highest).round(3).tolist()
        figure.add_scatter(
            x=at.round(5).tolist(),
            y=[*y, y[-1]],
            mode="lines",
            line={"color": colour, "width": 2, "shape": "hv"},
            fill="tozeroy" if len(there) <= MAX_FILLED else "none",
            fillcolor=faded(colour, 0.12),
            text=[*text, text[-1]],
            hovertemplate=f"{hover_name(label)}<br>%{{text}}<extra></extra>",
        )
    lay_out_plain(figure, _height(len(there)))
    figure.update_xaxes(**_value_ticks(edges, found["kind"]), showgrid=False)
    figure.update_yaxes(showticklabels=False, rangemode="tozero", title={"text": "density", "font": {"color": MUTED}})
    return figure


def draw_boxes(found: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure:
    """Draw the quartiles of a number in each segment, side by side; whiskers end at the 5 % and 95 % quantiles.

    Parameters are those of `draw_histogram`.
    """
    there = [(label, values) for label, values in found["quantiles"].items() if values is not None]
    there.reverse()  # the first is on top
    figure, edges = go.Figure(), np.asarray(found["edges"], dtype=float)
    for i, (label, values) in enumerate(there):
        low, q1, median, q3, high = _to_axis(np.asarray(values, dtype=float), found["kind"]).round(5).tolist()
        colour = colours.get(label, THEN)
        figure.add_box(
            y=[i],
            q1=[q1],
            median=[median],
            q3=[q3],
            lowerfence=[low],
            upperfence=[high],
            orientation="h",
            width=0.6,
            line={"color": colour, "width": 1.8},
            fillcolor=faded(colour, 0.22),
            hoverinfo="skip",
        )
        q = [number(value, 4) for value in values]
        spread = f"half of the rows {q[1]} to {q[3]}<br>5 % to 95 % {q[0]} to {q[4]}"
        text = f"{hover_name(label)}<br>median {q[2]}<br>{spread}"
        hidden = {"size": 18, "color": INVISIBLE}
        figure.add_scatter(x=[median], y=[i], mode="markers", marker=hidden, hovertext=[text], hoverinfo="text")
    lay_out_plain(figure, _height(len(there)))
    name_rows(figure, [label for label, _ in there])
    figure.update_xaxes(**_value_ticks(edges, found["kind"]))
    return figure


def draw_categories(found: Mapping[str, Any]) -> go.Figure:
    """Draw the shares of the categories in each segment; their colours are no segment's."""
    there = [(label, np.asarray(counts, dtype=float)) for label, counts in found["counts"].items() if any(counts)]
    there.reverse()
    figure = go.Figure()
    for j, category in enumerate(found["categories"]):
        name = "all others" if category is None else category
        shares = [float(counts[j] / counts.sum()) for _, counts in there]
        figure.add_bar(
            x=[round(share, 4) for share in shares],
            y=list(range(len(there))),
            orientation="h",
            width=0.7,
            name=tick_name(name),
            marker={"color": THEN if category is None else _CATEGORY_COLOURS[j % len(_CATEGORY_COLOURS)]},
            hovertext=[
                f"{hover_name(label)}<br>{hover_name(name)}: {percent(share)}"
                for (label, _), share in zip(there, shares, strict=True)
            ],
            hoverinfo="text",
        )
    lay_out_plain(figure, max(250, 130 + 26 * len(there)))
    name_rows(figure, [label for label, _ in there])
    figure.update_xaxes(tickformat=".0%", range=[0, 1])
    legend = {"orientation": "h", "x": 0, "y": -0.16, "yanchor": "top", "traceorder": "normal"}
    return figure.update_layout(barmode="stack", showlegend=True, legend=legend)


def find_ticks(low: float, high: float) -> list[float]:
    """Choose round numbers for an axis of log1p, far enough apart to be read.

    Examples
    --------
    >>> find_ticks(0, 3000), find_ticks(0, 3)
    ([0, 2, 10, 50, 200, 1000], [0, 0.2, 0.5, 1, 2])
    >>> find_ticks(0.5, 20.5)
    [1, 2, 5, 10, 20]
    """
    powers = range(-3, math.ceil(math.log10(max(high, 1.0))) + 1)
    candidates = [-0.9, -0.5, 0.0, *(by * 10.0**power for power in powers for by in (1, 2, 5))]
    if high >= _WIDE:
        candidates = [value for value in candidates if value == int(value)]
    apart = (math.log1p(high) - math.log1p(low)) / TICKS
    kept: list[float] = []
    for value in candidates:
        if low <= value <= high and (not kept or math.log1p(value) - math.log1p(kept[-1]) >= apart):
            kept.append(int(value) if value == int(value) else value)
    return kept


def _height(n_segments: int) -> int:
    return max(220, 70 + 24 * n_segments)


def _to_axis(values: FloatArray, kind: str) -> FloatArray:
    """Give the places of values in original units on the axis of a feature of that kind."""
    return np.log1p(values) if kind == "log1p" else values


def _value_ticks(edges: FloatArray, kind: str) -> dict[str, Any]:
    """Show original units also where the axis is one of log1p."""
    low, high = float(edges[0]), float(edges[-1])
    if kind != "log1p":
        return {"range": _widen(low, high)}
    ticks = find_ticks(low, high)
    return {
        "tickmode": "array",
        "tickvals": [round(float(np.log1p(value)), 5) for value in ticks],
        "ticktext": [number(value) for value in ticks],
        "range": _widen(float(np.log1p(low)), float(np.log1p(high))),
    }


def _widen(low: float, high: float) -> list[float]:
    margin = 0.03 * (high - low)
    return [low - margin, high + margin]
