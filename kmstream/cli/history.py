"""The commands about all runs: their drift in the order of time, and evidently's UI over their workspace."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kmstream.cli.options import Options, begin, takes_options

if TYPE_CHECKING:
    from rich.console import Console

    from kmstream.drift_history import DriftHistory

drift_app = typer.Typer(help="Look at the drift of all runs.", no_args_is_help=True)
drift_app.callback()(begin)

FACTS = ("time", "run_id", "version", "kind", "status", "severity")
DATE = len("2011-06-30")
SHARE_WIDTH = len("100.0 %")


class Kind(StrEnum):
    """What made a line of the history."""

    REFRESH = "refresh"
    SCORE = "score"


@drift_app.command("history")
@takes_options
def show_drift_history(
    options: Options,
    *,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only the runs of this verb.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print lines for a spreadsheet.")] = False,
) -> None:
    """Show the drift of every run, oldest first.

    Segments have their names of today.
    """
    from kmstream.drift_history import read_drift_history

    if as_csv and options.as_json:
        msg = "--json and --csv can't be given together"
        raise typer.BadParameter(msg)
    config = options.load_config()
    found = read_drift_history(config, kind)
    for problem in found.skipped:
        typer.echo(f"passed over: {problem}", err=True)
    if as_csv:
        typer.echo(to_csv(found), nl=False)
    else:
        options.answer({"name": config.name} | asdict(found), lambda console: _show(console, found), asked=True)


@takes_options
def ui(
    options: Options,
    *,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes a free one.")] = 8000,
) -> None:
    """Serve the history of all runs, with its dashboard, until Ctrl-C."""
    from kmstream.report.workspace import serve_workspace
    from kmstream.storage import open_place

    output = open_place(options.load_config().output.path)

    def tell_address(address: str) -> None:
        if not _is_loopback(host):
            typer.echo(f"{host} may be reached by others: there is no login, they can read and delete.", err=True)
        typer.echo(f"{address} shows {output}; Ctrl-C ends it")

    serve_workspace(output, host, port, tell_address)


def to_csv(history: "DriftHistory") -> str:
    """Write a header and a line per run, with a column for the share of each segment."""
    from kmstream.drift_history import FIGURES

    columns = (*FACTS, *FIGURES, "feature")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*columns, *(f"share {label}" for label in history.segments)])
    for run in history.runs:
        writer.writerow([*(run[key] for key in columns), *(run["shares"].get(label) for label in history.segments)])
    return text.getvalue()


def _show(console: "Console", history: "DriftHistory") -> None:
    from kmstream.cli.tables import STYLES, print_line, print_sentence, print_table
    from kmstream.drift_figures import AT_A_GLANCE, FIGURES
    from kmstream.wording import hundredths, number, percent

    if not history.runs:
        print_line(console, "no runs yet")
        return
    styles = [STYLES.get(run["severity"]) for run in history.runs]

    def tell(run: Mapping[str, Any]) -> list[str]:
        return [
            *((run["time"] or "")[:DATE], run["version"] or "", run["status"], run["severity"] or ""),
            number(run["rows"]),
            *(percent(run[key]) if key.endswith("_share") else hundredths(run[key]) for key in AT_A_GLANCE),
        ]

    figures = [FIGURES[key] for key in AT_A_GLANCE]
    titles = ("date", "version", "status", "drift", ">rows", *(f">{figure.column}" for figure in figures))
    print_table(console, titles, map(tell, history.runs), styles=styles)
    print_line(console)
    for figure in figures:
        print_sentence(console, f"{figure.column}: {figure.meaning}")
    for labels in _split_columns(history.segments, console.width - max(len(run["run_id"]) for run in history.runs)):
        print_line(console)
        print_table(
            console,
            ("run", *(f">{label}" for label in labels)),
            ([run["run_id"], *(percent(run["shares"].get(label)) for label in labels)] for run in history.runs),
            styles=styles,
        )


def _split_columns(labels: Sequence[str], width: int) -> Iterator[Sequence[str]]:
    """Split names into as many tables as it takes to show each whole in a terminal.

    Examples
    --------
    >>> list(_split_columns(["loyal", "at risk", "new"], 20))
    [['loyal', 'at risk'], ['new']]
    """
    taken: list[str] = []
    for label in labels:
        if taken and sum(max(len(one), SHARE_WIDTH) + 2 for one in (*taken, label)) > width:
            yield taken
            taken = []
        taken.append(label)
    if taken:
        yield taken


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
