"""The command line: each command reads the config, calls one verb and shows its result.

Importing it is light, so that `kmstream --help` answers at once: a command imports what it needs when it runs.

Read in this order: this file (the verbs), `choose` (the number of segments), `models` (versions), `labels` (names),
`profile` (what separates the segments), `history` (the drift of all runs), `options` (what all commands share: the
global options, the answer) with `failures` (exit codes), `show_runs`, `show_choice`, `show_models`, `show_labels` and
`show_profile` (what people see, made of `tables`), `progress` (bars on a terminal).
"""

import tempfile
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from kmstream import __version__
from kmstream.cli.choose import choose_k
from kmstream.cli.failures import tell_what_was_published
from kmstream.cli.history import drift_app, ui
from kmstream.cli.labels import labels_app
from kmstream.cli.models import models_app
from kmstream.cli.options import (
    DEFAULT_CONFIG,
    Only,
    Options,
    Truth,
    prepare_process,
    stdout_to_stderr,
    takes_options,
)
from kmstream.cli.profile import profile
from kmstream.cli.retrain import retrain
from kmstream.errors import HELD

DRIFTED = 5  # exit code of a run that came to its end

app = typer.Typer(
    name="kmstream",
    help="Keep a K-means segmentation of a Parquet dataset alive: refit, score, names that stay, drift.\n\n"
    "Begin with `kmstream init FOLDER`, the folder of your Parquet files, or look at `kmstream demo`.",
    epilog="Exit codes: 0 done, 1 unexpected, 2 usage or config, 3 data, 4 held by the gate, "
    "5 drift at or above --fail-on, 6 another run holds the lock, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich would triple the time it takes
    context_settings={"help_option_names": ["-h", "--help"]},
)


class FailOn(StrEnum):
    """The severity of drift from which a run ends with exit code 5."""

    WARN = "warn"
    ALERT = "alert"

    def is_reached(self, severity: str) -> bool:
        """Whether a run's severity is this one or worse."""
        return severity == self or severity == FailOn.ALERT


def _read_fail_on(text: str) -> FailOn:
    if text not in tuple(FailOn):
        msg = f"{text!r} is no severity to fail on; expected {' or '.join(FailOn)}"
        raise typer.BadParameter(msg)
    return FailOn(text)


FailOnOption = Annotated[
    FailOn | None,
    typer.Option(
        "--fail-on", parser=_read_fail_on, metavar="warn|alert", help="Exit with 5 if drift is this severe, or worse."
    ),
]


def main() -> None:
    """Run the command line of this process."""
    prepare_process()
    app()


def _print_version(given: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if given:
        typer.echo(f"kmstream {__version__}")
        raise typer.Exit


@app.callback()
@takes_options
def begin(
    options: Options,
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version of kmstream.")
    ] = False,
) -> None:
    """Take the options that stand before the command."""


