"""What the dashboard of a segmentation shows in evidently's UI: one point per run."""

from evidently.core.metric_types import Metric
from evidently.sdk.models import DashboardPanelPlot, PanelMetric
from evidently.sdk.panels import bar_plot_panel, line_plot_panel

from kmstream.report import metrics


def make_panels() -> list[DashboardPanelPlot]:
    """Give the panels in their order."""
    totals = metrics.DriftTotals
    return [
        bar_plot_panel(
            "Severity",
            [_series(metrics.DriftSeverity, "severity")],
            "0 ok, 1 warn, 2 alert; click a run to open it",
            size="half",
        ),
        line_plot_panel(
            "PSI of the shares",
            [_series(totals, "PSI", label="share_psi")],
            "how far the mix of the segments is from the reference",
            size="half",
        ),
        line_plot_panel(
            "Largest shift of a centre",
            [_series(totals, "radii", label="centroid_shift_radii")],
            "in radii of its segment in the reference",
            size="half",
        ),
        line_plot_panel(
            "Inertia ratio",
            [_series(totals, "ratio", label="inertia_ratio")],
            "inertia per row; above 1 rows lie farther from their centres",
            size="half",
        ),
        line_plot_panel(
            "Share of outliers",
            [_series(totals, "share", label="outlier_share")],
            "rows beyond the 99 % distance of the reference; 0.01 when nothing changed",
            size="half",
        ),
        bar_plot_panel("Rows", [_series(totals, "rows", label="rows")], "compared in the run", size="half"),
        bar_plot_panel(
            "Share per segment",
            [_series(metrics.SegmentShare, "{{label}}")],
            "by the names that the segments had in the run",
            stacked=True,
        ),
        line_plot_panel(
            "PSI per feature", [_series(metrics.FeaturePSI, "{{label}}")], "on bins frozen at the baseline"
        ),
    ]


def _series(metric: type[Metric], legend: str, **labels: str) -> PanelMetric:
    return PanelMetric(legend=legend, metric=metric.__get_type__(), metric_labels=labels)
