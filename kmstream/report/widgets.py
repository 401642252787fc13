"""Evidently's widgets and the code that draws them, put into slots of our page.

Everything a script tag holds is JSON in which no ``<`` is left, so that no name can close the tag.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from evidently.legacy.model.widget import AdditionalGraphInfo, BaseWidgetInfo
from evidently.legacy.utils import NumpyEncoder

from kmstream.report.plot_style import NOW, THEN
from kmstream.wording import count

DETAIL_HEIGHT = 300  # px; the page leaves the height of a plot to its layout
_FONT = "@font-face {{ font-family: 'Material Icons'; src: url(data:font/woff2;base64,{}) format('woff2'); }}"
_ICONS = (
    ".material-icons { font: normal 24px/1 'Material Icons'; text-transform: none; display: inline-block; "
    "white-space: nowrap; direction: ltr; font-feature-settings: 'liga'; }"
)
# A report is a document: light on screen and in print, whatever the system prefers.
_LIGHT = (
    "(match => { window.matchMedia = query => "
    "match.call(window, query.replace('(prefers-color-scheme: dark)', 'not all')) })(window.matchMedia);"
)
_DRAW = (
    "for (const [id, slot] of Object.entries(kmstreamSlots)) "
    "drawDashboard({name: id, widgets: slot.widgets}, new Map(Object.entries(slot.graphs)), id);"
)
_TRACE_COLOURS = {"reference": THEN, "current": NOW}


@dataclass(frozen=True)
class Slot:
    """An element of the page that evidently draws into.

    Attributes
    ----------
    id : str
        Of the element.
    widgets : sequence of BaseWidgetInfo
    """

    id: str
    widgets: Sequence[Any]

    def render(self) -> str:
        """Render the empty element, or nothing if there is nothing to draw."""
        return f'<div class="widgets" id="{self.id}"></div>' if self.widgets else ""


def render_styles() -> str:
    """Render the styles evidently's widgets need: their icons."""
    return f"<style>{_FONT.format(base64.b64encode(_static('material-ui-icons.woff2')).decode())}{_ICONS}</style>"


def render_scripts(slots: Iterable[Slot]) -> str:
    """Render the scripts that draw into the slots: their content, evidently's code, the calls."""
    content = {slot.id: _content(slot.widgets) for slot in slots if slot.widgets}
    if not content:
        return ""
    data = json.dumps(content, cls=NumpyEncoder).replace("<", "\\u003c")
    library = _static("index.js").decode()
    scripts = [f"{_LIGHT} var global = globalThis, kmstreamSlots = {data};", library, _DRAW]
    return "\n".join(f"<script>{script}</script>" for script in scripts)


def trim_drift_table(widget: BaseWidgetInfo) -> BaseWidgetInfo:
    """Fit evidently's table of drifted columns into the page.

    All rows at once, in our colours, scores of three digits, and of the two plots of a row only the distribution: the
    other draws the values in the order of a random sample.
    """
    widget = widget.copy(deep=True)
    rows = widget.params["data"]
    drifted = sum(row["data_drift"] == "Detected" for row in rows)
    widget.title = f"{drifted} of {count(len(rows), 'column')} drifted, by evidently's limits"
    widget.params["rowsPerPage"] = max(len(rows), 1)
    for column in widget.params["columns"]:
        if "options" in column:
            column["options"]["color"] = THEN if column["field"].startswith("reference") else NOW
    kept: set[str] = set()
    for row in rows:
        row["drift_score"] = float(f"{row['drift_score']:.3g}")
        parts = row["details"]["parts"] = row["details"]["parts"][-1:]
        kept.update(part["id"] for part in parts)
    widget.additionalGraphs = [graph for graph in widget.additionalGraphs if graph.id in kept]
    for graph in widget.additionalGraphs:
        _show_percentages(graph.params)
    return widget


def _show_percentages(figure: dict[str, Any]) -> None:
    """Compare the two samples in percent, whatever their sizes; evidently draws both and hides this one."""
    bars = [trace for trace in figure["data"] if trace.get("visible") is False]
    for trace in bars:
        trace["visible"] = True
        trace["marker"] = {"color": _TRACE_COLOURS.get(trace.get("name"), NOW)}
    figure["data"] = bars or figure["data"]
    kept = {key: axis for key, axis in figure["layout"].items() if key == "xaxis"}
    figure["layout"] = kept | {
        "yaxis": {"title": {"text": "percent of the sample"}, "automargin": True},
        "height": DETAIL_HEIGHT,
        "margin": {"t": 20, "b": 50, "r": 10},
        "legend": {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
    }


def _content(widgets: Sequence[BaseWidgetInfo]) -> dict[str, Any]:
    graphs = {}
    for widget in widgets:
        for graph in widget.get_additional_graphs():
            graphs[graph.id] = graph.params if isinstance(graph, AdditionalGraphInfo) else graph.dict()
    return {"widgets": [widget.dict(exclude={"additionalGraphs"}) for widget in widgets], "graphs": graphs}


def _static(name: str) -> bytes:
    return (files("evidently") / "nbextension" / "static" / name).read_bytes()
