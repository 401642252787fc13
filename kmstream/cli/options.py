"""What every command takes, before its name and after it, and how its answer is printed."""

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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer

from kmstream.cli.failures import exit_on_failure

if TYPE_CHECKING:
    from rich.console import Console

    from kmstream.config import Config

DEFAULT_CONFIG = Path("kmstream.toml")
ABOUT_WHAT_IS_THERE = ("models ", "labels ")  # commands
PLACE = ("name", "output.path")  # keys that say where it is

Only = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="GLOB", help="Only partitions whose path below dataset.path matches; repeatable."),
]

Truth = Annotated[
    str | None,
    typer.Option("--truth", metavar="COLUMN", help="True classes to compare the segments with (ARI, NMI)."),
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
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a value, such as model.n_clusters=8; repeatable."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
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


@takes_options
def begin(options: Options) -> None:
    """Take the options that stand before the command."""


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
