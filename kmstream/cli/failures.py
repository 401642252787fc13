"""What happens when a command fails: a few lines on stderr, an exit code, and what an interrupted run left behind."""

import contextlib
import signal
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from kmstream.errors import KmstreamError, StorageError

if TYPE_CHECKING:
    from kmstream.cli.options import Options
    from kmstream.config import Config
    from kmstream.store import Store


@contextlib.contextmanager
def exit_on_failure(options: "Options") -> Iterator[None]:
    """Turn a failure into a few lines on stderr and an exit code; nothing is printed on stdout then.

    Raises
    ------
    typer.Exit
        With the code that CONTRACT promises for the error.
    """
    verbose = options.verbose
    with warnings.catch_warnings():
        if not verbose:
            warnings.simplefilter("ignore")
        try:
            yield
        except (typer.Exit, typer.BadParameter, BrokenPipeError):  # typer's own ways to end
            raise
        except KeyboardInterrupt as stop:
            _explain(
                ": ".join(["interrupted", "; ".join(getattr(stop, "__notes__", ()))]).removesuffix(": "),
                verbose=verbose,
            )
            raise typer.Exit(_exit_code(stop)) from None
        except KmstreamError as error:
            from kmstream.events import explain_error

            if not hasattr(error, "__notes__"):
                error.add_note(f"The configuration is {options.config_path}.")
            _explain(explain_error(error), verbose=verbose)
            raise typer.Exit(error.exit_code) from None
        except Exception as error:  # noqa: BLE001 - the last place where anyone can say what happened
            said = str(error).strip().partition("\n")[0]
            hint = f"\n  The configuration is {options.config_path}; run with -v for the traceback."
            _explain(f"unexpected {type(error).__name__}: {said}{hint}", verbose=verbose)
            raise typer.Exit(1) from None


def _explain(text: str, *, verbose: bool) -> None:
    if verbose:
        traceback.print_exc()
    typer.echo(text, err=True)


def _exit_code(stop: KeyboardInterrupt) -> int:
    return 128 + (stop.args[0] if stop.args else signal.SIGINT)


@contextlib.contextmanager
def tell_what_was_published(config: "Config") -> Iterator[None]:
    """Note on an interruption whether it came before or after CURRENT moved."""
    from kmstream.store import Store

    store = Store(config.output.path)
    before = store.current
    try:
        yield
    except KeyboardInterrupt as stop:
        with contextlib.suppress(StorageError):  # that a store does not answer may be why it was interrupted
            _tell_what_became(stop, store, before)
        raise


def _tell_what_became(stop: KeyboardInterrupt, store: "Store", before: str | None) -> None:
    now = store.current
    if now != before:
        stop.add_note(f"{now} had been published already")
    elif store.is_finishing:
        stop.add_note("while its result was being published: the next run finishes that, or takes it back")
    else:
        stop.add_note("nothing was published" + (f", {now} is still the current version" if now else ""))
        if store.has_progress:
            stop.add_note("run it again, and it goes on with the files that are not done")
