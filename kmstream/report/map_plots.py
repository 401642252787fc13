"""The section Where the segments lie: sampled rows and centroids on a map, and how well each segment holds together."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kmstream.report.plot_style import (
    INK,
    MAX_ROWS,
    MUTED,
    ROW_HEIGHT,
    THEN,
    TICK_LETTERS,
    faded,
    hover_name,
    lay_out_plain,
    name_rows,
    tick_name,
)
from kmstream.wording import as_plot_text, number

MAP_HEIGHT, STRIP_HEIGHT = 480, 230
_MAP_SIZE = (300.0, 380.0)  # px that names are placed for: a phone, else they have more room
_LETTER, _LINE = 6.6, 15.0  # px: width of a letter, height of a name
_ARROW = {"arrowhead": 2, "arrowwidth": 1.6, "arrowcolor": INK, "standoff": 6, "startstandoff": 6}
_BESIDE, _ASLANT = 9.0, 5.0  # px from a centroid to its name: straight beside, above or below it, and to a corner

Box = tuple[float, float, float, float]  # left, bottom, right, top in px

_FAR = 10_000.0
_OUTSIDE: tuple[Box, ...] = (
    (-_FAR, -_FAR, 0.0, _FAR),
    (_MAP_SIZE[0], -_FAR, _FAR, _FAR),
    (-_FAR, -_FAR, _FAR, 0.0),
    (-_FAR, _MAP_SIZE[1], _FAR, _FAR),
)


def draw_map(found: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure:
    """Draw sampled rows and the centroids of now and then on the axes on which the rows differ most.

    Where the rows differ in one way only they are a strip, with the centroids above it.

    Parameters
    ----------
    found : mapping
        What `kmstream.projection.tell_map` gives.
    colours : mapping of str to str
        By segment.
    """
    centroids, is_strip = found["centroids"], len(found["axes"]) == 1
    frame = [*found["frame"], [-1.0, 1.0]][:2]
    figure = go.Figure()
    _add_rows(figure, found["rows"], colours)
    _add_arrows(figure, centroids)
    _add_centroids(figure, centroids, "then", colours)
    _add_centroids(figure, centroids, "now", colours)
    if len(centroids) <= MAX_ROWS:
        _name_centroids(figure, centroids, frame)
    titles = [
        f"PC{i}, {axis['explained']:.0%} of variance<br>"
        + ", ".join(as_plot_text(name, 14) for name in axis["strongest"])
        for i, axis in enumerate(found["axes"], 1)
    ]
    lay_out_plain(figure, STRIP_HEIGHT if is_strip else MAP_HEIGHT)
    figure.update_xaxes(title={"text": titles[0]}, range=frame[0], zeroline=False)
    figure.update_yaxes(range=frame[1], zeroline=False, visible=not is_strip)
    if not is_strip:
        figure.update_yaxes(title={"text": titles[1]})
    return figure


def _add_rows(figure: go.Figure, rows: Mapping[str, Sequence[list[float]]], colours: Mapping[str, str]) -> None:
    """Add the rows of each segment; those of a strip are scattered over the lower half of its height."""
    rng = np.random.default_rng(0)
    for label, places in rows.items():
        x, y = [*places, rng.uniform(-0.75, -0.25, len(places[0])).round(3).tolist()][:2]
        marker = {"size": 4, "color": faded(colours.get(label, THEN), 0.4)}
        figure.add_scatter(x=x, y=y, mode="markers", marker=marker, hovertext=hover_name(label), hoverinfo="text")


def _find_place(centroid: Mapping[str, Any], when: str) -> list[float]:
    """Give x and y of a centroid `when` ("now" or "then"); that of a strip lies above its rows."""
    return [*centroid[when], 0.25][:2]


def _add_arrows(figure: go.Figure, centroids: Sequence[Mapping[str, Any]]) -> None:
    """Add an arrow from then to now where a segment continues."""
    for centroid in centroids:
        if centroid["now"] and centroid["then"]:
            x, y, ax, ay = *_find_place(centroid, "now"), *_find_place(centroid, "then")
            figure.add_annotation(x=x, y=y, ax=ax, ay=ay, axref="x", ayref="y", text="", **_ARROW)


def _add_centroids(
    figure: go.Figure, centroids: Sequence[Mapping[str, Any]], when: str, colours: Mapping[str, str]
) -> None:
    """Add the centroids of "now" as full dots, or those of "then" as hollow ones."""
    there = [centroid for centroid in centroids if centroid[when]]
    shades = [colours.get(centroid["cluster_label"], THEN) for centroid in there]
    full = {"size": 13, "color": shades, "line": {"color": "white", "width": 2}}
    hollow = {"size": 11, "color": "white", "line": {"color": shades, "width": 2.5}}
    figure.add_scatter(
        x=[_find_place(centroid, when)[0] for centroid in there],
        y=[_find_place(centroid, when)[1] for centroid in there],
        mode="markers",
        name=f"centroid {when}",
        marker=full if when == "now" else hollow,
        hovertext=[f"{hover_name(centroid['cluster_label'])}<br>centroid {when}" for centroid in there],
        hoverinfo="text",
    )


def _name_centroids(figure: go.Figure, centroids: Sequence[Mapping[str, Any]], frame: Sequence[list[float]]) -> None:
    """Write the name of each segment beside its centroid, where it hides the least of other names and of dots."""
    scale = [size / ((high - low) or 1.0) for size, (low, high) in zip(_MAP_SIZE, frame, strict=True)]

    def find_spot(centroid: Mapping[str, Any], when: str) -> list[float]:
        at = _find_place(centroid, when)
        return [(value - low) * by for value, (low, _), by in zip(at, frame, scale, strict=True)]

    dots = [find_spot(centroid, when) for centroid in centroids for when in ("now", "then") if centroid[when]]
    taken: list[Box] = [*_OUTSIDE, *((x - 7, y - 7, x + 7, y + 7) for x, y in dots)]
    ways = [(side, level) for level, side in product((0, 1, -1), (1, -1, 0)) if side or level]
    for centroid in centroids:
        when = "now" if centroid["now"] else "then"
        spot, width = find_spot(centroid, when), _LETTER * min(len(centroid["cluster_label"]), TICK_LETTERS)
        boxes = {way: _find_box(spot, width, *way) for way in ways}
        side, level = min(ways, key=lambda way: sum(_overlap(boxes[way], other) for other in taken))
        taken.append(boxes[side, level])
        x, y = _find_place(centroid, when)
        xshift, yshift = _find_shift(side, level)
        figure.add_annotation(
            x=x,
            y=y,
            text=tick_name(centroid["cluster_label"]),
            showarrow=False,
            xanchor={1: "left", -1: "right", 0: "center"}[side],
            yanchor={1: "bottom", -1: "top", 0: "middle"}[level],
            xshift=xshift,
            yshift=yshift,
            font={"size": 12, "color": INK if when == "now" else MUTED},
            bgcolor="rgba(255,255,255,0.72)",
            borderpad=1,
        )


def _find_shift(side: int, level: int) -> tuple[float, float]:
    """Give how far a name begins from its centroid, px: to the left (-1) or right of it, below (-1) or above it."""
    away = _ASLANT if side and level else _BESIDE
    return side * away, level * away


def _find_box(spot: Sequence[float], width: float, side: int, level: int) -> Box:
    """Give the place of a name of `width` px; `side` and `level` as in `_find_shift`."""
    xshift, yshift = _find_shift(side, level)
    left = spot[0] + xshift - {1: 0.0, -1: width, 0: width / 2}[side]
    bottom = spot[1] + yshift - {1: 0.0, -1: _LINE, 0: _LINE / 2}[level]
    return left, bottom, left + width, bottom + _LINE


def _overlap(one: Box, two: Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0.0) * max(height, 0.0)


def draw_silhouettes(silhouette: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure | None:
    """Draw the mean silhouette of each segment, and of all rows; None where no segment has one.

    Parameters
    ----------
    silhouette : mapping
        overall, and by label segments (None for one without rows).
    colours : mapping of str to str
        By segment.
    """
    overall = silhouette["overall"]
    found = sorted((value, label) for label, value in silhouette["segments"].items() if value is not None)
    if not found:
        return None
    found = found if len(found) <= MAX_ROWS else [*found[: MAX_ROWS // 2], *found[-MAX_ROWS // 2 :]]
    figure = go.Figure()
    figure.add_bar(
        x=[round(value, 4) for value, _ in found],
        y=list(range(len(found))),
        orientation="h",
        width=0.6,
        marker={"color": [colours.get(label, THEN) for _, label in found]},
        text=[f"{value:.2f}" for value, _ in found],
        textposition="auto",
        insidetextfont={"color": "white"},
        hovertext=[f"{hover_name(label)}<br>silhouette {number(value, 3)}" for value, label in found],
        hoverinfo="text",
    )
    note = {"text": f"all rows {overall:.2f}", "font": {"color": MUTED}, "yanchor": "bottom"}
    figure.add_vline(overall, line={"color": MUTED, "dash": "dash", "width": 1.5}, annotation=note, layer="below")
    lay_out_plain(figure, min(MAP_HEIGHT, 120 + ROW_HEIGHT * len(found)), top=26)
    name_rows(figure, [label for _, label in found])
    lowest, highest = min(0.0, found[0][0]), max(found[-1][0], overall)
    return figure.update_xaxes(title={"text": "silhouette"}, range=[lowest * 1.25, highest * 1.18], zerolinecolor=THEN)
