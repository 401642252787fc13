"""Our exact figures as metrics of evidently: in its page, its JSON and its UI.

A field of a metric is part of its identity, and a changing one would make every run a series of its own in evidently's
plots. So no metric here has a field: each takes its figures from the dataset ``kmstream`` that `snapshot` passes to
the run beside the samples, one row that holds drift.json and the facts of the run as JSON. The thresholds come the
same way, as the results of tests: a test of evidently's would be a field.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar, Generic, TypeVar

import plotly.graph_objects as go
from evidently import Dataset
from evidently.core.metric_types import (
    ByLabelCalculation,
    ByLabelMetric,
    MetricConfig,
    MetricResult,
    MetricTestResult,
    SingleValueCalculation,
    SingleValueMetric,
)
from evidently.core.report import Context
from evidently.legacy.model.widget import BaseWidgetInfo, Insight
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    CounterData,
    RichTableDataRow,
    WidgetSize,
    counter,
    plotly_figure,
    rich_table_data,
    text_widget,
)
from evidently.legacy.tests.base_test import TestStatus

from kmstream.report.drift_tests import Judged, judge_gate, judge_measure
from kmstream.report.facts import RunFacts
from kmstream.report.plots import draw_flows, draw_migration, draw_passes, draw_shares, draw_shifts, title_of
from kmstream.report.tables import TOTALS
from kmstream.report.verdict import LEVEL_NAMES, SEVERITIES, by_size, find_verdict
from kmstream.report.wording import number, percent

DATASET = "kmstream"
"""Name of the additional dataset that carries the figures: one row, columns ``drift`` and ``run``."""

_ALERT_COLOURS = {"ok": "success", "first": "info", "warn": "warning", "held": "warning", "alert": "error"}


class Named:
    """Makes the import path the name of a metric in stored snapshots, behind what panels of evidently's UI ask for."""

    @classmethod
    def __get_type__(cls) -> str:
        return f"evidently:metric_v2:{cls.__module__}.{cls.__qualname__}"


class _FromFigures:
    """A calculation that takes its figures from the dataset `DATASET`.

    Attributes
    ----------
    NAME : str
    MEASURES : tuple of str
        Whose thresholds it shows as tests.
    """

    NAME: ClassVar[str]
    MEASURES: ClassVar[tuple[str, ...]] = ()
    result: Any  # evidently's: values to a result of the kind of the metric
    to_metric_config: Any  # evidently's

    def display_name(self) -> str:
        return self.NAME

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> MetricResult:
        row = context.additional_data[DATASET].as_dataframe().iloc[0]
        drift, run = json.loads(row["drift"]), RunFacts(**json.loads(row["run"]))
        shown = self.show(drift, run)
        now = shown[0] if isinstance(shown, tuple) else shown
        now.set_tests([_as_test(one, self.to_metric_config()) for one in self.judge(drift, run)])
        return shown

    @abstractmethod
    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        """Make the result, with the widgets that show it."""

    def judge(self, drift: Mapping[str, Any], run: RunFacts) -> Iterable[Judged]:
        """Give what was held against its limits."""
        return chain.from_iterable(judge_measure(drift, measure) for measure in self.MEASURES)


# Evidently ships no types, so mypy knows its classes as Any: hence the ignores below.

_Metric = TypeVar("_Metric")


class SingleValue(_FromFigures, SingleValueCalculation[_Metric], Generic[_Metric], ABC):  # type: ignore[misc]
    """Ties a calculation to the metric in its brackets."""


class ByLabel(_FromFigures, ByLabelCalculation[_Metric], Generic[_Metric], ABC):  # type: ignore[misc]
    """Ties a calculation to the metric in its brackets."""


class DriftSeverity(Named, SingleValueMetric):  # type: ignore[misc]
    """The verdict: 0 ok, 1 warn, 2 alert."""


class _DriftSeverity(SingleValue[DriftSeverity]):
    NAME = "Drift severity (0 ok, 1 warn, 2 alert)"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        verdict = find_verdict(drift, run)
        widget = text_widget(text="", title=f"{run.name} {run.version}")
        colour, title = _ALERT_COLOURS[verdict.level], LEVEL_NAMES[verdict.level]
        widget.insights = [Insight(title=title, severity=colour, text=verdict.sentence)] + [
            Insight(title="", severity=_ALERT_COLOURS.get(reason.severity, "info"), text=reason.text)
            for reason in verdict.reasons
        ]
        severity = drift.get("severity")
        result = self.result(SEVERITIES.index(severity) if severity in SEVERITIES else 0)
        result.widget = [widget]
        return result

    def judge(self, drift: Mapping[str, Any], run: RunFacts) -> Iterable[Judged]:
        return judge_gate(run)


class DriftTotals(Named, ByLabelMetric):  # type: ignore[misc]
    """The measures over all rows: rows, PSI of the shares, inertia ratio, share of outliers."""


class _DriftTotals(ByLabel[DriftTotals]):
    NAME = "Drift over all rows"
    MEASURES = ("share_psi", "inertia_ratio", "outlier_share")

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        totals = numbers(drift.get("totals") or {})
        counters = [
            CounterData(TOTALS.get(key, (key, ""))[0], percent(value) if key.endswith("_share") else number(value, 3))
            for key, value in totals.items()
        ]
        result = self.result(totals)
        result.widget = [counter(counters=counters)] if counters else []
        return result


class SegmentRows(Named, ByLabelMetric):  # type: ignore[misc]
    """Rows per segment."""


