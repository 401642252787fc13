"""The Markdown card of a model: what it was fitted on, what it found, how good it is, what it can't do."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kmstream.report.facts import ModelFacts
from kmstream.report.verdict import explain, living_segments, ranked
from kmstream.wording import NOTHING, Scalar, as_markdown, count, moment, name_check, number, percent

_LIMITS = """\
- K-means puts every row into the segment whose centroid is nearest. It finds round segments of similar width; long,
  nested or very unequal groups are cut into pieces or merged.
- It always finds as many segments as it is asked for, also where there are none. Segments are a summary of the data,
  not a fact about a single row: a row near a border could as well be next door (its `cluster_margin` is small).
- Distances depend on the features, their scaling and the log1p listed above. Another choice gives other segments.
- The centroid of a segment is a mean, so a few extreme rows pull it. Where log1p is used it is the mean of logarithms,
  which lies below the mean of the original values.
- A segment keeps its name while it can be matched to its predecessor. The name says that it continues, not that it is
  unchanged: the report tells how far it moved.
- Nothing here says why rows belong together, nor that a segment causes anything. Before decisions about people, check
  what the features stand for."""

_FIGURES = """\
- **share**: part of the rows that could be assigned. **Inertia per row**: mean squared distance of a row to its
  centroid, in scaled units; comparable between versions with the same features and scaling only.
- **silhouette**: from -1 to 1, on a sample; above 0.5 the segments stand apart, near 0 they touch.
- **Davies-Bouldin**: how near each segment is to the one most like it, for their spreads; lower is better.
- **Calinski-Harabasz**: spread between the segments against spread within; higher is better.
- **centroid moved**: in radii, that is in typical distances of a row from its centroid in the reference."""


def render_card(model: ModelFacts, drift: Mapping[str, Any]) -> str:
    """Render the card; parameters are those of `write_model_card`."""
    parts = [
        f"# Model card: {as_markdown(model.name)} {as_markdown(model.version)}",
        f"{as_markdown(model.status).capitalize()} {as_markdown(moment(model.created))}. "
        f"K-means, {count(len(living_segments(drift)), 'segment')} in {count(model.rows, 'row')}.",
        "## Data",
        _data(model),
        "## Features",
        _features(model),
        "## Parameters",
        _table(["Parameter", "Value"], ([as_markdown(key), _code(value)] for key, value in model.parameters.items())),
        "## Segments",
        _segments(drift),
        "## Quality",
        _quality(model, drift),
        "## What the figures mean",
        _FIGURES,
        "## Limits",
        _LIMITS,
        "## Provenance",
        _table(["From", ""], ([as_markdown(key), _code(value)] for key, value in model.provenance.items())),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _data(model: ModelFacts) -> str:
    skipped = sum(model.rows_skipped.values())
    reasons = ", ".join(f"{as_markdown(reason)} {rows:,}" for reason, rows in model.rows_skipped.items() if rows)
    lines = [
        f"- Dataset: {_code(model.dataset)}",
        f"- {count(model.partitions, 'partition')}, {count(model.rows, 'row')}",
        f"- Rows skipped: {skipped:,}" + (f" ({reasons})" if reasons else ""),
    ]
    return "\n".join(lines)


def _features(model: ModelFacts) -> str:
    rows = [
        [as_markdown(name), "numeric", "log1p, then " * (name in model.log1p) + model.scaling] for name in model.numeric
    ] + [[as_markdown(name), "categorical", "one-hot"] for name in model.categorical]
    clip = f"within {number(model.clip)} scaled units while fitting" if model.clip else "off"
    notes = f"Missing values: {_code(model.on_missing)}. Clipping: {clip}."
    return _table(["Feature", "Kind", "Prepared by"], rows) + f"\n\n{notes}"


def _segments(drift: Mapping[str, Any]) -> str:
    segments, compared = living_segments(drift), drift["reference"] is not None
    features = list(dict.fromkeys(feature for s in segments for feature in s["centroid"]))
    head = ["Segment", "Status", "Rows", "Share"] + ["Share before", "Centroid moved"] * compared
    rows = []
    for s in segments:
        before = [percent(s["reference_share"]), number(s["centroid_shift_radii"], 3)] * compared
        centroid = [number(s["centroid"][feature]) for feature in features]
        rows.append(
            [as_markdown(s["cluster_label"]), s["status"], number(s["rows"]), percent(s["share"]), *before, *centroid]
        )
    words = [
        f"- {as_markdown(s['cluster_label'])}: {as_markdown(s['description'])}"
        for s in segments
        if s.get("description")
    ]
    parts = [
        _table([*head, *map(as_markdown, features)], rows, numbers_from=2),
        "The last columns are the centroids, in original units.",
        "\n".join(words),
    ]
    return "\n\n".join(part for part in parts if part)


def _quality(model: ModelFacts, drift: Mapping[str, Any]) -> str:
    quality = model.quality
    lines = [
        f"- Inertia per row: {number(model.inertia_per_row)}",
        f"- Silhouette: {number(quality.get('silhouette'), 3)}",
        f"- Davies-Bouldin: {number(quality.get('davies_bouldin'), 3)}",
        f"- Calinski-Harabasz: {number(quality.get('calinski_harabasz'))}",
    ]
    if truth := quality.get("truth"):
        agreement = f"ARI {number(truth['ari'], 3)}, NMI {number(truth['nmi'], 3)}"
        lines.append(f"- Agreement with the classes in {as_markdown(truth['column'])}: {agreement}")
    if drift["ari"] is not None:
        lines.append(f"- Agreement with {as_markdown(drift['reference'])} (ARI): {number(drift['ari'], 3)}")
    if drift["reasons"]:
        lines.append(f"- Its data against those of {as_markdown(drift['reference'])}:")
    lines += [f"  - {as_markdown(explain(reason))}" for reason in ranked(drift["reasons"])]
    gate = [
        [
            as_markdown(name_check(check)),
            "passed" if check["ok"] else "**failed**",
            number(check["observed"]),
            number(check["limit"]),
        ]
        for check in model.gate
    ]
    table = _table(["Gate", "Result", "Observed", "Limit"], gate, numbers_from=2)
    return "\n".join(lines) + (f"\n\n{table}" if table else "")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers_from: int | None = None) -> str:
    body = [f"| {' | '.join(cells)} |" for cells in rows]
    if not body:
        return ""
    is_number = [numbers_from is not None and i >= numbers_from for i in range(len(head))]
    rule = f"|{'|'.join('---:' if right else '---' for right in is_number)}|"
    return "\n".join([f"| {' | '.join(head)} |", rule, *body])


def _code(value: Scalar) -> str:
    text = " ".join(str(value).split())
    if not text:
        return NOTHING
    return as_markdown(text) if "`" in text or "|" in text else f"`{text}`"
