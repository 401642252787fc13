"""How the metrics of ours take their figures, and show them as evidently's widgets.

A field of a metric is part of its identity, and a changing one would make every run a series of its own in evidently's
plots. So no metric of ours has a field: each takes its figures from the dataset ``kmstream`` that `snapshot` passes to
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
    MetricConfig,
    MetricResult,
    MetricTestResult,
    SingleValueCalculation,
)
from evidently.core.report import Context
from evidently.legacy.model.widget import BaseWidgetInfo
from evidently.legacy.renderers.html_widgets import (
    ColumnDefinition,
    RichTableDataRow,
    WidgetSize,
    plotly_figure,
    rich_table_data,
)
from evidently.legacy.tests.base_test import TestStatus

from kmstream.report.drift_tests import ThresholdTest, judge_measure
from kmstream.report.facts import RunFacts
from kmstream.wording import shorten

DATASET = "kmstream"
"""Name of the additional dataset that carries the figures: one row, columns ``drift`` and ``run``."""


class Named:
    """Makes the import path of a metric its name in stored snapshots and dashboards: so a metric never moves."""

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

    def judge(self, drift: Mapping[str, Any], run: RunFacts) -> Iterable[ThresholdTest]:
        """Give what was held against its limits."""
        return chain.from_iterable(judge_measure(drift, measure) for measure in self.MEASURES)


# Evidently ships no types, so mypy knows its classes as Any: hence the ignores below.

_Metric = TypeVar("_Metric")


class SingleValue(_FromFigures, SingleValueCalculation[_Metric], Generic[_Metric], ABC):  # type: ignore[misc]
    """Ties a calculation to the metric in its brackets."""


class ByLabel(_FromFigures, ByLabelCalculation[_Metric], Generic[_Metric], ABC):  # type: ignore[misc]
    """Ties a calculation to the metric in its brackets."""


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


def _as_test(one: ThresholdTest, metric: MetricConfig) -> MetricTestResult:
    return MetricTestResult(
        id=one.id,
        name=one.name,
        description=one.text,
        metric_config=metric,
        test_config=dict(one.config),
        status=TestStatus[one.status],
    )


def show_figure(title: str, figure: go.Figure | None, size: WidgetSize = WidgetSize.HALF) -> list[BaseWidgetInfo]:
    """Make the widget of a figure; none if there is nothing to draw."""
    return [] if figure is None else [plotly_figure(title=shorten(title, 80), figure=figure, size=size)]


def show_table(title: str, columns: Mapping[str, str], rows: list[dict[str, str]]) -> list[BaseWidgetInfo]:
    """Make the widget of a table; none if it has no rows. `columns` maps the keys of a row to titles."""
    definitions = [ColumnDefinition(name, key) for key, name in columns.items()]
    table = rich_table_data(title=title, columns=definitions, data=[RichTableDataRow(row) for row in rows])
    return [table] if rows else []
