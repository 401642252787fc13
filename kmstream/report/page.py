"""The page: a frame of plain HTML with the verdict and every table, and evidently's widgets inside it.

Evidently's own template puts names unescaped between script tags, has no title, and its tables can neither be printed
whole nor read on a phone. So the frame is ours, and evidently's code draws its widgets into places of it. The page
forbids itself every connection.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot

import kmstream
from kmstream.report import metrics, sample_metrics, sample_notes, separation, tables
from kmstream.report.facts import RunFacts
from kmstream.report.snapshot import MAX_FEATURES, SAMPLE_ROWS
from kmstream.report.verdict import LEVEL_NAMES, find_verdict, living_segments
from kmstream.report.widgets import Place, render_scripts, render_styles, trim_drift_table
from kmstream.report.wording import as_html, count, moment, number, percent, tell_moves

REASONS_SHOWN = 10
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    id, title : str
    parts : tuple of str
        HTML; the section is left out if all of them are empty.
    note : str
        HTML that tells how to read it.
    """

    id: str
    title: str
    parts: tuple[str, ...]
    note: str = ""

    def render(self) -> str:
        """Render the section."""
        note = f'<p class="muted">{self.note}</p>' if self.note else ""
        return f'<section id="{self.id}"><h2>{self.title}</h2>{note}{"".join(self.parts)}</section>'


def render_page(drift: Mapping[str, Any], snapshot: Snapshot, run: RunFacts) -> str:
    """Render the page of a run; `snapshot` is that of `build_snapshot`, drift and run as in `write_report`."""

    def widgets_of(*wanted: Metric) -> list[Any]:
        results = [snapshot.metric_results.get(metric.metric_id) for metric in wanted]
        return [widget for result in results if result is not None for widget in result.get_widgets()]

    places = {
        "shares": Place("plot-shares", widgets_of(metrics.SegmentShare(), metrics.SegmentShift())),
        "history": Place("plot-history", widgets_of(sample_metrics.ShareHistory())),
        "map": Place("plot-map", widgets_of(sample_metrics.SegmentMap(), sample_metrics.SegmentSilhouette())),
        "distributions": Place("plot-distributions", widgets_of(sample_metrics.FeatureDistributions())),
        "migration": Place("plot-migration", widgets_of(metrics.Migration())),
        "entities": Place("plot-entities", widgets_of(metrics.EntityMoves())),
        "fit": Place("plot-fit", widgets_of(metrics.FitHistory())),
        "features": Place("evidently-features", _feature_widgets(snapshot)),
    }
    sections = [section for section in _sections(drift, run, places) if any(section.parts)]
    title = f"{as_html(run.name)} {as_html(run.version)}"
    links = "".join(f'<a href="#{section.id}">{section.title}</a>' for section in sections)
    style = (files("kmstream.report") / "page.css").read_text(encoding="utf-8")
    body = "\n".join(section.render() for section in sections)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="kmstream {kmstream.__version__}">
