"""The page of choose-k: what each number of segments is worth, drawn and in a table, and which one that speaks for.

Plotly draws it by itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.offline

from kmstream.report.frame import render_figures, render_frame, render_heading, render_verdict
from kmstream.report.markup import Column, render_table
from kmstream.report.plot_style import NOW, PALE, lay_out_plain
from kmstream.wording import as_html, as_sentence, hundredths, moment, number, percent

_HEIGHT = 300
MAX_TICKS = 16  # beyond, plotly chooses which k to write
_STYLE = """
.chosen { background: #dbeafe; color: #1e40af; }
.scroll tbody th { min-width: 2.5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); gap: 0 1.5rem; }
.plots > * { min-width: 0; overflow: hidden; }
.read { margin: 0; } .read dt { font-weight: 600; } .read dd { margin: 0 0 .6rem; max-width: 46rem; }
"""
_DRAW = """
for (const [place, figure] of Object.entries(figures)) {
  Plotly.newPlot(place, figure.data, figure.layout, {displayModeBar: false});
  new ResizeObserver(([entry]) => Plotly.relayout(place, {width: entry.contentRect.width}))
    .observe(document.getElementById(place).parentElement);
}
"""
_HOW_TO_READ = {
    "Silhouette": "How much nearer rows are to their own segment than to the next one: 1 is tight and apart, 0 is "
    "overlap. Above 0.7 the structure is strong, above 0.5 reasonable, below 0.25 there is hardly any.",
    "Stability": "Whether other rows give the same segments: half of the rows are fitted, then the other half, and all "
    "are assigned by both. Mean adjusted Rand index of several such pairs; 1 is the same, 0 is chance.",
    "Inertia per row": "Mean squared distance of a row to its centroid, in scaled units. It always falls as k grows; a "
    "bend, the elbow, is where more segments begin to bring less.",
    "Davies-Bouldin": "How far each segment reaches into its worst neighbour. Lower is better.",
    "Calinski-Harabasz": "Variance between segments over variance within. Higher is better, within one table.",
    "Smallest": "Share of the rows in the smallest segment. A refresh holds a version whose smallest is below "
    "model.min_cluster_share.",
}
_AGREEMENT = (
    "Agreement of the segments with the classes, at the sampled rows that have one: 1 is the same, 0 is chance."
)


def render_choice(result: Mapping[str, Any], *, created: str) -> str:
    """Render the page.

    Parameters
    ----------
    result : mapping
        What `kmstream choose-k --json` prints.
    created : str
        ISO 8601 time.
    """
    title = f"{as_html(result['name'])}: how many segments?"
    figures = _draw_measures(result)
    places = {title: f"plot-{i}" for i, title in enumerate(figures)}
    plots = "".join(f'<div><h3>{title}</h3><div id="{place}"></div></div>' for title, place in places.items())
    line = "The line marks the recommended k. " if result["recommended"] else ""
    parts = [
        render_heading("choice of k", title, f"{as_html(moment(created))}, {_tell_rows(result)}"),
        _verdict(result),
        _figures(result),
        f"""<section id="plots"><h2>Measures by k</h2>
