"""The commands about the names of segments."""

from typing import Annotated

import typer

from kmstream.cli.options import Options, begin, takes_options

labels_app = typer.Typer(help="Look at the names of segments, or change one.", no_args_is_help=True)
labels_app.callback()(begin)


@labels_app.command("list")
@takes_options
def list_segment_labels(options: Options) -> None:
    """List the names of the current version, then the retired ones."""
    from kmstream.cli.show_labels import show_labels
    from kmstream.names import list_labels
    from kmstream.store import Store, find_frozen_since

    config = options.load_config()
    found = list_labels(config)
    since = find_frozen_since(Store(config.output.path).history())
    content = {"name": config.name, "frozen_since": since, "labels": found}
    options.answer(content, lambda console: show_labels(console, found, config, since), asked=True)


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
    from kmstream.cli.show_labels import show_rename
    from kmstream.names import rename_segment

    done = rename_segment(options.load_config(), old, new, reason=reason)
    options.answer(done, lambda console: show_rename(console, done, options))


@labels_app.command("apply")
@takes_options
def apply_labels(options: Options) -> None:
    """Write the names of today into the assignments.

    Those of the current version say them then, without another run.
    """
    from kmstream.cli.show_labels import show_applied
    from kmstream.names import apply_renames

    done = apply_renames(options.load_config())
    options.answer(done, lambda console: show_applied(console, done))


@labels_app.command("suggest")
@takes_options
def suggest_segment_names(options: Options) -> None:
    """Propose a name for each segment; nothing is renamed.

    It tells what sets the segment apart.
    """
    from kmstream.cli.show_labels import show_suggestions
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
    """Fix number and names of the segments.

    A refit that can't keep them is held.
    """
    from kmstream.cli.show_labels import show_freeze
    from kmstream.names import freeze_labels

    done = freeze_labels(options.load_config(), frozen=not off)
    options.answer(done, lambda console: show_freeze(console, done["labels"], frozen=not off))
