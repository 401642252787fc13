"""Where the segments lie, how well they hold together, and how their shares changed from run to run."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import plotly.graph_objects as go

from kmstream.report.plots import GRID, INK, MAX_ROWS, MUTED, SEGMENT_COLOURS, THEN, faded, segment_colours
from kmstream.report.verdict import by_size, living_segments
from kmstream.report.wording import as_plot_text, moment, number, percent

LEAST_POINTS = 3  # in time: fewer are no history
MAX_LINES = 12
MAP_HEIGHT, STRIP_HEIGHT = 480, 230
_MAP_SIZE = (300.0, 380.0)  # px that names are placed for: a phone, else they have more room
_LETTER, _LINE, _OFF = 6.6, 15.0, 9.0  # px: width of a letter, height of a name, distance of a name from its centre

Box = tuple[float, float, float, float]


def colours_of(drift: Mapping[str, Any]) -> dict[str, str]:
    """Give the colour of each segment that drift.json tells of."""
    now = [str(s.get("cluster_label")) for s in living_segments(drift)]
    return segment_colours(now, [str(s.get("cluster_label")) for s in drift.get("segments") or ()])


def draw_map(found: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure:
    """Draw sampled rows and the centres of now and then on the axes on which the rows differ most.

    Where the rows differ in one way only they are a strip, with the centres above it.

    Parameters
    ----------
    found : mapping
        What `kmstream.projection.tell_map` gives.
    colours : mapping of str to str
        By segment.
    """
    axes, centres = found["axes"], found["centres"]
    flat = len(axes) == 1
    frame = [*found["frame"], [-1.0, 1.0]][:2]
    figure, rng = go.Figure(), np.random.default_rng(0)
    for label, places in found["rows"].items():
        x, y = [*places, rng.uniform(-0.75, -0.25, len(places[0])).round(3).tolist()][:2]
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            marker={"size": 4, "color": faded(_colour(colours, label), 0.4)},
            hovertext=as_plot_text(label, 60),
            hoverinfo="text",
        )

    def place(centre: Mapping[str, Any], when: str) -> list[float]:
        return [*centre[when], 0.25][:2]

    for centre in centres:
        if centre["now"] and centre["then"]:
            x, y, ax, ay = *place(centre, "now"), *place(centre, "then")
            figure.add_annotation(
                x=x,
                y=y,
                ax=ax,
                ay=ay,
                axref="x",
                ayref="y",
                text="",
                arrowhead=2,
                arrowwidth=1.6,
                arrowcolor=INK,
                standoff=6,
                startstandoff=6,
            )
    for when in ("then", "now"):
        there = [centre for centre in centres if centre[when]]
        shades = [_colour(colours, centre["cluster_label"]) for centre in there]
        now = {"size": 13, "color": shades, "line": {"color": "white", "width": 2}}
        then = {"size": 11, "color": "white", "line": {"color": shades, "width": 2.5}}
        figure.add_scatter(
            x=[place(centre, when)[0] for centre in there],
            y=[place(centre, when)[1] for centre in there],
            mode="markers",
            name=f"centre {when}",
            marker=now if when == "now" else then,
            hovertext=[f"{as_plot_text(centre['cluster_label'], 60)}<br>centre {when}" for centre in there],
            hoverinfo="text",
        )
    if len(centres) <= MAX_ROWS:
        named = [
            (c["cluster_label"], place(c, "now" if c["now"] else "then"), INK if c["now"] else MUTED) for c in centres
        ]
        dots = [place(c, when) for c in centres for when in ("now", "then") if c[when]]
        _name_centres(figure, named, dots, frame)
    titles = [
        f"PC{i}, {axis['explained']:.0%} of variance<br>"
        + ", ".join(as_plot_text(name, 14) for name in axis["strongest"])
        for i, axis in enumerate(axes, 1)
    ]
    lay_out_plain(figure, STRIP_HEIGHT if flat else MAP_HEIGHT)
    figure.update_xaxes(title={"text": titles[0]}, range=frame[0], zeroline=False)
    figure.update_yaxes(range=frame[1], zeroline=False, visible=not flat)
    if not flat:
        figure.update_yaxes(title={"text": titles[1]})
    return figure


def draw_silhouettes(silhouette: Mapping[str, Any], colours: Mapping[str, str]) -> go.Figure | None:
    """Draw the mean silhouette of each segment, and of all rows; None where there is none.

    Parameters
    ----------
    silhouette : mapping
        overall, and by label segments (None for one without rows).
    colours : mapping of str to str
    """
    found = sorted(((s, label) for label, s in (silhouette.get("segments") or {}).items() if s is not None))
    overall = silhouette.get("overall")
    if overall is None or not found:
        return None
    found = found if len(found) <= MAX_ROWS else [*found[: MAX_ROWS // 2], *found[-MAX_ROWS // 2 :]]
    figure = go.Figure()
    figure.add_bar(
        x=[round(value, 4) for value, _ in found],
        y=list(range(len(found))),
        orientation="h",
        width=0.6,
        marker={"color": [_colour(colours, label) for _, label in found]},
        text=[f"{value:.2f}" for value, _ in found],
        textposition="auto",
        insidetextfont={"color": "white"},
        hovertext=[f"{as_plot_text(label, 60)}<br>silhouette {number(value, 3)}" for value, label in found],
        hoverinfo="text",
    )
    note = {"text": f"all rows {overall:.2f}", "font": {"color": MUTED}, "yanchor": "bottom"}
    figure.add_vline(overall, line={"color": MUTED, "dash": "dash", "width": 1.5}, annotation=note, layer="below")
    lay_out_plain(figure, min(MAP_HEIGHT, 120 + 34 * len(found)), top=26)
    name_rows(figure, [label for _, label in found])
    lowest, highest = min(0.0, found[0][0]), max(found[-1][0], overall)
    figure.update_xaxes(title={"text": "silhouette"}, range=[lowest * 1.25, highest * 1.18], zerolinecolor=THEN)
    return figure


def draw_history(history: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> go.Figure | None:
    """Draw the share of each segment from run to run; None with fewer than three runs.

    Parameters
    ----------
    history : sequence of mapping
        By time, this run last: time (ISO 8601), kind ("refresh" or "score"), shares by label.
    colours : mapping of str to str
        Those of the page; segments that have ended since get what is left.
    """
    if len({run["time"] for run in history}) < LEAST_POINTS:
        return None
    largest: dict[str, float] = {}
    for run in history:
        for label, share in run["shares"].items():
            largest[label] = max(share or 0.0, largest.get(label, 0.0))
    shown = sorted(largest, key=lambda label: (label not in colours, -largest[label]))[:MAX_LINES]
    shades = dict(colours)
    for label in sorted(largest):
        shades.setdefault(label, SEGMENT_COLOURS[len(shades) % len(SEGMENT_COLOURS)])
    symbols = ["diamond" if run["kind"] == "refresh" else "circle" for run in history]
    figure = go.Figure()
    for label in sorted(shown):
        shares = [run["shares"].get(label) for run in history]
        figure.add_scatter(
            x=[run["time"] for run in history],
            y=shares,
            mode="lines+markers",
            name=as_plot_text(label, 18),
            line={"color": shades[label], "width": 2},
            marker={"size": [9 if symbol == "diamond" else 5 for symbol in symbols], "symbol": symbols},
            hovertext=[
                f"{as_plot_text(label, 60)}: {percent(share)}<br>{run['kind']}, {as_plot_text(moment(run['time']), 60)}"
                for run, share in zip(history, shares, strict=True)
            ],
            hoverinfo="text",
        )
    lay_out_plain(figure, 340 + 20 * (len(shown) // 3))
    figure.update_xaxes(type="date", showgrid=False)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", title={"text": "share of the rows"})
    return figure.update_layout(showlegend=True, legend={"orientation": "h", "x": 0, "y": -0.14, "yanchor": "top"})


def title_history(n_segments: int) -> str:
    """Say in the title of the history how to read it, and what it leaves out."""
    largest = f", the {MAX_LINES} largest of {n_segments} segments" if n_segments > MAX_LINES else ""
    return f"Shares over time{largest}; a diamond is a refit"


def of_all_runs(drift: Mapping[str, Any], history: Sequence[Mapping[str, Any]], time: str, kind: str) -> list[Any]:
    """Give the runs before, and this one, whose shares are in drift.json."""
    shares = {str(s.get("cluster_label")): s.get("share") for s in by_size(drift) if s.get("share") is not None}
    return [*(run for run in history if run["time"] < time), {"time": time, "kind": kind, "shares": shares}]


def name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Write names beside the rows of a figure, from the bottom up."""
    text = [as_plot_text(name, 18) for name in names]
    figure.update_yaxes(tickmode="array", tickvals=list(range(len(names))), ticktext=text, showgrid=False)
    figure.update_yaxes(range=[-0.6, len(names) - 0.4], zeroline=False, ticksuffix=" ")