<p class="muted">{line}{_tell_elbow(result)}</p>
<div class="plots">{plots}</div></section>""",
        f'<section id="table"><h2>Every k</h2>{render_candidates(result)}</section>',
        f'<section id="read"><h2>How to read it</h2>{_explain_measures(result)}</section>',
    ]
    scripts = f"<script>{plotly.offline.get_plotlyjs()}</script>\n" + _draw(
        {places[title]: figure for title, figure in figures.items()}
    )
    return render_frame(title, parts, drawn_by="Plotly", scripts=scripts, style=_STYLE)


def _draw_measures(result: Mapping[str, Any]) -> dict[str, go.Figure]:
    """Draw the measures that tell most, by title; without those that no k has."""
    candidates, chosen = result["k"], result["recommended"]
    drawn = {
        "Silhouette": draw_measure(candidates, "silhouette", chosen),
        "Stability": draw_measure(candidates, "stability", chosen, top=1.0),
        "Inertia per row": draw_measure(candidates, "inertia_per_row", chosen),
    }
    return {title: figure for title, figure in drawn.items() if figure is not None}


def _explain_measures(result: Mapping[str, Any]) -> str:
    truth = result.get("truth")
    meanings = _HOW_TO_READ | ({f"ARI, NMI with {truth}": _AGREEMENT} if truth else {})
    read = "".join(f"<dt>{as_html(term)}</dt><dd>{as_html(text)}</dd>" for term, text in meanings.items())
    return f'<dl class="read">{read}</dl>'


def render_candidates(result: Mapping[str, Any]) -> str:
    """Render the table of every k; the recommended one is marked."""
    candidates, chosen = result["k"], result["recommended"]

    def figures(title: str, key: str, write: Callable[[Any], str] = number) -> Column:
        return Column(title, [write(one.get(key)) for one in candidates])

    marked = [
        f'<span class="chip chosen">{one["k"]}</span>' if one["k"] == chosen else str(one["k"]) for one in candidates
    ]
    columns = [
        Column("k", marked),
        figures("Silhouette", "silhouette", hundredths),
        figures("Stability", "stability", hundredths),
        figures("Inertia per row", "inertia_per_row"),
        figures("Davies-Bouldin", "davies_bouldin", hundredths),
        figures("Calinski-Harabasz", "calinski_harabasz"),
        figures("Smallest", "smallest_share", percent),
    ]
    if truth := result.get("truth"):
        columns += [figures(f"ARI with {truth}", "ari", hundredths), figures(f"NMI with {truth}", "nmi", hundredths)]
    return render_table(columns, label="Measures of every k")


def draw_measure(
    candidates: Sequence[Mapping[str, Any]], key: str, chosen: int | None, *, top: float | None = None
) -> go.Figure | None:
    """Draw one measure over k; None if no k has it.

    Parameters
    ----------
    candidates : sequence of mapping
    key : str
    chosen : int or None
        The k that gets a line.
    top : float, optional
        Upper end of an axis that begins at 0.
    """
    known = [one for one in candidates if one[key] is not None]
    if not known:
        return None
    ks, values = [one["k"] for one in known], [one[key] for one in known]
    figure = go.Figure()
    if chosen is not None:
        figure.add_vline(chosen, line={"color": PALE, "width": 6}, layer="below")
    marker = {"size": [12 if k == chosen else 8 for k in ks], "color": NOW}
    figure.add_scatter(
        x=ks,
        y=values,
        mode="lines+markers",
        line={"color": NOW, "width": 2},
        marker=marker,
        hovertext=[f"k = {k}: {number(value)}" for k, value in zip(ks, values, strict=True)],
        hoverinfo="text",
        cliponaxis=False,
    )
    ticks = {"tickmode": "array", "tickvals": ks} if len(ks) <= MAX_TICKS else {}
    figure.update_xaxes(**ticks, title="k", showgrid=False, zeroline=False)
    low = min(0.0, *values) if top else None
    ends = {"range": [low, top * 1.03]} if top else {"rangemode": "tozero"}
    figure.update_yaxes(**ends, zeroline=False)
    return lay_out_plain(figure, _HEIGHT)


def _draw(figures: Mapping[str, go.Figure]) -> str:
    """Render the script that draws the figures, once the whole page is laid out."""
    content = ",".join(f'"{place}":{figure.to_json()}' for place, figure in figures.items()).replace("<", "\\u003c")
    return f"<script>const figures = {{{content}}};\n{_DRAW}</script>"


def _verdict(result: Mapping[str, Any]) -> str:
    chosen = result["recommended"]
    level, title = ("ok", f"{chosen} segments") if chosen else ("warn", "No k stands out")
    sentence = result["reason"].removeprefix("no k stands out: ")
    return render_verdict(
        level, title, as_sentence(sentence), [f"<li>{as_html(note)}</li>" for note in result["notes"]]
    )


def _figures(result: Mapping[str, Any]) -> str:
    best = next((one for one in result["k"] if one["k"] == result["recommended"]), None)
    shown = {"Recommended": number(result["recommended"])}
    if best is not None:
        shown |= {"Silhouette": hundredths(best["silhouette"]), "Stability (ARI)": hundredths(best["stability"])}
    shown |= {"Elbow": number(result["elbow"]), "Rows": f"{result['rows']:,}", "Sampled": f"{result['sample_rows']:,}"}
    return render_figures(shown)


def _tell_rows(result: Mapping[str, Any]) -> str:
    scaling = result["scaling"]
    whose = "the scaling learnt from these rows" if scaling == "new" else f"the frozen scaling of {as_html(scaling)}"
    return f"{result['sample_rows']:,} of {result['rows']:,} rows, in {whose}"


def _tell_elbow(result: Mapping[str, Any]) -> str:
    elbow = result["elbow"]
    return f"The inertia bends most at {elbow}." if elbow else "The inertia has no clear bend."
