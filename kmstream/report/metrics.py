"""Our exact figures as metrics of evidently, in our page and in its UI: drift, segments, features and the fit."""

from collections.abc import Iterable, Mapping
from typing import Any

from evidently.core.metric_types import ByLabelMetric, MetricResult, SingleValueMetric
from evidently.legacy.model.widget import Insight
from evidently.legacy.renderers.html_widgets import CounterData, counter, text_widget

from kmstream.drift_figures import FIGURES, write_figure
from kmstream.reasons import SEVERITIES
from kmstream.report.calculation import ByLabel, Named, SingleValue, numbers, show_figure, show_table
from kmstream.report.change_plots import draw_passes, draw_shares, draw_shifts, title_changed
from kmstream.report.drift_tests import ThresholdTest, judge_gate
from kmstream.report.facts import RunFacts
from kmstream.report.flow_plots import draw_flows, draw_migration
from kmstream.report.verdict import LEVEL_NAMES, find_verdict
from kmstream.wording import by_size, number, percent

_ALERT_COLOURS = {"ok": "success", "first": "info", "warn": "warning", "held": "warning", "alert": "error"}

# Evidently ships no types, so mypy knows its classes as Any: hence the ignores below.


class DriftSeverity(Named, SingleValueMetric):  # type: ignore[misc]
    """The verdict: 0 ok, 1 warn, 2 alert."""


class _DriftSeverity(SingleValue[DriftSeverity]):
    NAME = "Drift severity (0 ok, 1 warn, 2 alert)"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        verdict = find_verdict(drift, run)
        widget = text_widget(text="", title=f"{run.name} {run.version}")
        colour, title = _ALERT_COLOURS[verdict.level], LEVEL_NAMES[verdict.level]
        widget.insights = [Insight(title=title, severity=colour, text=verdict.sentence)] + [
            Insight(title="", severity=_ALERT_COLOURS[reason.severity], text=reason.text) for reason in verdict.reasons
        ]
        result = self.result(SEVERITIES.index(drift["severity"]))
        result.widget = [widget]
        return result

    def judge(self, drift: Mapping[str, Any], run: RunFacts) -> Iterable[ThresholdTest]:
        return judge_gate(run)


class DriftTotals(Named, ByLabelMetric):  # type: ignore[misc]
    """The measures over all rows: rows, PSI of the shares, inertia ratio, share of outliers."""


class _DriftTotals(ByLabel[DriftTotals]):
    NAME = "Drift over all rows"
    MEASURES = ("share_psi", "inertia_ratio", "outlier_share")

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        totals = numbers(drift["totals"])
        counters = [CounterData(FIGURES[key].title, write_figure(key, value)) for key, value in totals.items()]
        result = self.result(totals)
        result.widget = [counter(counters=counters)]
        return result


class SegmentRows(Named, ByLabelMetric):  # type: ignore[misc]
    """Rows per segment."""


class _SegmentRows(ByLabel[SegmentRows]):
    NAME = "Rows per segment"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        columns = {"label": "Segment", "status": "Status", "rows": "Rows", "then": "Share then", "now": "Share now"}
        rows = [
            {
                "label": s["cluster_label"],
                "status": s["status"],
                "rows": number(s["rows"]),
                "then": percent(s["reference_share"]),
                "now": percent(s["share"]),
            }
            for s in by_size(drift["segments"])
        ]
        result = self.result(_per_segment(drift, "rows"))
        result.widget = show_table("Segments", columns, rows)
        return result


class SegmentShare(Named, ByLabelMetric):  # type: ignore[misc]
    """The share of the rows in each segment, exact, now and in the reference."""


class _SegmentShare(ByLabel[SegmentShare]):
    NAME = "Share of the rows per segment"
    MEASURES = ("share_change",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        then = _per_segment(drift, "reference_share")
        result = self.result(_per_segment(drift, "share"))
        title = title_changed("Shares, then and now" if then else "Shares", len(drift["segments"]))
        result.widget = show_figure(title, draw_shares(drift))
        return (result, self.result(then)) if then else result


class SegmentShift(Named, ByLabelMetric):  # type: ignore[misc]
    """How far the centroid of each segment moved, in radii of its reference segment, exact."""


class _SegmentShift(ByLabel[SegmentShift]):
    NAME = "Shift of the centroid per segment, in radii"
    MEASURES = ("centroid_shift",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result = self.result(_per_segment(drift, "centroid_shift_radii"))
        title = title_changed("How far the centroids moved", len(result.values))
        result.widget = show_figure(title, draw_shifts(drift))
        return result


class FeaturePSI(Named, ByLabelMetric):  # type: ignore[misc]
    """PSI of each feature over every row, on frozen bins: comparable from run to run."""


class _FeaturePSI(ByLabel[FeaturePSI]):
    NAME = "PSI per feature, on frozen bins"
    MEASURES = ("feature_psi",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        columns = {"feature": "Feature", "psi": "PSI", "then": "Mean then", "now": "Mean now"}
        rows = [
            {
                "feature": f["feature"],
                "psi": number(f["psi"], 3),
                "then": number(f["mean_from"]),
                "now": number(f["mean_to"]),
            }
            for f in drift["features"]
        ]
        result = self.result(numbers({f["feature"]: f["psi"] for f in drift["features"]}))
        result.widget = show_table("Features", columns, rows)
        return result


class Migration(Named, SingleValueMetric):  # type: ignore[misc]
    """Adjusted Rand index between the old and the new segments, over every row."""


class _Migration(SingleValue[Migration]):
    NAME = "Agreement of old and new segments (ARI)"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result, migration = self.result(float(drift["ari"])), drift["migration"]
        result.widget = show_figure("From the old segments to the new ones", draw_flows(migration, "rows"))
        if not result.widget:
            title = title_changed("Shares of the old segments", len(migration["labels_from"]))
            result.widget = show_figure(title, draw_migration(migration))
        return result


class EntityMoves(Named, SingleValueMetric):  # type: ignore[misc]
    """How often an entity was in another segment than the time before, as a share of those that were seen again."""


class _EntityMoves(SingleValue[EntityMoves]):
    NAME = "Share of entities that changed their segment"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        entities = drift["entities"]
        result = self.result(entities["moves"] / max(entities["compared"], 1))
        result.widget = show_figure("From one time to the next", draw_flows(entities, "times"))
        return result


class FitHistory(Named, ByLabelMetric):  # type: ignore[misc]
    """Inertia per row after each pass of the fit."""


class _FitHistory(ByLabel[FitHistory]):
    NAME = "Inertia per row, pass by pass"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result = self.result(numbers({p["pass"]: p["inertia_per_row"] for p in run.passes}))
        result.widget = show_figure("Fit, pass by pass", draw_passes(run.passes))
        return result


def _per_segment(drift: Mapping[str, Any], key: str) -> dict[str, float]:
    """Give a figure of each segment, by name: one order in every plot over time."""
    by_name = sorted(drift["segments"], key=lambda segment: str(segment["cluster_label"]))
    return numbers({segment["cluster_label"]: segment[key] for segment in by_name})
