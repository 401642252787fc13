"""The commands about what is there: model versions and the names of segments."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import typer

from kmstream.cli.options import Options, takes_options
from kmstream.report.wording import count, sort_names

models_app = typer.Typer(help="Look at model versions, promote one, or roll back.", no_args_is_help=True)
labels_app = typer.Typer(help="Look at the names of segments, or change one.", no_args_is_help=True)

VersionArgument = Annotated[str, typer.Argument(metavar="V", help="A version, like v000003.")]


@models_app.callback()
@labels_app.callback()
@takes_options
def begin(options: Options) -> None:
    """Take the options that stand before the command."""


@models_app.command("list")
@takes_options
def list_models(options: Options) -> None:
    """List every version, held ones too."""
    from kmstream.cli.show_models import show_versions
    from kmstream.versions import list_versions

    config = options.load_config()
    found = list_versions(config)
    content = {"name": config.name, "versions": found}
    options.answer(content, lambda console: show_versions(console, found, config, options), asked=True)


@models_app.command("show")
@takes_options
def show_model(options: Options, version: VersionArgument) -> None:
    """Show one version: its segments, gate, passes, parameters and where it comes from."""
    from kmstream.cli.show_models import show_version
    from kmstream.versions import describe_version

    found = describe_version(options.load_config(), version)
    options.answer(found, lambda console: show_version(console, found), asked=True)


@models_app.command("diff")
@takes_options
def diff_models(
    options: Options,
    a: Annotated[str, typer.Argument(metavar="A", help="A version.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Another, usually a later one.")],
) -> None:
    """Set two versions side by side, segment by segment."""
    from kmstream.cli.show_models import show_diff
    from kmstream.versions import diff_versions

    found = diff_versions(options.load_config(), a, b)
    options.answer(found, lambda console: show_diff(console, found), asked=True)


@models_app.command("promote")
@takes_options
def promote_model(options: Options, version: VersionArgument) -> None:
    """Make a version the current one: a held one that you have looked at, or an older one."""
    from kmstream.cli.show_models import show_move
    from kmstream.versions import promote

    done = promote(options.load_config(), version)
    options.answer(done, lambda console: show_move(console, done))


@models_app.command("rollback")
@takes_options
def roll_back_model(options: Options) -> None:
    """Make the version before the current one current again."""
    from kmstream.cli.show_models import show_move
    from kmstream.versions import rollback

    done = rollback(options.load_config())
    options.answer(done, lambda console: show_move(console, done))


@labels_app.command("list")
@takes_options
def list_segment_labels(options: Options) -> None:
    """List the names of the current version, then the retired ones."""
    from kmstream.cli.show_models import show_labels
    from kmstream.names import list_labels
    from kmstream.store import Store

    config = options.load_config()
    found = list_labels(config)
    since = find_freeze(Store(config.output.path).history())
    content = {"name": config.name, "frozen_since": since, "labels": found}
    options.answer(content, lambda console: show_labels(console, found, config, since), asked=True)


def find_freeze(history: Iterable[Mapping[str, Any]]) -> str | None:
    """Find since when names are frozen; None if they are free.

    Examples
    --------
    >>> find_freeze([{"event": "frozen", "time": "2026-01-01"}, {"event": "frozen", "time": "2026-02-01"}])
    '2026-01-01'
    >>> find_freeze([{"event": "frozen", "time": "2026-01-01"}, {"event": "thawed", "time": "2026-02-01"}])
    """
    since = None
    for line in history:
        if line["event"] == "frozen":
            since = since or line["time"]
        elif line["event"] == "thawed":
            since = None
    return since


@labels_app.command("rename")
@takes_options
def rename_label(
    options: Options,
    old: Annotated[str, typer.Argument(metavar="OLD", help="The name it has.")],
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name it gets; never used before.")],
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the history.")] = "",
) -> None:
    """Call a segment by another name from now on."""
    from kmstream.names import rename_segment

    done = rename_segment(options.load_config(), old, new, reason=reason)
    text = (
        f"{old!r} is called {new!r} from now on, in reports too. Assignments say so after the next run, or at once:\n"
        f"  {options.command('labels apply')}"
    )
    options.answer(done, lambda console: console.print(text, markup=False, soft_wrap=True))


@labels_app.command("apply")
@takes_options
def apply_labels(options: Options) -> None:
    """Make the assignments of the current version say the names that segments were given since."""
    from kmstream.names import apply_renames

    done = apply_renames(options.load_config())
    text = f"{count(done['files'], 'assignment file')} of {done['version']} got new names"
    text = text if done["files"] else f"nothing to do: the assignments of {done['version']} say the names of today"
    options.answer(done, lambda console: console.print(text, markup=False, soft_wrap=True))


@labels_app.command("suggest")
@takes_options
def suggest_segment_names(options: Options) -> None:
    """Propose a name for each segment from what sets it apart; nothing is renamed."""
    from kmstream.cli.show_models import show_suggestions
    from kmstream.names import suggest_labels

    config = options.load_config()
    found = suggest_labels(config)
    content = {"name": config.name, "suggestions": found}
    options.answer(content, lambda console: show_suggestions(console, found, options), asked=True)


@labels_app.command("freeze")
@takes_options
def freeze_names(
    options: Options,
    *,
    off: Annotated[bool, typer.Option("--off", help="Let number and names change again.")] = False,
) -> None:
    """Fix number and names of the segments: a refit that can't keep them is held."""
    from kmstream.names import freeze_labels

    done = freeze_labels(options.load_config(), frozen=not off)
    what = ", ".join(sort_names(done["labels"]))
    text = f"Names are free to change again: {what}" if off else f"A refit is held unless its segments are: {what}"
    options.answer(done, lambda console: console.print(text, markup=False, soft_wrap=True))
