"""The page of a run: our frame with the verdict and every table, and evidently's widgets inside it.

Evidently's own template puts names unescaped between script tags, has no title, and its tables can neither be printed
whole nor read on a phone. So the frame is ours, and evidently's code draws its widgets into slots of it.
"""

from collections.abc import Mapping
from typing import Any

from evidently.core.metric_types import Metric
from evidently.core.report import Snapshot

from kmstream.drift_figures import AT_A_GLANCE, FIGURES, write_figure
from kmstream.report import metrics, sample_metrics
from kmstream.report.facts import RunFacts
from kmstream.report.frame import render_figures, render_frame, render_heading, render_verdict
from kmstream.report.sections import list_sections
from kmstream.report.verdict import LEVEL_NAMES, find_verdict, living_segments
from kmstream.report.widgets import Slot, render_scripts, render_styles, trim_drift_table
from kmstream.wording import as_html, count, moment, number


def render_page(drift: Mapping[str, Any], snapshot: Snapshot, run: RunFacts) -> str:
    """Render the page of a run; `snapshot` is that of `build_snapshot`, drift and run as in `write_report`."""
    slots = _fill_slots(snapshot)
    sections = [section for section in list_sections(drift, run, slots) if any(section.parts)]
    links = "".join(f'<a href="#{section.id}">{section.title}</a>' for section in sections)
    title, made = f"{as_html(run.name)} {as_html(run.version)}", as_html(moment(run.created))
    run_id = "" if run.run_id == run.version else f", run {as_html(run.run_id)}"
    kind = "report of a refit" if run.kind == "refresh" else f"report of {count(run.partitions, 'scored partition')}"
    parts = [
        render_heading(kind, title, f"{as_html(run.status)} {made}{run_id}{_tell_partitions(drift)}"),
        _verdict(drift, run),
        _figures(drift, run),
        f"<nav>{links}</nav>",
        *(section.render() for section in sections),
    ]
    scripts = render_scripts(slots.values())
    return render_frame(f"{title}, {made} ({kind})", parts, drawn_by="Evidently", scripts=scripts, head=render_styles())


def _fill_slots(snapshot: Snapshot) -> dict[str, Slot]:
    """Give the slots of the page by name, each with the widgets of some metrics; empty where a run has none."""

    def widgets_of(*wanted: Metric) -> list[Any]:
        results = [snapshot.metric_results.get(metric.metric_id) for metric in wanted]
        return [widget for result in results if result is not None for widget in result.get_widgets()]

    return {
        "shares": Slot("plot-shares", widgets_of(metrics.SegmentShare(), metrics.SegmentShift())),
        "history": Slot("plot-history", widgets_of(sample_metrics.ShareHistory())),
        "map": Slot("plot-map", widgets_of(sample_metrics.SegmentMap(), sample_metrics.SegmentSilhouette())),
        "distributions": Slot("plot-distributions", widgets_of(sample_metrics.FeatureDistributions())),
        "migration": Slot("plot-migration", widgets_of(metrics.Migration())),
        "entities": Slot("plot-entities", widgets_of(metrics.EntityMoves())),
        "fit": Slot("plot-fit", widgets_of(metrics.FitHistory())),
        "features": Slot("evidently-features", _feature_widgets(snapshot)),
    }


def _feature_widgets(snapshot: Snapshot) -> list[Any]:
    """Take the table of evidently's drift preset; its own verdict would stand beside ours and mean something else."""
    ours = {widget.id for result in snapshot.metric_results.values() for widget in result.get_widgets()}
    widgets = [w for w in snapshot.to_snapshot_model().widgets if w.id not in ours and w.type == "big_table"]
    return [trim_drift_table(widget) for widget in widgets]


def _tell_partitions(drift: Mapping[str, Any]) -> str:
    told = drift.get("partitions") or {}
    if not told.get("n"):
        return ""
    first, last = as_html(told["first"]), as_html(told["last"])
    return f"<br>{first}" if told["n"] == 1 else f"<br>{told['n']:,} partitions, {first} to {last}"


def _verdict(drift: Mapping[str, Any], run: RunFacts) -> str:
    verdict = find_verdict(drift, run)
    items = [f'<li class="{reason.severity}">{as_html(reason.text)}</li>' for reason in verdict.reasons]
    return render_verdict(verdict.level, LEVEL_NAMES[verdict.level], verdict.sentence, items)


def _figures(drift: Mapping[str, Any], run: RunFacts) -> str:
    totals, skipped = drift["totals"], sum(run.rows_skipped.values())
    shown = {"Rows": f"{run.rows:,}"}
    shown |= {"Rows skipped": f"{skipped:,}"} if skipped else {}
    shown |= {"Partitions": f"{run.partitions:,}"} if run.partitions else {}
    shown |= {"Segments": f"{len(living_segments(drift)):,}"}
    shown |= {FIGURES[key].title: write_figure(key, totals[key]) for key in AT_A_GLANCE if totals[key] is not None}
    shown |= {"Agreement (ARI)": number(drift["ari"], 3)} if drift["ari"] is not None else {}
    return render_figures(shown)
