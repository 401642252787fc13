"""More of our figures as metrics of evidently: life cycle, history of the shares, and what the sampled rows show.

The figures of the sample are among the facts of the run.
"""

from collections.abc import Mapping
from typing import Any

from evidently.core.metric_types import ByLabelMetric, MetricResult, SingleValueMetric
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import CounterData, WidgetSize, counter

from kmstream.report.calculation import ByLabel, Named, SingleValue, numbers, show_figure
from kmstream.report.change_plots import draw_history, of_all_runs, title_history
from kmstream.report.distribution_plots import draw_boxes, draw_categories, draw_histogram
from kmstream.report.facts import RunFacts
from kmstream.report.map_plots import draw_map, draw_silhouettes
from kmstream.report.plot_style import colours_of
from kmstream.report.tables import count_statuses


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
        return self.result(numbers({s["cluster_label"]: s.get("overlap") for s in drift["segments"]}))


class ShareHistory(Named, SingleValueMetric):  # type: ignore[misc]
    """How many runs the plot of the shares over time shows."""


class _ShareHistory(SingleValue[ShareHistory]):
    NAME = "Runs in the history of the shares"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        runs = of_all_runs(drift, run.history, run.created, run.kind)
        figure = draw_history(runs, colours_of(drift))
        title = title_history(len({label for one in runs for label in one["shares"]}))
        result = self.result(len(runs))
        result.widget = show_figure(title, figure, WidgetSize.FULL)
        return result


class SegmentMap(Named, SingleValueMetric):  # type: ignore[misc]
    """The share of the variance of the sampled rows that the map of the segments shows."""


class _SegmentMap(SingleValue[SegmentMap]):
    NAME = "Share of the variance on the map"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        found = run.sample["map"]
        result = self.result(sum(axis["explained"] for axis in found["axes"]))
        result.widget = show_figure("Map of rows and centroids", draw_map(found, colours_of(drift)))
        return result


class SegmentSilhouette(Named, ByLabelMetric):  # type: ignore[misc]
    """The mean silhouette of the sampled rows of each segment."""


class _SegmentSilhouette(ByLabel[SegmentSilhouette]):
    NAME = "Silhouette per segment, on sampled rows"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        silhouette = run.sample["silhouette"]
        result = self.result(numbers(silhouette["segments"]))
        result.widget = show_figure("Silhouette per segment", draw_silhouettes(silhouette, colours_of(drift)))
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
                widgets += show_figure(found["feature"], draw_categories(found))
            else:
                widgets += show_figure(found["feature"], draw_histogram(found, colours))
                widgets += show_figure(f"{found['feature']}: quartiles", draw_boxes(found, colours))
        result.widget = widgets
        return result
