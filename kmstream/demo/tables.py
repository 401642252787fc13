"""The year as tables for people; they fit 80 columns."""

import shlex
from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kmstream.demo.story import ACTIVE_DAYS, QUIET_DAYS, DemoResult

_CUT_SHORT = "2011-12"
_WIDTH = 80
_STYLES = {"ok": "green", "warn": "yellow", "alert": "red"}


def show(result: DemoResult, console: Console) -> None:
    """Print the year for people; it fits 80 columns."""

    def say(text: str) -> None:
        console.print(Text(f"\n{text}"), width=min(console.width, _WIDTH))

    say("Customers by segment at the end of each month, and the drift of the month")
    console.print(_table_of_months(result))
    say("A typical customer of each segment, in the first model and in the last")
    console.print(_table_of_segments(result))
    console.print(Text(f"active: last order within {ACTIVE_DAYS} days; quiet: within {QUIET_DAYS}; asleep: longer ago"))
    say(f"Drift asked for a new model {len(result.refits)} times; each was fitted with another seed")
    console.print(_table_of_refits(result))
    names, ids, compared = (
        sum(getattr(refit, key) for refit in result.refits)
        for key in ("names_changed", "ids_changed", "names_compared")
    )
    say(
        f"Names that changed: {names} of {compared}. Cluster numbers that would have changed in a K-means fitted from "
        f"scratch to the same customers, with the same seeds: {ids} of {compared}."
    )
    if result.months[-1].month == _CUT_SHORT:
        say("The data end on 9 December 2011, so in the last month everybody looks quieter than they were.")
    best = max(result.segments, key=lambda segment: (segment.centroid_last or {"monetary": 0.0})["monetary"])
    rename = f"kmstream labels rename {best.cluster_label} champions -c {shlex.quote(result.config)}"
    console.print(Text(f"\nreport  {result.report}\nname one yourself  {rename}"), soft_wrap=True)


def _table_of_months(result: DemoResult) -> Table:
    table = _make_table("month")
    for segment in result.segments:
        words = segment.words.replace(", ", ",\n")
        table.add_column(Text(f"{segment.cluster_label}\n{words}"), justify="right", no_wrap=True)
    table.add_column("all", justify="right", no_wrap=True)
    table.add_column("drift", no_wrap=True)
    table.add_column("model", no_wrap=True)
    before = ""
    for month in result.months:
        sizes = [month.customers.get(segment.cluster_label) for segment in result.segments]
        table.add_row(
            month.month,
            *("-" if size is None else f"{size:,}" for size in sizes),
            f"{sum(month.customers.values()):,}",
            Text(month.severity, style=_STYLES[month.severity]) if month.severity else "-",
            month.version if month.version != before else "",
        )
        before = month.version
    return table


def _table_of_segments(result: DemoResult) -> Table:
    table = _make_table("segment", "")
    for head in ("days since\nlast order", "orders", "spent"):
        table.add_column(head, justify="right", no_wrap=True)
    for segment in result.segments:
        ends = [segment.centroid_first, segment.centroid_last]

        def tell(feature: str, form: str, ends: Sequence[Mapping[str, float] | None] = ends) -> str:
            return " → ".join("-" if end is None else form.format(end[feature]) for end in ends)

        table.add_row(
            segment.cluster_label,
            segment.words,
            tell("recency_days", "{:.0f}"),
            tell("frequency", "{:.1f}"),
            tell("monetary", "£{:,.0f}"),
        )
    return table


def _table_of_refits(result: DemoResult) -> Table:
    table = _make_table("model", "month")
    table.add_column("why")
    for head in ("customers\nwho stay", "numbers that\nchange"):
        table.add_column(head, justify="right", no_wrap=True)
    for refit in result.refits:
        held = " (held)" if refit.status == "held" else ""
        shuffled = f"{refit.ids_changed} of {refit.names_compared}"
        table.add_row(f"{refit.version}{held}", refit.month, Text(refit.why), f"{refit.kept_share:.0%}", shuffled)
    return table


def _make_table(*heads: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for head in heads:
        table.add_column(head, no_wrap=True)
    return table
