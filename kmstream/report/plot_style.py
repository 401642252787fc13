"""How every figure looks: colours, names on axes and in hover texts, layouts. Names are data in them, never markup."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from kmstream.report.verdict import living_segments
from kmstream.wording import as_plot_text

INK, MUTED, GRID = "#111827", "#6b7280", "#eceef2"
NOW, THEN, PALE, WARN, ALERT = "#2563eb", "#9ca3af", "#bfdbfe", "#d97706", "#dc2626"
INVISIBLE = "rgba(0,0,0,0)"
SEGMENT_COLOURS = (
    *("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#65a30d"),
    *("#92400e", "#0f766e", "#4f46e5", "#e879a6", "#64748b", "#ca8a04", "#15803d", "#a21caf"),
)
HEIGHT, ROW_HEIGHT = 450, 34  # px; the height is that of evidently's widgets
MAX_ROWS = 24  # in that height; the tables name every segment
TICK_LETTERS = 18


def segment_colours(now: Iterable[str], then: Iterable[str] = ()) -> dict[str, str]:
    """Give each segment its colour, the same in all plots of a page: by name, those that ended last.

    Examples
    --------
    >>> list(segment_colours(["new", "kept"], ["kept", "ended"]))
    ['kept', 'new', 'ended']
    """
    names = [*sorted(set(now)), *sorted(set(then) - set(now))]
    return {name: SEGMENT_COLOURS[i % len(SEGMENT_COLOURS)] for i, name in enumerate(names)}


def colours_of(drift: Mapping[str, Any]) -> dict[str, str]:
    """Give the colour of each segment that drift.json tells of."""
    now = [segment["cluster_label"] for segment in living_segments(drift)]
    return segment_colours(now, [segment["cluster_label"] for segment in drift["segments"]])


def faded(colour: str, opacity: float) -> str:
    """Make a colour translucent.

    Examples
    --------
    >>> faded("#2563eb", 0.5)
    'rgba(37,99,235,0.5)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def tick_name(name: str) -> str:
    """Write a name as short as an axis or a legend has room for."""
    return as_plot_text(name, TICK_LETTERS)


def hover_name(name: str) -> str:
    """Write a name as long as a hover text has room for."""
    return as_plot_text(name, 60)


def name_ticks(names: Sequence[str]) -> dict[str, Any]:
    """Give the ticks of an axis that has a name at each of 0, 1, 2, and so on."""
    return {"tickmode": "array", "tickvals": list(range(len(names))), "ticktext": [tick_name(name) for name in names]}


def name_rows(figure: go.Figure, names: Sequence[str]) -> None:
    """Write names beside the rows of a figure, from the bottom up."""
    figure.update_yaxes(**name_ticks(names), showgrid=False)
    figure.update_yaxes(range=[-0.6, len(names) - 0.4], zeroline=False, ticksuffix=" ")


def lay_out_plain(figure: go.Figure, height: int, *, top: int = 10) -> go.Figure:
    """Give a figure without a legend the looks of the page; nothing in it can be zoomed."""
    return figure.update_layout(template=_PLAIN, height=height, margin={"t": top})


def lay_out_with_legend(figure: go.Figure, height: int) -> go.Figure:
    """Give a figure the looks of the page, with room for a legend or notes above it."""
    return figure.update_layout(template=_WITH_LEGEND, height=height)


def _make_template(axis: Mapping[str, Any], **layout: Any) -> go.layout.Template:  # noqa: ANN401 - what plotly takes
    """Make what a figure looks like where it does not say otherwise; plotly's own would be 7 kB in each."""
    axis = {"showgrid": True, "gridcolor": GRID, "zerolinecolor": GRID, **axis}
    colours = {"font": {"size": 12, "color": INK}, "paper_bgcolor": "white", "plot_bgcolor": "white"}
    return go.layout.Template(layout={"xaxis": axis, "yaxis": axis, **colours, **layout})


# Templates, because to update the layout of each figure takes ten times as long.
_PLAIN = _make_template(
    {"automargin": True, "fixedrange": True},
    margin={"l": 10, "r": 12, "b": 40},
    hoverlabel={"align": "left"},
    showlegend=False,
)
_WITH_LEGEND = _make_template(
    {},
    margin={"l": 10, "r": 16, "t": 34, "b": 44},
    legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
)