@app.command("init")
@partial(takes_options, reads_config=False)
def init_config(
    options: Options,
    dataset: Annotated[str, typer.Argument(help="A Parquet file, a folder, a glob or a URI.", metavar="DATASET")],
    *,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", "-c", "--config", help=f"The file to write ({DEFAULT_CONFIG}).")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a commented configuration for DATASET.

    It looks at the files' footers and a few rows, chooses numeric features, and says in comments what it left out and
    why.
    """
    from kmstream.init_config import write_config

    _refuse_overrides(options)
    target = output or options.config or DEFAULT_CONFIG
    survey = write_config(dataset, target, force=force)

    from kmstream.cli.show_runs import show_survey

    options.answer(survey.to_json() | {"path": str(target)}, lambda console: show_survey(console, survey, target))


@app.command()
@takes_options
def plan(options: Options, *, only: Only = None) -> None:
    """Foretell passes, memory and output; no row is read."""
    from dataclasses import asdict

    from kmstream.cli.show_runs import show_plan
    from kmstream.pipeline import plan as make_plan

    config = options.load_config()
    found = make_plan(config, only=only or ())
    options.answer({"name": config.name} | asdict(found), lambda console: show_plan(console, config, found), asked=True)


app.command("choose-k")(choose_k)


@app.command()
@takes_options
def refresh(
    options: Options,
    *,
    baseline: Annotated[bool, typer.Option("--baseline", help="Learn the scaling anew; the names go on.")] = False,
    truth: Truth = None,
    only: Only = None,
    fail_on: FailOnOption = None,
) -> int:
    """Fit a new model version and publish it.

    Segments keep their names, every row is assigned, drift is reported. A version that the quality gate holds waits for
    `kmstream models promote`.
    """
    from kmstream import pipeline
    from kmstream.cli.progress import show_progress
    from kmstream.cli.show_runs import show_refresh
    from kmstream.events import verdict_of_refresh

    config = options.load_config()
    with tell_what_was_published(config), show_progress(quiet=options.quiet) as progress:
        result = pipeline.refresh(config, baseline=baseline, truth=truth, only=only or (), progress=progress)
    options.answer(result.to_json(), lambda console: show_refresh(console, result, options))
    code = HELD if result.status == "held" else _drift_code(result.severity, fail_on)
    if code:
        options.say_why(verdict_of_refresh(result), result.report)
    return code


@app.command()
@takes_options
def score(
    options: Options,
    *,
    only: Only = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="V", help="Also what came or changed after version V, though it is assigned already."),
    ] = None,
    fail_on: FailOnOption = None,
) -> int:
    """Assign new and changed partitions, and report their drift.

    A partition is a Parquet file of the dataset. The assignments of those that are gone from it go too.
    """
    from kmstream import pipeline
    from kmstream.cli.progress import show_progress
    from kmstream.cli.show_runs import show_score
    from kmstream.events import verdict_of_score

    config = options.load_config()
    with tell_what_was_published(config), show_progress(quiet=options.quiet) as progress:
        result = pipeline.score(config, only=only or (), since=since, progress=progress)
    options.answer(result.to_json(), lambda console: show_score(console, result, options, only or (), since))
    code = _drift_code(result.severity, fail_on)
    if code:
        options.say_why(verdict_of_score(result), result.report)
    return code


app.command("retrain")(retrain)


@app.command()
@takes_options
def report(
    options: Options,
    version: Annotated[
        str | None, typer.Argument(help="A version, or the run_id of a score; the newest by default.", metavar="V")
    ] = None,
    *,
    open_page: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Tell where the report of a version or a score is, or open it."""
    from kmstream.versions import find_report

    path = find_report(options.load_config(), version).absolute()
    options.answer({"report": str(path)}, lambda console: console.print(str(path), soft_wrap=True), asked=True)
    if open_page:
        import webbrowser

        from kmstream.storage import is_local, read_bytes

        if not is_local(path):  # a browser has no credentials for the store
            page = Path(tempfile.mkdtemp(prefix="kmstream-")) / f"{path.parent.name}.html"
            page.write_bytes(read_bytes(path))
            path = page
        with stdout_to_stderr():
            opened = webbrowser.open(path.as_uri())
        if not opened:
            typer.echo("no browser was found here; the report is one file that any browser shows", err=True)


app.command("profile")(profile)
app.command("ui")(ui)
app.add_typer(drift_app, name="drift")
app.add_typer(models_app, name="models")
app.add_typer(labels_app, name="labels")


@app.command()
@partial(takes_options, reads_config=False)
def demo(
    options: Options,
    *,
    folder: Annotated[
        Path, typer.Option("--folder", help="The folder to write; an earlier demo there is replaced.")
    ] = Path("kmstream-demo"),
) -> None:
    """Live through a year of customer segments, on data of its own."""
    from kmstream.cli.progress import show_progress
    from kmstream.demo import run_demo, show

    _refuse_overrides(options)
    with show_progress(quiet=options.quiet) as progress:
        result = run_demo(folder, progress=progress)
    options.answer(result.to_json(), lambda console: show(result, console))


def _drift_code(severity: str, fail_on: FailOn | None) -> int:
    return DRIFTED if fail_on is not None and fail_on.is_reached(severity) else 0


def _refuse_overrides(options: Options) -> None:
    if options.overrides:
        msg = "--set has no effect here: this command reads no configuration"
        raise typer.BadParameter(msg)
