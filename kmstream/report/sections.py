"""The sections of the page of a run, in their order: the tables and plots of each, and a note on how to read them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kmstream.report import separation, tables
from kmstream.report.facts import RunFacts
from kmstream.report.snapshot import MAX_FEATURES, SAMPLE_ROWS
from kmstream.report.widgets import Slot
from kmstream.wording import as_html, count, number, tell_moves


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes
    ----------
    id, title : str
    parts : tuple of str
        HTML; the section is left out if all of them are empty.
    note : str
        HTML that tells how to read it.
    """

    id: str
    title: str
    parts: tuple[str, ...]
    note: str = ""

    def render(self) -> str:
        """Render the section."""
        note = f'<p class="muted">{self.note}</p>' if self.note else ""
        return f'<section id="{self.id}"><h2>{self.title}</h2>{note}{"".join(self.parts)}</section>'


def list_sections(drift: Mapping[str, Any], run: RunFacts, slots: Mapping[str, Slot]) -> list[Section]:
    """Give all sections in their order; those that a run has nothing for have empty parts.

    Parameters
    ----------
    drift : mapping
        Content of drift.json.
    run : RunFacts
    slots : mapping of str to Slot
        Where the plots are drawn, by name.
    """
    plots = {name: slot.render() for name, slot in slots.items()}
    return [
        _segments(drift, run, plots["shares"], plots["history"]),
        _centroids(drift, run),
        Section("map", "Where the segments lie", (plots["map"],), _explain_map(drift, run)),
        _separation(drift),
        Section("distributions", "Distributions by segment", (plots["distributions"],), _explain_distributions(run)),
        _migration(drift, plots["migration"]),
        _names(drift),
        _entities(drift, plots["entities"]),
        _features(drift, plots["features"]),
        _measures(drift),
        _fit(run, plots["fit"]),
        _provenance(run),
    ]


def _segments(drift: Mapping[str, Any], run: RunFacts, *plots: str) -> Section:
    life_cycle = tables.render_life_cycle(drift) if run.kind == "refresh" else ""
    reference, current = as_html(drift["reference"]), as_html(drift["current"])
    compared = (
        f"Then is the data of {reference}, now is {current}. "
        "A radius is the typical distance of a row from its centroid in the reference. Inertia is the mean squared "
        "distance, times that of the reference. Outliers lie beyond the distance that held 99&nbsp;% of the "
        "reference rows. The mark in a bar is the share then; a pale bar is a move within three standard errors, noise."
    )
    note = "Largest first." if drift["reference"] is None else compared
    return Section("segments", "Segments", (life_cycle, tables.render_segments(drift), *plots), note)


def _centroids(drift: Mapping[str, Any], run: RunFacts) -> Section:
    note = "In original units. The darker a cell, the higher its segment ranks in that feature."
    if run.kind == "score":
        note += f" What sets a segment apart is told of the rows of {as_html(run.version)}."
    return Section("centroids", "Centroids", (tables.render_descriptions(drift), tables.render_centroids(drift)), note)


def _explain_map(drift: Mapping[str, Any], run: RunFacts) -> str:
    """Say how to read the map and the silhouettes."""
    note = ""
    if found := run.sample.get("map"):
        two = "two axes on which they differ most (principal components)"
        on = "axis on which they spread" if len(found["axes"]) == 1 else two
        note = f"Sampled rows on the {on}, in scaled units; a full dot is the centroid of a segment"
        if drift["reference"] is not None:
            note += " now, a hollow one then, and an arrow leads from then to now where a segment continues"
        note += ". "
    if (run.sample.get("silhouette") or {}).get("overall") is not None:
        note += (
            "The silhouette of a row is 1 where its segment stands apart, 0 between two segments, and below 0 where "
            "another one would be nearer; it is the mean over sampled rows."
        )
    return note


def _separation(drift: Mapping[str, Any]) -> Section:
    profile = drift.get("profile") or {}
    closest = _titled("Pairs hardest to tell apart", separation.render_closest(profile))
    parts = (separation.render_features(profile), closest)
    return Section("separation", "What separates the segments", parts, separation.explain(profile))


