"""How to read what the page shows of sampled rows."""

from kmstream.report.facts import RunFacts
from kmstream.report.wording import count


def explain_map(run: RunFacts, *, compared: bool) -> str:
    """Say how to read the map and the silhouettes, in HTML; `compared`: with a reference."""
    found = run.sample.get("map")
    axes = 0 if not found else len(found["axes"])
    on = "axis on which they spread" if axes == 1 else "two axes on which they differ most (principal components)"
    centres = "a full dot is the centre of a segment" + (
        " now, a hollow one then, and an arrow leads from then to now where a segment continues" if compared else ""
    )
    silhouette = (
        ""
        if (run.sample.get("silhouette") or {}).get("overall") is None
        else (
            "The silhouette of a row is 1 where its segment stands apart, 0 between two segments, and below 0 where "
            "another one would be nearer; it is the mean over sampled rows."
        )
    )
    return (f"Sampled rows on the {on}, in scaled units; {centres}. " if axes else "") + silhouette


def explain_distributions(run: RunFacts) -> str:
    """Say how to read the distributions, in HTML."""
    told = run.sample.get("distributions") or ()
    shown = max((len(found["counts"]) for found in told), default=0)
    largest = (
        f", and the {shown} largest of {run.sample['n_segments']} segments"
        if told and shown < run.sample["n_segments"]
        else ""
    )
    parts = [
        f"Of {count(run.sample.get('sample_rows', 0), 'sampled row')}: the features that separate the segments "
        f"best{largest}."
    ]
    if any(found["kind"] != "category" for found in told):
        parts.append(
            "All outlines enclose the same area, whatever the size of a segment; of a segment at most 5&nbsp;% of the "
            "rows lie beyond either end. A box holds the middle half of the rows, its line is the median, and the "
            "whiskers end where 5&nbsp;% of the rows are left."
        )
    if any(found["kind"] == "log1p" for found in told):
        parts.append("Features under log1p have an axis of that kind.")
    return " ".join(parts)