<title>{title}, {as_html(moment(run.created))} ({_kind(run)})</title>
{render_styles()}
</head>
<body>
<main class="page">
<header>
<div class="over">kmstream, {_kind(run)}</div>
<h1>{title}</h1>
<p>{as_html(run.status)} {as_html(moment(run.created))}{_run_id(run)}{_partitions(drift)}</p>
</header>
{_verdict(drift, run)}
{_figures(drift, run)}
<nav>{links}</nav>
{body}
<footer>Made by kmstream {kmstream.__version__} with Evidently. One file, no network needed.
<noscript>The plots need JavaScript; every figure is in the tables.</noscript></footer>
</main>
<style>{style}</style>
{render_scripts(list(places.values()))}
</body>
</html>
"""


def _sections(drift: Mapping[str, Any], run: RunFacts, places: Mapping[str, Place]) -> Iterable[Section]:
    reference, current = drift.get("reference"), drift.get("current")
    compared = reference is not None
    then = f"Then is the data of {as_html(reference)}, now is {as_html(current)}. " if compared else ""
    moved = (
        "A radius is the typical distance of a row from its centre in the reference. Inertia is the mean squared "
        "distance, times that of the reference. Outliers lie beyond the distance that held 99&nbsp;% of the "
        "reference rows. The mark in a bar is the share then; a pale bar is a move within three standard errors, noise."
    )
    yield Section(
        "segments",
        "Segments",
        (
            tables.render_life_cycle(drift) if run.kind == "refresh" else "",
            tables.render_segments(drift),
            places["shares"].render(),
            places["history"].render(),
        ),
        then + (moved if compared else "Largest first."),
    )
    yield Section(
        "centres",
        "Centres",
        (tables.render_descriptions(drift), tables.render_centroids(drift)),
        "In original units. The darker a cell, the higher its segment ranks in that feature."
        + (f" What sets a segment apart is told of the rows of {as_html(run.version)}." if run.kind == "score" else ""),
    )
    yield Section(
        "map", "Where the segments lie", (places["map"].render(),), sample_notes.explain_map(run, compared=compared)
    )
    profile = drift.get("profile") or {}
    yield Section(
        "separation",
        "What separates the segments",
        (
            separation.render_features(profile),
            _titled("Pairs hardest to tell apart", separation.render_closest(profile)),
        ),
        separation.explain(profile),
    )
    yield Section(
        "distributions",
        "Distributions by segment",
        (places["distributions"].render(),),
        sample_notes.explain_distributions(run),
    )
    agreement = "" if drift.get("ari") is None else f" Their agreement (ARI) is {number(drift['ari'], 3)}; 1 is equal."
    yield Section(
        "migration",
        "From old segments to new ones",
        (
            _columns(
                [
                    places["migration"].render(),
                    _titled("Largest moves", tables.render_moves(drift.get("migration"), "Rows")),
                ]
            ),
        ),
        f"Every row was assigned by both models: how the rows of an old segment spread over the new ones.{agreement}",
    )
    yield Section(
        "names",
        "What speaks for the names",
        (tables.render_names(drift),),
        (
            "The features have changed, so names went by shared rows: the distance is the share that does not stay. "
            if drift.get("matched_by") == "overlap"
            else "Each name goes to a near centre, such that all distances together are least (in scaled units). "
        )
        + "The margin is what the best choice without this pair would cost more: near 0, the name could as well have "
        "gone elsewhere. By shared rows is the name that most rows in common would have given. A segment that keeps "
        "less than 70&nbsp;% of its old rows is marked.",
    )
    entities = drift.get("entities") or {}
    yield Section(
        "entities",
        f"Who moved: {as_html(entities.get('key', ''))}",
        (_columns([places["entities"].render(), _titled("Largest moves", tables.render_moves(entities, "Times"))]),)
        if entities
        else (),
        f"{as_html(tell_moves(entities))} Each is compared with the last time it was seen; who moved, and when, is in "
        f"{as_html(Path(entities['file']).name)} beside this page."
        if entities
        else "",
    )
    seen = "Evidently's look at samples"
    note = (
        f'<h3>{seen}</h3><p class="muted">At most {SAMPLE_ROWS:,} rows each, and {MAX_FEATURES} features, those with '
        "the largest PSI. Its limits are its own, and its scores do not compare from run to run. Open a row for the "
        "distributions.</p>"
    )
    widgets = places["features"].render()
    yield Section(
        "features",
        "Features",
        (tables.render_features(drift), note + widgets if widgets else ""),
        "PSI is counted over every row on frozen bins, so it compares from run to run. The two effects add up to the "
        "change of the mean: segments that grew or shrank, and rows that changed within their segments."
        if compared
        else "",
    )
    source = f"Thresholds: {as_html(str(drift.get('thresholds_from', 'configuration')))}. "
    yield Section(
        "measures",
        "Measures over all rows",
        (tables.render_totals(drift),),
        source + "What chance alone may make of so many rows is never drift." if compared else "",
    )
    fit = [_titled("Gate", tables.render_gate(run)), _titled("Passes", tables.render_passes(run))]
    yield Section("fit", "Gate and fit", (_columns([*fit, places["fit"].render()]),))
    facts = {"Run": run.run_id, "Created": run.created, "Partitions": run.partitions, "Rows": run.rows}
    facts |= {f"Rows skipped: {reason}": rows for reason, rows in run.rows_skipped.items()}
    facts |= {f"Seconds: {step}": seconds for step, seconds in run.seconds.items()}
    yield Section(
        "provenance",
        "Provenance",
        (_columns([tables.render_facts(run.provenance, label="From"), tables.render_facts(facts, label="This run")]),),
    )


def _verdict(drift: Mapping[str, Any], run: RunFacts) -> str:
    verdict = find_verdict(drift, run)
    items = [f'<li class="{as_html(reason.severity)}">{as_html(reason.text)}</li>' for reason in verdict.reasons]
    reasons = f"<ol>{''.join(items[:REASONS_SHOWN])}</ol>" if items else ""
    if more := items[REASONS_SHOWN:]:
        rest = f'<ol start="{REASONS_SHOWN + 1}">{"".join(more)}</ol>'
        reasons += f"<details><summary>{len(more)} more</summary>{rest}</details>"
    title = LEVEL_NAMES[verdict.level]
    return f'<div class="verdict {verdict.level}"><h2>{title}</h2><p>{as_html(verdict.sentence)}</p>{reasons}</div>'


def _figures(drift: Mapping[str, Any], run: RunFacts) -> str:
    totals = drift.get("totals") or {}
    skipped = sum(run.rows_skipped.values())
    shown = {
        "Rows": f"{run.rows:,}",
        "Rows skipped": f"{skipped:,}" if skipped else None,
        "Partitions": f"{run.partitions:,}" if run.partitions else None,
        "Segments": f"{len(living_segments(drift)):,}",
        "PSI of the shares": _unless_none(totals.get("share_psi")),
        "Largest shift, radii": _unless_none(totals.get("centroid_shift_radii")),
        "Inertia, times": _unless_none(totals.get("inertia_ratio")),
        "Outliers": None if totals.get("outlier_share") is None else percent(totals["outlier_share"]),
        "Agreement (ARI)": _unless_none(drift.get("ari")),
    }
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in shown.items() if value)
    return f'<dl class="figures">{cells}</dl>'


def _unless_none(value: float | None) -> str | None:
    return None if value is None else number(value, 3)


def _feature_widgets(snapshot: Snapshot) -> list[Any]:
    """Take the table of evidently's drift preset; its own verdict would stand beside ours and mean something else."""
    ours = {widget.id for result in snapshot.metric_results.values() for widget in result.get_widgets()}
    widgets = [w for w in snapshot.to_snapshot_model().widgets if w.id not in ours and w.type == "big_table"]
    return [trim_drift_table(widget) for widget in widgets]


def _titled(title: str, table: str) -> str:
    return f"<div><h3>{title}</h3>{table}</div>" if table else ""


def _columns(parts: Iterable[str]) -> str:
    content = "".join(parts)
    return f'<div class="columns">{content}</div>' if content else ""


def _run_id(run: RunFacts) -> str:
    return "" if run.run_id == run.version else f", run {as_html(run.run_id)}"


def _partitions(drift: Mapping[str, Any]) -> str:
    told = drift.get("partitions") or {}
    if not told.get("n"):
        return ""
    first, last = as_html(told["first"]), as_html(told["last"])
    return f"<br>{first}" if told["n"] == 1 else f"<br>{told['n']:,} partitions, {first} to {last}"


def _kind(run: RunFacts) -> str:
    return "report of a refit" if run.kind == "refresh" else f"report of {count(run.partitions, 'scored partition')}"
