"""What people see of versions and names."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from kmstream.cli.options import Options
from kmstream.cli.show_runs import by_size
from kmstream.cli.tables import print_line, print_sentence, print_table
from kmstream.report.wording import count, moment, number, percent

MAX_FEATURES = 4  # columns of a centroid that fit beside a segment's size


def show_versions(console: Console, versions: Sequence[Mapping[str, Any]], options: Options) -> None:
    """Print one line per version, the current one marked."""
    if not versions:
        print_line(console, f"no versions yet; the first comes with: {options.command('refresh')}")
        return
    print_table(
        console,
        ("version", "status", "created", ">rows", ">segments", ">inertia", "baseline"),
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
    print_line(
        console,
        f"{count(version['rows'], 'row')}, inertia per row {number(version['inertia_per_row'])}, "
        f"baseline {version['baseline']}, parent {version['parent'] or 'none'}",
    )
    print_line(console)
    print_table(
        console,
        (">id", "segment", ">rows", ">share", "event", "born"),
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
        print_table(
            console,
            ("", *(f">{label}" for label in migration["labels_to"])),
            [
                (label, *map(number, rows))
                for label, rows in zip(migration["labels_from"], migration["rows"], strict=True)
            ],
        )


def show_labels(console: Console, labels: Sequence[Mapping[str, Any]]) -> None:
    """Print every segment name, with the centroid in original units."""
    features = next((list(one["centroid"]) for one in labels if one["centroid"]), [])
    shown = features[:MAX_FEATURES]
    print_table(
        console,
        ("segment", ">rows", ">share", "since", *(f">{name}" for name in shown)),
        [
            (
                one["cluster_label"],
                number(one["rows"]),
                percent(one["share"]),
                one["born"] if one["status"] == "current" else f"{one['born']} to {one['retired']}",
                *(number(one["centroid"].get(name)) for name in shown),
            )
            for one in by_size(labels)
        ],
    )
    if len(features) > len(shown):
        print_line(console)
        print_line(console, f"and {count(len(features) - len(shown), 'more feature')}, with --json")


def show_move(console: Console, done: Mapping[str, Any]) -> None:
    """Print which version is current now."""
    previous = f", before it {done['previous']}" if done["previous"] else ""
    print_line(console, f"{done['version']} is the current version now ({done['status']}{previous})")


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
