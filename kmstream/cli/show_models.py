"""What people see of versions and names."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console

from kmstream.cli.options import Options
from kmstream.cli.show_runs import by_size
from kmstream.cli.tables import print_line, print_sentence, print_table
from kmstream.config import Config
from kmstream.report.wording import count, moment, number, percent, sort_names, tell_log1p
from kmstream.units import format_duration

MAX_SIZES = 5  # of the versions before that fit into a table


def show_versions(console: Console, versions: Sequence[Mapping[str, Any]], config: Config, options: Options) -> None:
    """Print one line per version, the current one marked."""
    if not versions:
        print_line(console, f"no versions yet; the first comes with: {options.command('refresh')}")
        return
    print_table(
        console,
        ("version", "status", "created", _title_sizes(config), ">segments", ">inertia", "baseline"),
        [
            (
                f"{one['version']}{' *' if one['current'] else ''}",
                one["status"],
                moment(one["created"]),
                number(one["rows"]),
                number(one["n_clusters"]),
                number(one["inertia_per_row"]),
                one["baseline"],
            )
            if one["created"]
            else (one["version"], one["status"], *[""] * 5)
            for one in versions
        ],
    )
    print_line(console)
    print_line(console, "* the current version")


def show_version(console: Console, version: Mapping[str, Any]) -> None:
    """Print one version: head, segments, gate, passes, and where it comes from."""
    status = f"{version['status']}, current" if version["current"] else version["status"]
    print_line(console, f"{version['version']} ({status}), made {moment(version['created'])}")
    was, model = version["provenance"]["config"], version["parameters"]
    weighted = bool(was["features"]["weight"]) or model["half_life"] != format_duration(timedelta())
    rows = f"rows that weigh {number(version['rows'])}" if weighted else count(version["rows"], "row")
    print_line(
        console,
        f"{rows}, inertia per row {number(version['inertia_per_row'])}, "
        f"baseline {version['baseline']}, parent {version['parent'] or 'none'}",
    )
    print_line(console)
    print_table(
        console,
        (">id", "segment", ">weight" if weighted else ">rows", ">share", "event", "born"),
        [
            (
                str(one["cluster_id"]),
                one["cluster_label"],
                number(one["rows"]),
                percent(one["share"]),
                one["event"],
                one["born"],
            )
            for one in by_size(version["labels"])
        ],
    )
    print_line(console)
    print_table(
        console,
        ("gate", "result", ">observed", ">limit", "segment"),
        [
            (
                one["check"].replace("_", " "),
                "ok" if one["ok"] else "failed",
                number(one["observed"]),
                number(one["limit"]),
                one["label"],
            )
            for one in version["gate"]
        ],
    )
    print_line(console)
    print_table(
        console,
        ("pass", ">rows", ">inertia/row", ">largest move", ">seconds"),
        [
            (
                one["pass"],
                number(one["rows"]),
                number(one["inertia_per_row"]),
                number(one["largest_move"]),
                f"{one['seconds']:.2f}",
            )
            for one in version["passes"]
        ],
    )
    print_line(console)
    for title in ("parameters", "provenance"):
        facts = (f"{key}={one}" for key, one in version[title].items() if isinstance(one, str | int | float))
        print_sentence(console, f"{title}: {', '.join(facts)}")


def show_diff(console: Console, diff: Mapping[str, Any]) -> None:
    """Print two versions side by side, and how rows went from one to the other."""
    before, after = diff["from"], diff["to"]
    print_table(
        console,
        ("segment", "status", f">{before}", f">{after}", "moved most"),
        [
            (
                one["cluster_label"],
                one["status"],
                percent(one["share_from"]),
                percent(one["share_to"]),
                _largest_change(one["centroid_from"], one["centroid_to"]),
            )
            for one in sorted(diff["segments"], key=lambda one: -(one["share_to"] or 0))
        ],
    )
    if migration := diff["migration"]:
        print_line(console)
        print_line(console, f"rows by their segment in {before} (down) and {after} (across)")
        across = sort_names(migration["labels_to"])
        at = [migration["labels_to"].index(label) for label in across]
        rows_from = dict(zip(migration["labels_from"], migration["rows"], strict=True))
        print_table(
            console,
            ("", *(f">{label}" for label in across)),
            [(label, *(number(rows_from[label][i]) for i in at)) for label in sort_names(rows_from)],
        )


def show_labels(
    console: Console, labels: Sequence[Mapping[str, Any]], config: Config, frozen_since: str | None
) -> None:
    """Print every segment name: its life, its size in the last versions, and what it is."""
    print_table(
        console,
        ("segment", _title_sizes(config), ">share", "since", "shares before, %"),
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


def show_move(console: Console, done: Mapping[str, Any]) -> None:
    """Print which version is current now."""
    if done["status"] == "rolled-back":
        print_line(console, f"rolled back from {done['previous']} to {done['version']}")
    else:
        before = f"; before, it was {done['previous']}" if done["previous"] else ""
        print_line(console, f"{done['version']} is the current version now{before}")


def _title_sizes(config: Config) -> str:
    """Name what the size of a version is counted in: the weights of its rows, where they have any."""
    return ">weight" if config.features.weight or config.model.half_life else ">rows"


def _largest_change(before: Mapping[str, float] | None, after: Mapping[str, float] | None) -> str:
    """Name the feature of a centroid that changed most for its size."""
    if not before or not after:
        return ""

    def change(name: str) -> float:
        largest = max(abs(after[name]), abs(before[name]))
        return abs(after[name] - before[name]) / largest if largest else 0.0

    name = max((name for name in before if name in after), key=change, default=None)
    if name is None or number(before[name]) == number(after[name]):
        return ""
    return f"{name} {number(before[name])} -> {number(after[name])}"
