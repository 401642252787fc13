"""What people see of the names of segments."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from kmstream.cli.options import Options
from kmstream.cli.show_models import title_sizes
from kmstream.cli.tables import print_line, print_sentence, print_table
from kmstream.config import Config
from kmstream.wording import by_size, count, moment, number, percent, sort_names, tell_log1p

MAX_SIZES = 5  # of the versions before that fit into a table


def show_labels(
    console: Console, labels: Sequence[Mapping[str, Any]], config: Config, frozen_since: str | None
) -> None:
    """Print every segment name: its life, its size in the last versions, and what it is."""
    print_table(
        console,
        ("segment", title_sizes(config), ">share", "since", "shares before, %"),
        [
            (
                one["cluster_label"],
                number(one["rows"]),
                percent(one["share"]),
                one["born"] if one["status"] == "current" else f"{one['born']} to {one['retired']}",
                _tell_sizes(one),
            )
            for one in by_size(labels)
        ],
    )
    if frozen_since:
        print_line(console)
        print_line(console, f"names frozen since {moment(frozen_since)}: a refit that adds or ends one is held")
    _print_descriptions(console, by_size(labels))
    if config.features.log1p:
        print_line(console)
        print_sentence(console, tell_log1p(config.features.log1p))


def show_suggestions(console: Console, suggestions: Sequence[Mapping[str, Any]], options: Options) -> None:
    """Print a proposal for each name, and the command that takes one."""
    largest_first = sorted(suggestions, key=lambda one: -one["share"])
    print_table(
        console,
        ("segment", ">share", "suggestion"),
        [(one["cluster_label"], percent(one["share"]), one["suggestion"]) for one in largest_first],
    )
    _print_descriptions(console, largest_first)
    print_line(console)
    first = largest_first[0]
    command = options.command("labels rename", first["cluster_label"], first["suggestion"])
    print_line(console, f"To take one: {command}")


def show_rename(console: Console, done: Mapping[str, Any], options: Options) -> None:
    """Print that a segment has another name now, and where it is not said yet."""
    print_sentence(
        console,
        f"{done['old']!r} is called {done['new']!r} from now on, in reports too. Assignments say so after the next "
        "run, or at once:",
    )
    print_line(console, f"  {options.command('labels apply')}")


def show_applied(console: Console, done: Mapping[str, Any]) -> None:
    """Print how many assignment files got new names."""
    if done["files"]:
        print_line(console, f"{count(done['files'], 'assignment file')} of {done['version']} got new names")
    else:
        print_line(console, f"nothing to do: the assignments of {done['version']} say the names of today")


def show_freeze(console: Console, labels: Sequence[str], *, frozen: bool) -> None:
    """Print what the names may do from now on."""
    what = "A refit is held unless its segments are" if frozen else "Names are free to change again"
    print_sentence(console, f"{what}: {', '.join(sort_names(labels))}")


def _print_descriptions(console: Console, labels: Sequence[Mapping[str, Any]]) -> None:
    """Print a sentence for each name: what sets the segment apart."""
    print_line(console)
    for one in labels:
        print_sentence(console, f"{one['cluster_label']}: {one['description'] or 'no description'}", indent=2)


def _tell_sizes(label: Mapping[str, Any]) -> str:
    """Write the shares of a segment in the last versions, oldest first, without that of today."""
    sizes = label["size_history"][:-1] if label["status"] == "current" else label["size_history"]
    shown = " ".join(f"{100 * one['share']:.1f}" for one in sizes[-MAX_SIZES:])
    return f"\u2026 {shown}" if len(sizes) > MAX_SIZES else shown