class _SegmentRows(ByLabel[SegmentRows]):
    NAME = "Rows per segment"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        columns = {"label": "Segment", "status": "Status", "rows": "Rows", "then": "Share then", "now": "Share now"}
        rows = [
            {
                "label": str(s.get("cluster_label")),
                "status": s.get("status") or "",
                "rows": number(s.get("rows")),
                "then": percent(s.get("reference_share")),
                "now": percent(s.get("share")),
            }
            for s in by_size(drift)
        ]
        result = self.result(_per_segment(drift, "rows"))
        result.widget = [_table("Segments", columns, rows)] if rows else []
        return result


class SegmentShare(Named, ByLabelMetric):  # type: ignore[misc]
    """The share of the rows in each segment, exact, now and in the reference."""


class _SegmentShare(ByLabel[SegmentShare]):
    NAME = "Share of the rows per segment"
    MEASURES = ("share_change",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        then, n_segments = _per_segment(drift, "reference_share"), len(drift.get("segments") or ())
        result = self.result(_per_segment(drift, "share"))
        title = title_of("Shares, then and now" if then else "Shares", n_segments)
        result.widget = _plot(title, draw_shares(drift))
        return (result, self.result(then)) if then else result


class SegmentShift(Named, ByLabelMetric):  # type: ignore[misc]
    """How far the centre of each segment moved, in radii of its reference segment, exact."""


class _SegmentShift(ByLabel[SegmentShift]):
    NAME = "Shift of the centre per segment, in radii"
    MEASURES = ("centroid_shift",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result = self.result(_per_segment(drift, "centroid_shift_radii"))
        title = title_of("How far the centres moved", len(result.values))
        result.widget = _plot(title, draw_shifts(drift))
        return result


class FeaturePSI(Named, ByLabelMetric):  # type: ignore[misc]
    """PSI of each feature over every row, on frozen bins: comparable from run to run."""


class _FeaturePSI(ByLabel[FeaturePSI]):
    NAME = "PSI per feature, on frozen bins"
    MEASURES = ("feature_psi",)

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        features = drift.get("features") or ()
        columns = {"feature": "Feature", "psi": "PSI", "then": "Mean then", "now": "Mean now"}
        rows = [
            {
                "feature": str(f.get("feature")),
                "psi": number(f.get("psi"), 3),
                "then": number(f.get("mean_from")),
                "now": number(f.get("mean_to")),
            }
            for f in features
        ]
        result = self.result(numbers({str(f.get("feature")): f.get("psi") for f in features}))
        result.widget = [_table("Features", columns, rows)] if rows else []
        return result


class Migration(Named, SingleValueMetric):  # type: ignore[misc]
    """Adjusted Rand index between the old and the new segments, over every row."""


class _Migration(SingleValue[Migration]):
    NAME = "Agreement of old and new segments (ARI)"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result = self.result(float(drift["ari"]))
        migration = drift.get("migration") or {}
        title = title_of("Shares of the old segments", len(migration.get("labels_from", ())))
        flows = draw_flows(migration, "rows") if migration else None
        result.widget = _plot("From the old segments to the new ones", flows) or _plot(title, draw_migration(drift))
        return result


class EntityMoves(Named, SingleValueMetric):  # type: ignore[misc]
    """How often an entity was in another segment than the time before, as a share of those that were seen again."""


class _EntityMoves(SingleValue[EntityMoves]):
    NAME = "Share of entities that changed their segment"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        entities = drift["entities"]
        result = self.result(entities["moves"] / max(entities["compared"], 1))
        flows = draw_flows(entities, "times")
        result.widget = _plot("From one time to the next", flows)
        return result


class FitHistory(Named, ByLabelMetric):  # type: ignore[misc]
    """Inertia per row after each pass of the fit."""


class _FitHistory(ByLabel[FitHistory]):
    NAME = "Inertia per row, pass by pass"

    def show(self, drift: Mapping[str, Any], run: RunFacts) -> MetricResult:
        result = self.result(numbers({str(p.get("pass")): p.get("inertia_per_row") for p in run.passes}))
        result.widget = _plot("Fit, pass by pass", draw_passes(run.passes))
        return result


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Keep the entries that are finite numbers: evidently can't hold others.

    Examples
    --------
    >>> numbers({"psi": 0.1, "ari": None, "ratio": float("nan"), "name": "x"})
    {'psi': 0.1}
    """
    return {
        key: value
        for key, value in values.items()
        if isinstance(value, int | float) and abs(value) < float("inf")  # NaN compares false
    }


def _as_test(one: Judged, metric: MetricConfig) -> MetricTestResult:
    return MetricTestResult(
        id=one.id,
        name=one.name,
        description=one.text,
        metric_config=metric,
        test_config=dict(one.config),
        status=TestStatus[one.status],
    )


def _per_segment(drift: Mapping[str, Any], key: str) -> dict[str, float]:
    by_name = sorted(
        ((str(s.get("cluster_label")), s.get(key)) for s in drift.get("segments") or ()), key=lambda pair: pair[0]
    )
    return numbers(dict(by_name))  # one order in every plot over time


def _plot(title: str, figure: go.Figure | None) -> list[BaseWidgetInfo]:
    return [] if figure is None else [plotly_figure(title=title, figure=figure, size=WidgetSize.HALF)]


def _table(title: str, columns: Mapping[str, str], rows: list[dict[str, str]]) -> BaseWidgetInfo:
    definitions = [ColumnDefinition(name, key) for key, name in columns.items()]
    return rich_table_data(title=title, columns=definitions, data=[RichTableDataRow(row) for row in rows])
