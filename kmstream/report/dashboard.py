"""What the dashboard of a segmentation shows in evidently's UI: one point per run."""

from evidently.core.metric_types import Metric
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import bar_plot_panel, line_plot_panel

from kmstream.drift_figures import AT_A_GLANCE, FIGURES, Figure
from kmstream.report import metrics


def make_panels() -> list[DashboardPanelPlot]:
    """Give the panels in their order: two small ones in each line, then two wide ones."""
    severity = _series(metrics.DriftSeverity, "severity")
    rows = _series(metrics.DriftTotals, "rows", label="rows")
    shares, psi = (_series(metric, "{{label}}") for metric in (metrics.SegmentShare, metrics.FeaturePSI))
    named = "by the names that the segments had in the run"
    return [
        bar_plot_panel("Severity", [severity], "0 ok, 1 warn, 2 alert; click a run to open it", size="half"),
        *(_plot_figure(key, FIGURES[key]) for key in AT_A_GLANCE),
        bar_plot_panel("Rows", [rows], "compared in the run", size="half"),
        bar_plot_panel("Share per segment", [shares], named, stacked=True),
        line_plot_panel("PSI per feature", [psi], "on bins frozen at the baseline"),
    ]


def _plot_figure(key: str, figure: Figure) -> DashboardPanelPlot:
    series = _series(metrics.DriftTotals, figure.column, label=key)
    return line_plot_panel(figure.title, [series], figure.meaning, size="half")


def _series(metric: type[Metric], legend: str, **labels: str) -> PanelMetric:
    return PanelMetric(legend=legend, metric=metric.__get_type__(), metric_labels=labels)
