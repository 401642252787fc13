"""What people see of versions."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console

from kmstream.cli.options import Options
from kmstream.cli.tables import print_line, print_sentence, print_table
from kmstream.config import Config
from kmstream.units import format_duration
from kmstream.wording import by_size, count, moment, number, percent, sort_names


def show_versions(console: Console, versions: Sequence[Mapping[str, Any]], config: Config, options: Options) -> None:
    """Print one line per version, the current one marked."""
    if not versions:
        print_line(console, f"no versions yet; the first comes with: {options.command('refresh')}")
        return
    print_table(
        console,
        ("version", "status", "created", title_sizes(config), ">segments", ">inertia", "baseline"),
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
    features, model = version["provenance"]["config"]["features"], version["parameters"]
    weighted = bool(features["weight"]) or model["half_life"] != format_duration(timedelta())
    _print_head(console, version, weighted=weighted)
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
    _print_gate(console, version["gate"])
    print_line(console)
    _print_passes(console, version["passes"])
    print_line(console)
    for title in ("parameters", "provenance"):
        facts = (f"{key}={one}" for key, one in version[title].items() if isinstance(one, str | int | float))
        print_sentence(console, f"{title}: {', '.join(facts)}")


def _print_head(console: Console, version: Mapping[str, Any], *, weighted: bool) -> None:
    status = f"{version['status']}, current" if version["current"] else version["status"]
    print_line(console, f"{version['version']} ({status}), made {moment(version['created'])}")
    rows = f"rows that weigh {number(version['rows'])}" if weighted else count(version["rows"], "row")
    print_line(
        console,
        f"{rows}, inertia per row {number(version['inertia_per_row'])}, "
        f"baseline {version['baseline']}, parent {version['parent'] or 'none'}",
    )


def _print_gate(console: Console, checks: Sequence[Mapping[str, Any]]) -> None:
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
            for one in checks
        ],
    )


def _print_passes(console: Console, passes: Sequence[Mapping[str, Any]]) -> None:
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
            for one in passes
        ],
    )


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


def show_move(console: Console, done: Mapping[str, Any]) -> None:
    """Print which version is current now."""
    if done["status"] == "rolled-back":
        print_line(console, f"rolled back from {done['previous']} to {done['version']}")
    else:
        before = f"; before, it was {done['previous']}" if done["previous"] else ""
        print_line(console, f"{done['version']} is the current version now{before}")


def title_sizes(config: Config) -> str:
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
