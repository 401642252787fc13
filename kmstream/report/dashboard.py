"""What the dashboard of a segmentation shows in evidently's UI: one point per run."""

from evidently.core.metric_types import Metric
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import bar_plot_panel, line_plot_panel

from kmstream.report import metrics

_LINES = (  # of the totals: title, legend, key, how to read it
    ("PSI of the shares", "PSI", "share_psi", "how far the mix of the segments is from the reference"),
    ("Largest shift of a centroid", "radii", "centroid_shift_radii", "in radii of its segment in the reference"),
    ("Inertia ratio", "ratio", "inertia_ratio", "inertia per row; above 1 rows lie farther from their centroids"),
    (
        "Share of outliers",
        "share",
        "outlier_share",
        "rows beyond the 99 % distance of the reference; 0.01 when nothing changed",
    ),
)


def make_panels() -> list[DashboardPanelPlot]:
    """Give the panels in their order: two small ones in each line, then two wide ones."""
    severity = _series(metrics.DriftSeverity, "severity")
    rows = _series(metrics.DriftTotals, "rows", label="rows")
    shares, psi = (_series(metric, "{{label}}") for metric in (metrics.SegmentShare, metrics.FeaturePSI))
    named = "by the names that the segments had in the run"
    return [
        bar_plot_panel("Severity", [severity], "0 ok, 1 warn, 2 alert; click a run to open it", size="half"),
        *(
            line_plot_panel(title, [_series(metrics.DriftTotals, legend, label=key)], told, size="half")
            for title, legend, key, told in _LINES
        ),
        bar_plot_panel("Rows", [rows], "compared in the run", size="half"),
        bar_plot_panel("Share per segment", [shares], named, stacked=True),
        line_plot_panel("PSI per feature", [psi], "on bins frozen at the baseline"),
    ]


def _series(metric: type[Metric], legend: str, **labels: str) -> PanelMetric:
    return PanelMetric(legend=legend, metric=metric.__get_type__(), metric_labels=labels)
