"""The command `retrain`: what a schedule without Prefect calls after `score`."""

from typing import TYPE_CHECKING, Annotated

import typer

from kmstream.cli.failures import tell_what_was_published
from kmstream.cli.options import Options, takes_options
from kmstream.errors import HELD

if TYPE_CHECKING:
    from rich.console import Console

    from kmstream.results import RetrainResult


@takes_options
def retrain(
    options: Options,
    *,
    reset: Annotated[
        bool, typer.Option("--reset", help="End the pause after three held refits; nothing is fitted.")
    ] = False,
) -> int:
    """Fit a new version if a score asked for one, or say why not.

    What a score asks for is guarded by the section [retrain] of the configuration and by the history: a request is
    answered once, data that led to a held version are not tried again, and after three held refits in a row a person
    has to look.
    """
    from kmstream import pipeline, versions
    from kmstream.cli.progress import show_progress
    from kmstream.events import verdict_of_refresh

    config = options.load_config()
    if reset:
        done = versions.resume_retraining(config)
        what = "the pause has ended" if done["resumed"] else "there was no pause"
        text = f"{config.name}: {what}; the next score that sees drift asks for a new fit"
        options.answer(done, lambda console: _say(console, text))
        return 0
    with tell_what_was_published(config), show_progress(quiet=options.quiet) as progress:
        result = pipeline.retrain(config, progress=progress)
    options.answer(result.to_json(), lambda console: _show(console, result, options))
    if result.refresh and result.refresh.status == "held":
        options.say_why(verdict_of_refresh(result.refresh), result.refresh.report)
        return HELD
    return 0


def _say(console: "Console", text: str) -> None:
    from kmstream.cli.tables import print_sentence

    print_sentence(console, text)


def _show(console: "Console", result: "RetrainResult", options: Options) -> None:
    from kmstream.cli.show_runs import show_refresh

    if result.refresh is None:
        _say(console, f"{result.name}: nothing is fitted anew: {result.why}.")
    else:
        _say(console, f"{result.name} is fitted anew: {result.why}.")
        show_refresh(console, result.refresh, options)
