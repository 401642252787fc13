"""Progress bars on stderr, where it is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from kmstream import engine

LAST_PASS = "assign"  # what follows has no rows to count


class RowsPerSecond(ProgressColumn):
    """How fast rows go by."""

    def render(self, task: Task) -> Text:
        """Give the speed in rows a second, once it is known."""
        speed = task.finished_speed or task.speed
        return Text(
            "" if speed is None else f"{human_speed(speed)} rows/s", style="progress.data.speed", justify="right"
        )


def human_speed(rows_per_second: float) -> str:
    """Shorten a speed to three digits.

    Examples
    --------
    >>> human_speed(2_345_678), human_speed(45_678), human_speed(12.3)
    ('2.35 M', '45.7 k', '12')
    """
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if rows_per_second >= unit:
            return f"{rows_per_second / unit:.3g}{name}"
    return f"{rows_per_second:.0f}"


class Bars:
    """One bar per stage, each whole before the next begins."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._task: TaskID | None = None
        self._left = 0
        self._stage = ""

    def start(self, stage: str, rows: int) -> None:
        """Begin a stage of so many rows."""
        self._end_stage()
        self._stage, self._left = stage, rows
        self._task = self._bars.add_task(stage, total=rows or None)

    def advance(self, rows: int) -> None:
        """Note that so many rows of the stage are done."""
        if self._task is not None:
            self._bars.advance(self._task, rows)
        self._left -= rows
        if self._left <= 0 and self._stage == LAST_PASS:
            self.start("compare and report", 0)

    def _end_stage(self) -> None:
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, completed=total, total=total)


@contextmanager
def show_progress(*, quiet: bool) -> Iterator[engine.Progress]:
    """Give a run something to report to: bars, or nothing where nobody watches."""
    if quiet or not sys.stderr.isatty():
        yield engine.Silent()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        RowsPerSecond(),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield Bars(bars)
