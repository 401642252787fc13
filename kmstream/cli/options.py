"""What every command takes, before its name and after it, and what happens when one fails."""

import contextlib
import functools
import inspect
import io
import json
import math
import os
import shlex
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from kmstream.errors import KmstreamError, StorageError

if TYPE_CHECKING:
    from rich.console import Console

    from kmstream.config import Config
    from kmstream.store import Store

DEFAULT_CONFIG = Path("kmstream.toml")
ABOUT_WHAT_IS_THERE = ("models ", "labels ")  # commands
PLACE = ("name", "output.path")  # keys that say where it is

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="GLOB", help="Only partitions whose path below dataset.path matches; repeatable."),
]


@dataclass(frozen=True)
class Options:
    """The global options, as far as the command line has been read."""

    config: Path | None = None
    overrides: tuple[str, ...] = ()
    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def after(self, earlier: Self) -> Self:
        """Join options with those given earlier on the same line: the later config counts, the rest adds up."""
        return type(self)(
            self.config or earlier.config,
            earlier.overrides + self.overrides,
            self.as_json or earlier.as_json,
            self.quiet or earlier.quiet,
            self.verbose or earlier.verbose,
        )

    @property
    def config_path(self) -> Path:
        """The configuration file that is meant."""
        return self.config or DEFAULT_CONFIG

    def load_config(self) -> "Config":
        """Read the configuration."""
        from kmstream.config import load_config

        return load_config(self.config_path, self.overrides)

    def command(self, text: str, *names: str) -> str:
        """Write a command that people can run next, with the same configuration; names may hold anything.

        What is there already is looked at and changed whatever this run was to do: such commands take from `--set` only
        where it is.
        """
        config = () if self.config_path == DEFAULT_CONFIG else ("-c", str(self.config_path))
        kept = [one for one in self.overrides if not text.startswith(ABOUT_WHAT_IS_THERE) or one.startswith(PLACE)]
        overrides = (part for override in kept for part in ("--set", override))
        return shlex.join(["kmstream", *text.split(), *names, *config, *overrides])

    def answer(self, content: Mapping[str, Any], show: "Callable[[Console], None]", *, asked: bool = False) -> None:
        """Print a result on stdout: one JSON object, or what people read.

        Parameters
        ----------
        content : mapping
            For programs.
        show : callable
            Prints on the console it is given, for people.
        asked : bool
            Whether to show something was all that the command is for: then -q shows it too.
        """
        if self.as_json:
            typer.echo(to_json_text(content))
        elif asked or not self.quiet:
            from kmstream.cli.tables import make_console

            show(make_console())

    def say_why(self, verdict: str, report: str | None) -> None:
        """Say on stderr why a run that came to its end does not exit with 0, where nothing else is printed."""
        if self.quiet and not self.as_json:
            typer.echo(verdict + (f"\n  {report}" if report else ""), err=True)


def to_json_text(content: Mapping[str, Any]) -> str:
    """Write one JSON object on one line; a number that is not finite becomes null.

    Examples
    --------
    >>> to_json_text({"ratio": float("inf"), "labels": ("a",), "path": Path("out")})
    '{"ratio": null, "labels": ["a"], "path": "out"}'
    """
    return json.dumps(_finite(content), default=str, allow_nan=False)


def _finite(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return value


def _read_options(
    *,
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help=f"The configuration file ({DEFAULT_CONFIG}).")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a value: model.n_clusters=8.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress bars, no tables of what was done.")] = False,
    verbose: Annotated[
        bool, typer.Option("-v", "--verbose", help="Show warnings, and the traceback of an error.")
    ] = False,
) -> Options:
    return Options(config, tuple(overrides or ()), as_json, quiet, verbose)


def takes_options(command: Callable[..., int | None], *, reads_config: bool = True) -> Callable[..., None]:
    """Give a command the global `Options` as its first argument, and its failures their exit codes.

    A command returns its exit code; None is 0. One that reads no configuration has no -c and no --set.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    shared = list(inspect.signature(_read_options).parameters.values())
    if not reads_config:
        shared = [one for one in shared if one.name not in {"config", "overrides"}]

    @functools.wraps(command)
    def run(ctx: typer.Context, **values: Any) -> None:  # noqa: ANN401
        options = _read_options(**{one.name: values.pop(one.name) for one in shared}).after(ctx.obj or Options())
        ctx.obj = options
        if options.quiet and options.verbose:
            msg = "-q and -v can't be given together"
            raise typer.BadParameter(msg)
        with exit_on_failure(options):
            code = command(options, **values)
        if code:
            raise typer.Exit(code)

    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    run.__signature__ = inspect.Signature([context, *own, *shared])  # type: ignore[attr-defined]
    return run


@contextlib.contextmanager
def exit_on_failure(options: Options) -> Iterator[None]:
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


def prepare_process() -> None:
    """Make this process a quiet one that cleans up when it is told to end."""
    os.environ.setdefault("DO_NOT_TRACK", "1")  # what evidently and others ask before they report anything
    signal.signal(signal.SIGTERM, _interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a name that this terminal can't show is no reason to fail


def _interrupt(signum: int, _frame: object) -> None:
    signal.signal(signum, signal.SIG_DFL)  # a second one ends it at once
    raise KeyboardInterrupt(signum)


@contextlib.contextmanager
def stdout_to_stderr() -> Iterator[None]:
    """Send what other programs print to stderr: stdout holds only the answer."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        os.dup2(2, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
