"""More of our figures as metrics of evidently: life cycle, history of the shares, and what the sampled rows show.

Like those of `metrics` they have no field; the figures of the sample are among the facts of the run.
"""

from collections.abc import Mapping
from typing import Any

from evidently.core.metric_types import ByLabelMetric, Metric, MetricResult, SingleValueMetric
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter, plotly_figure

from kmstream.report.distribution_plots import draw_boxes, draw_categories, draw_histogram
from kmstream.report.facts import RunFacts
from kmstream.report.metrics import ByLabel, Named, SingleValue, numbers
from kmstream.report.segment_plots import (
    colours_of,
    draw_history,
    draw_map,
    draw_silhouettes,
    of_all_runs,
    title_history,
)
from kmstream.report.tables import count_statuses
from kmstream.report.wording import shorten


def choose_metrics(drift: Mapping[str, Any], run: RunFacts) -> list[Metric]:
    """Choose the metrics of this room that a run has figures for."""
    chosen: list[Metric] = [ShareHistory()] if run.history else []
    if run.kind == "refresh":
        chosen.append(LifeCycle())
    if any(segment.get("overlap") is not None for segment in drift.get("segments") or ()):
        chosen.append(SegmentOverlap())
    if run.sample.get("map"):
        chosen.append(SegmentMap())
    if run.sample.get("distributions"):
        chosen.append(FeatureDistributions())
    if (run.sample.get("silhouette") or {}).get("overall") is not None:
        chosen.append(SegmentSilhouette())
    return chosen


class LifeCycle(Named, ByLabelMetric):  # type: ignore[misc]
    """How many segments were kept, split or merged, and how many emerged or retired."""


class _LifeCycle(ByLabel[LifeCycle]):
    NAME = "Segments by what became of them"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        counts = count_statuses(drift)
        result = self.result({status: float(n) for status, n in counts.items()})
        result.widget = [counter(counters=[CounterData(status, str(n)) for status, n in counts.items()])]
        return result


class SegmentOverlap(Named, ByLabelMetric):  # type: ignore[misc]
    """The share of the rows of each old segment that stayed with its name, over every row."""


class _SegmentOverlap(ByLabel[SegmentOverlap]):
    NAME = "Share of the old rows that stayed with their segment's name"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        segments = drift.get("segments") or ()
        return self.result(numbers({str(s.get("cluster_label")): s.get("overlap") for s in segments}))


class ShareHistory(Named, SingleValueMetric):  # type: ignore[misc]
    """How many runs the plot of the shares over time shows."""


class _ShareHistory(SingleValue[ShareHistory]):
    NAME = "Runs in the history of the shares"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        runs = of_all_runs(drift, run.history, run.created, run.kind)
        figure = draw_history(runs, colours_of(drift))
        title = title_history(len({label for one in runs for label in one["shares"]}))
        result = self.result(len(runs))
        result.widget = [] if figure is None else [_plot(title, figure, WidgetSize.FULL)]
        return result


class SegmentMap(Named, SingleValueMetric):  # type: ignore[misc]
    """The share of the variance of the sampled rows that the map of the segments shows."""


class _SegmentMap(SingleValue[SegmentMap]):
    NAME = "Share of the variance on the map"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        found = run.sample["map"]
        result = self.result(sum(axis["explained"] for axis in found["axes"]))
        result.widget = [_plot("Map of rows and centres", draw_map(found, colours_of(drift)))]
        return result


class SegmentSilhouette(Named, ByLabelMetric):  # type: ignore[misc]
    """The mean silhouette of the sampled rows of each segment."""


class _SegmentSilhouette(ByLabel[SegmentSilhouette]):
    NAME = "Silhouette per segment, on sampled rows"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        silhouette = run.sample["silhouette"]
        result = self.result(numbers(silhouette["segments"]))
        figure = draw_silhouettes(silhouette, colours_of(drift))
        result.widget = [] if figure is None else [_plot("Silhouette per segment", figure)]
        return result


class FeatureDistributions(Named, SingleValueMetric):  # type: ignore[misc]
    """How many sampled rows the distributions by segment are of."""


class _FeatureDistributions(SingleValue[FeatureDistributions]):
    NAME = "Sampled rows in the distributions by segment"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        colours, told = colours_of(drift), run.sample["distributions"]
        result, widgets = self.result(run.sample["sample_rows"]), list[BaseWidgetInfo]()
        for found in sorted(told, key=lambda one: one["kind"] == "category"):  # two plots of a number in each line
            if found["kind"] == "category":
                widgets.append(_plot(found["feature"], draw_categories(found)))
            else:
                widgets.append(_plot(found["feature"], draw_histogram(found, colours)))
                widgets.append(_plot(f"{found['feature']}: quartiles", draw_boxes(found, colours)))
        result.widget = widgets
        return result


def _plot(title: str, figure: Any, size: WidgetSize = WidgetSize.HALF) -> BaseWidgetInfo:  # noqa: ANN401 # untyped
    return plotly_figure(title=shorten(title, 80), figure=figure, size=size)