def _explain_distributions(run: RunFacts) -> str:
    """Say how to read the distributions."""
    told = run.sample.get("distributions")
    if not told:
        return ""
    kinds, n_segments = {found["kind"] for found in told}, run.sample["n_segments"]
    shown = max(len(found["counts"]) for found in told)
    largest = f", and the {shown} largest of {n_segments} segments" if shown < n_segments else ""
    sampled = count(run.sample["sample_rows"], "sampled row")
    note = f"Of {sampled}: the features that separate the segments best{largest}."
    if kinds != {"category"}:
        note += (
            " All outlines enclose the same area, whatever the size of a segment; of a segment at most 5&nbsp;% of the "
            "rows lie beyond either end. A box holds the middle half of the rows, its line is the median, and the "
            "whiskers end where 5&nbsp;% of the rows are left."
        )
    return f"{note} Features under log1p have an axis of that kind." if "log1p" in kinds else note


def _migration(drift: Mapping[str, Any], plot: str) -> Section:
    if drift["migration"] is None:
        return Section("migration", "From old segments to new ones", ())
    moves = _titled("Largest moves", tables.render_moves(drift["migration"], "Rows"))
    note = (
        "Every row was assigned by both models: how the rows of an old segment spread over the new ones. "
        f"Their agreement (ARI) is {number(drift['ari'], 3)}; 1 is equal."
    )
    return Section("migration", "From old segments to new ones", (_columns(plot, moves),), note)


def _names(drift: Mapping[str, Any]) -> Section:
    by_rows = "The features have changed, so names went by shared rows: the distance is the share that does not stay."
    by_place = "Each name goes to a near centroid, such that all distances together are least (in scaled units)."
    note = (
        f"{by_rows if drift.get('matched_by') == 'overlap' else by_place} "
        "The margin is what the best choice without this pair would cost more: near 0, the name could as well have "
        "gone elsewhere. By shared rows is the name that most rows in common would have given. A segment that keeps "
        "less than 70&nbsp;% of its old rows is marked."
    )
    return Section("names", "What speaks for the names", (tables.render_names(drift),), note)


def _entities(drift: Mapping[str, Any], plot: str) -> Section:
    entities = drift.get("entities")
    if not entities:
        return Section("entities", "Who moved", ())
    moves = _titled("Largest moves", tables.render_moves(entities, "Times"))
    note = (
        f"{as_html(tell_moves(entities))} Each is compared with the last time it was seen; who moved, and when, is in "
        f"{as_html(Path(entities['file']).name)} beside this page."
    )
    return Section("entities", f"Who moved: {as_html(entities['key'])}", (_columns(plot, moves),), note)


def _features(drift: Mapping[str, Any], widgets: str) -> Section:
    samples = (
        "<h3>Evidently's look at samples</h3>"
        f'<p class="muted">At most {SAMPLE_ROWS:,} rows each, and {MAX_FEATURES} features, those with '
        "the largest PSI. Its limits are its own, and its scores do not compare from run to run. Open a row for the "
        "distributions.</p>"
    )
    note = (
        "PSI is counted over every row on frozen bins, so it compares from run to run. The two effects add up to the "
        "change of the mean: segments that grew or shrank, and rows that changed within their segments."
    )
    parts = (tables.render_features(drift), samples + widgets if widgets else "")
    return Section("features", "Features", parts, "" if drift["reference"] is None else note)


def _measures(drift: Mapping[str, Any]) -> Section:
    source = f"Thresholds: {as_html(drift['thresholds_from'])}."
    note = f"{source} What chance alone may make of so many rows is never drift."
    return Section("measures", "Measures over all rows", (tables.render_totals(drift),), note)


def _fit(run: RunFacts, plot: str) -> Section:
    gate, passes = _titled("Gate", tables.render_gate(run)), _titled("Passes", tables.render_passes(run))
    return Section("fit", "Gate and fit", (_columns(gate, passes, plot),))


def _provenance(run: RunFacts) -> Section:
    facts = {"Run": run.run_id, "Created": run.created, "Partitions": run.partitions, "Rows": run.rows}
    facts |= {f"Rows skipped: {reason}": rows for reason, rows in run.rows_skipped.items()}
    facts |= {f"Seconds: {step}": seconds for step, seconds in run.seconds.items()}
    both = (tables.render_facts(run.provenance, label="From"), tables.render_facts(facts, label="This run"))
    return Section("provenance", "Provenance", (_columns(*both),))


def _titled(title: str, table: str) -> str:
    return f"<div><h3>{title}</h3>{table}</div>" if table else ""


def _columns(*parts: str) -> str:
    content = "".join(parts)
    return f'<div class="columns">{content}</div>' if content else ""
