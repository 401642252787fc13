"""What people see of a run: its plan, how it ended, and what to do next."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from kmstream.assignments import read_manifest
from kmstream.cli.options import Options
from kmstream.cli.tables import STYLES, print_facts, print_line, print_sentence, print_table, size
from kmstream.config import Config
from kmstream.drift_figures import tell_measures
from kmstream.events import is_first
from kmstream.init_config import Survey
from kmstream.plan import MAX_CHUNK_ROWS, Plan
from kmstream.results import RefreshResult, RunResult, ScoreResult
from kmstream.storage import open_place
from kmstream.wording import by_size, count, number, percent, tell_check, tell_moves

MAX_REASONS = 6


def show_survey(console: Console, survey: Survey, target: Path) -> None:
    """Print what `init` chose, why it left the rest out, and what comes next."""
    print_line(console, f"{target}: {count(survey.rows, 'row')} in {count(survey.partitions, 'file')}")
    print_line(console)
    print_table(
        console, ("column", "type", "use", "why"), [(one.name, one.kind, one.use, one.why) for one in survey.columns]
    )
    print_line(console)
    if any(one.use == "offered" for one in survey.columns):
        print_sentence(console, f"What is offered could be categorical: {target} has it in a comment.")
    if keys := [one.name for one in survey.columns if one.is_key]:
        print_sentence(console, f"Could be dataset.key, by which runs tell who changed segment: {', '.join(keys)}")
    print_line(console, f"Look through {target}, then:")
    _print_commands(console, Options(config=target), {"plan": "what a run takes", "refresh": "the first version"})


def show_plan(console: Console, config: Config, plan: Plan) -> None:
    """Print the arithmetic of a plan, line by line."""
    files = f"{count(plan.rows, 'row')} in {count(plan.partitions, 'file')}, {size(plan.bytes)}"
    print_line(console, f"{config.name}: {files}")
    print_line(console)
    sample_rows = min(config.model.sample_rows, plan.rows)
    division = f"{size(plan.batch_bytes)} / ({plan.workers} x {plan.bytes_per_row:,} bytes)"
    place = "in the folder for temporary files" if "://" in plan.output else "on the disk of output.path"
    each = f"{plan.workers} x {size(plan.worker_bytes)}"
    long_groups = ("- long row groups", size(plan.appended_bytes), "cluster columns that wait until one is complete")
    facts = [
        ("memory limit", size(plan.memory_limit_bytes), "engine.memory_limit"),
        ("- sample", size(plan.sample_bytes), f"{sample_rows:,} rows, as they are and scaled"),
        ("- workers", each, "page buffers, cluster columns of a span, sums by cluster"),
        *([long_groups] if plan.appended_bytes else []),
        ("= for batches", size(plan.batch_bytes), ""),
        ("bytes per row", f"{plan.bytes_per_row:,}", "two batches at a time: features decoded and scaled"),
        ("rows per batch", f"{plan.chunk_rows:,}", f"{division}, down to a power of two, at most {MAX_CHUNK_ROWS:,}"),
        ("working memory", size(plan.peak_bytes), "at most; the interpreter and its libraries come on top"),
        ("scratch copy", size(plan.scratch_bytes), f"{place} while the run is under way"),
        ("passes", str(sum(plan.passes.values())), ", ".join(f"{stage} {n}" for stage, n in plan.passes.items())),
        ("bytes to read", size(plan.bytes_to_read), "over all passes, at most"),
    ]
    print_facts(console, facts)
    print_line(console)
    print_line(console, f"output  {plan.output}")


def show_refresh(console: Console, result: RefreshResult, options: Options) -> None:
    """Print how a refresh ended, its segments, and what to do next where that is not plain."""
    held, first = result.status == "held", is_first(result)
    news = "the first version" if first else f"drift {result.severity}"
    print_line(
        console,
        f"{result.name} {result.version} {result.status}: {count(result.rows, 'row')} in "
        f"{count(result.n_clusters, 'segment')}, {news}",
        STYLES["held" if held else result.severity],
    )
    _print_partitions(console, result)
    _print_reasons(console, result.reasons)
    print_line(console)
    _print_segments(console, result)
    if truth := result.quality.get("truth"):
        agreement = f"ARI {truth['ari']:.3f}, NMI {truth['nmi']:.3f}"
        print_line(console)
        print_line(console, f"Against the {truth['classes']} classes in {truth['column']!r}: {agreement}.")
    print_line(console)
    if held:
        _print_gate(console, result)
        print_line(console, "CURRENT has not moved. Look at the report; to publish it all the same:")
        print_line(console, f"  {options.command(f'models promote {result.version}')}")
    _print_paths(console, result)
    if first and not held:
        print_line(console)
        print_line(console, "Next:")
        steps = {"labels suggest": "what the segments are, and names for them", "score": "whenever files have come"}
        _print_commands(console, options, steps)


def _print_segments(console: Console, result: RefreshResult) -> None:
    gone = [{"rows": None, "share": None, **segment} for segment in result.retired]
    segments = [
        (one["cluster_label"], number(one["rows"]), percent(one["share"]), one["event"])
        for one in [*by_size(result.labels), *gone]
    ]
    kept = {one["cluster_label"]: one["overlap"] for one in result.labels}
    if any(overlap is not None for overlap in kept.values()):
        titles = ("segment", ">rows", ">share", "event", ">rows kept")
        print_table(console, titles, [(*cells, percent(kept.get(cells[0]))) for cells in segments])
    else:
        print_table(console, ("segment", ">rows", ">share", "event"), segments)


def _print_gate(console: Console, result: RefreshResult) -> None:
    """Say which checks hold a version."""
    ended = [one["cluster_label"] for one in result.retired]
    new = [one["cluster_label"] for one in result.labels if one["event"] == "emerged"]
    for check in result.gate:
        if not check.ok:
            print_sentence(console, f"The gate holds it: {tell_check(asdict(check), ended, new)}.")


def show_score(
    console: Console, result: ScoreResult, options: Options, only: Sequence[str], since: str | None = None
) -> None:
    """Print what a score found, and whether it asks for a new fit."""
    if not result.partitions:
        _show_nothing_new(console, result, options, only, since)
        return
    size = f"{count(result.rows, 'row')} in {count(result.partitions, 'new or changed partition')}"
    print_line(console, f"{result.name} {result.version}: {size}, drift {result.severity}", STYLES[result.severity])
    _print_partitions(console, result)
    _print_reasons(console, result.reasons)
    if result.cleared:
        print_line(console, "  the drift that was there before is gone")
    print_line(console)
    print_table(
        console,
        ("segment", ">rows", ">share", ">reference", ">shift in radii"),
        [
            (
                one["cluster_label"],
                number(one["rows"]),
                percent(one["share"]),
                percent(one["reference_share"]),
                number(one["centroid_shift_radii"]),
            )
            for one in by_size(result.labels)
        ],
    )
    print_line(console)
    if result.retrain["requested"]:
        print_sentence(console, f"A new fit is due: {result.retrain['why']}.")
        print_line(console, f"  {options.command('retrain')}")
    else:
        print_sentence(console, f"No new fit is asked for: {result.retrain['why']}.")
    _print_paths(console, result)


def _show_nothing_new(
    console: Console, result: ScoreResult, options: Options, only: Sequence[str], since: str | None
) -> None:
    n_assigned = len(read_manifest(open_place(result.assignments)))
    every = f"all {n_assigned:,} partitions are" if n_assigned > 1 else "the only partition is"
    if only:
        every = f"every partition that matches --only {' '.join(only)} is"
    print_line(console, f"nothing new: {every} assigned" + (f" since {since}" if since else ""))
    _print_partitions(console, result)
    if result.retrain["requested"]:
        print_sentence(console, f"A new fit still waits: {result.retrain['why']}.")
        print_line(console, f"  {options.command('retrain')}")


def _print_commands(console: Console, options: Options, steps: Mapping[str, str]) -> None:
    """Print commands to copy, each with what it is for."""
    commands = {options.command(step): why for step, why in steps.items()}
    width = max(map(len, commands))
    for command, why in commands.items():
        print_line(console, f"  {command:<{width}}  # {why}")


def _print_partitions(console: Console, result: RunResult) -> None:
    """Say what was special about the rows and files of a run."""
    if result.rows_skipped:
        skipped = f"{result.rows_skipped:,} of them skipped, without a segment"
        print_line(console, f"  {skipped}: a value is missing or can't be used")
    if result.resumed:
        print_line(console, f"  went on from a run that was cut off: {count(result.resumed, 'partition')} done already")
    if isinstance(result, ScoreResult) and result.renamed:
        print_line(console, f"  {count(result.renamed, 'assignment file')} of before got new names")
    if isinstance(result, ScoreResult) and result.removed:
        print_line(console, f"  {count(result.removed, 'partition')} gone from the dataset; the assignments went too")
    if result.empty:
        print_line(
            console, f"  {count(len(result.empty), 'file')} without a byte passed over: {', '.join(result.empty[:3])}"
        )
    reasons = Counter(result.rewritten.values())
    for why, n_files in reasons.most_common(MAX_REASONS):
        print_line(console, f"  {count(n_files, 'file')} written again column by column, not copied: {why}")
    if result.too_few_rows:
        print_sentence(console, f"too few rows to judge by {tell_measures(result.too_few_rows)}", indent=2)
    if result.entities:
        print_sentence(console, tell_moves(result.entities), indent=2)


def _print_reasons(console: Console, reasons: Sequence[Mapping[str, Any]]) -> None:
    for reason in reasons[:MAX_REASONS]:
        print_sentence(console, f"{reason['severity']}: {reason['text']}", indent=2)
    if len(reasons) > MAX_REASONS:
        print_line(console, f"  and {len(reasons) - MAX_REASONS} more in the report")


def _print_paths(console: Console, result: RunResult) -> None:
    stages = {stage: spent for stage, spent in result.seconds.items() if stage != "total"}
    rest = "" if "report" in stages else f", comparison and report {result.seconds['total'] - sum(stages.values()):.1f}"
    told = ", ".join(f"{stage} {spent:.1f}" for stage, spent in stages.items()) + rest
    print_line(console, f"report       {result.report}")
    print_line(console, f"assignments  {result.assignments}")
    print_line(console, f"seconds      {result.seconds['total']:.1f} ({told})")