def lay_out_plain(figure: go.Figure, height: int, *, top: int = 10) -> go.Figure:
    """Give a figure the looks of the page; plotly's own template would be 7 kB in each."""
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True, "fixedrange": True}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 10, "r": 12, "t": top, "b": 40},
        font={"size": 12, "color": INK},
        hoverlabel={"align": "left"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        showlegend=False,
    )
    return figure.update_xaxes(**axis).update_yaxes(**axis)


def _colour(colours: Mapping[str, str], label: str) -> str:
    return colours.get(label, THEN)


def _name_centres(
    figure: go.Figure,
    named: Sequence[tuple[str, list[float], str]],
    dots: Sequence[list[float]],
    frame: Sequence[list[float]],
) -> None:
    """Write names (with their places and colours) beside centres: each where it hides the least of names and dots."""
    scale = [size / ((high - low) or 1.0) for size, (low, high) in zip(_MAP_SIZE, frame, strict=True)]

    def find_spot(at: Sequence[float]) -> list[float]:
        return [(v - low) * by for v, (low, _), by in zip(at, frame, scale, strict=True)]

    taken: list[Box] = [(x - 7, y - 7, x + 7, y + 7) for x, y in map(find_spot, dots)]
    for label, (x, y), colour in named:
        spot = find_spot((x, y))
        text = as_plot_text(label, 18)
        width = _LETTER * min(len(label), 18)
        ways = [
            (side, level, _box(spot, width, side, level))
            for level, side in product((0, 1, -1), (1, -1, 0))
            if side or level
        ]
        side, level, box = min(ways, key=lambda way: sum(_overlap(way[2], other) for other in [*taken, *_EDGES]))
        taken.append(box)
        figure.add_annotation(
            x=x,
            y=y,
            text=text,
            showarrow=False,
            xanchor={1: "left", -1: "right", 0: "center"}[side],
            yanchor={1: "bottom", -1: "top", 0: "middle"}[level],
            xshift=side * (_OFF if not level else 5),
            yshift=level * (_OFF if not side else 5),
            font={"size": 12, "color": colour},
            bgcolor="rgba(255,255,255,0.72)",
            borderpad=1,
        )


_FAR = 10_000.0
_EDGES: tuple[Box, ...] = (  # what lies outside of the frame
    (-_FAR, -_FAR, 0.0, _FAR),
    (_MAP_SIZE[0], -_FAR, _FAR, _FAR),
    (-_FAR, -_FAR, _FAR, 0.0),
    (-_FAR, _MAP_SIZE[1], _FAR, _FAR),
)


def _box(spot: Sequence[float], width: float, side: int, level: int) -> Box:
    """Give the place of a name in px, to the left (-1) or right of its centre, below (-1) or above it."""
    left = spot[0] + {1: _OFF if not level else 5.0, -1: -width - (_OFF if not level else 5.0), 0: -width / 2}[side]
    bottom = spot[1] + {1: _OFF if not side else 5.0, -1: -_LINE - (_OFF if not side else 5.0), 0: -_LINE / 2}[level]
    return left, bottom, left + width, bottom + _LINE


def _overlap(one: Box, two: Box) -> float:
    width = min(one[2], two[2]) - max(one[0], two[0])
    height = min(one[3], two[3]) - max(one[1], two[1])
    return max(width, 0.0) * max(height, 0.0)
