"""One HTML page per run and one Markdown card per model: the only room that knows evidently, plotly and HTML.

Importing this package is light. `write_report` imports the rest when it is called, because evidently alone takes
seconds to load.

What is told: `facts` (what the callers fill in, beside drift.json), `verdict` (the sentences on top), `wording`
(numbers and names).

The page of a run, from the outside in: `page` puts it together, `frame` is around it (`page.css` its looks), `sections`
lists its parts with a note on each. Their tables: `tables`, `separation` (What separates the segments), written by
`markup`. Their plots, all in the looks of `plot_style`: `change_plots` (Segments, Gate and fit), `map_plots` (Where the
segments lie), `distribution_plots` (Distributions by segment), `flow_plots` (From old segments to new ones, Who moved);
`widgets` puts them into the page.

The same figures in evidently: `snapshot` runs its Report over `metrics` and `sample_metrics`, each a `calculation`,
with `drift_tests` (thresholds). The runs one after the other, in its UI: `workspace`, `dashboard`.

The other pages: `card` (a model, in Markdown), `choice` (choose-k).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kmstream.report.facts import ModelFacts, RunFacts

if TYPE_CHECKING:
    import pyarrow as pa

    from kmstream.storage import Place

__all__ = ["ModelFacts", "RunFacts", "write_model_card", "write_report"]


def write_report(
    path: Path,
    drift: Mapping[str, Any],
    *,
    reference_sample: "pa.Table | None",
    current_sample: "pa.Table | None",
    run: RunFacts,
    output: "Place | None" = None,
) -> None:
    """Write one self-contained HTML page about a run; it needs no network to be read.

    Parameters
    ----------
    path : Path
        The page; its folder is made if it is missing.
    drift : mapping
        Content of drift.json. ``reference`` is None for a first version.
    reference_sample, current_sample : pyarrow.Table or None
        Raw feature columns in original units and, if known, a string column ``cluster_label``. Without both, the page
        has no feature distributions.
    run : RunFacts
    output : Place, optional
        Where the run is to be added to the workspace, as soon as it is visible: see `workspace.stage_snapshot`.
    """
    from kmstream.report.page import render_page
    from kmstream.report.snapshot import build_snapshot
    from kmstream.report.workspace import stage_snapshot

    snapshot = build_snapshot(drift, reference_sample=reference_sample, current_sample=current_sample, run=run)
    _write(path, render_page(drift, snapshot, run))
    if output is not None:
        stage_snapshot(output, run.run_id, snapshot)


def write_model_card(path: Path, model: ModelFacts, drift: Mapping[str, Any]) -> None:
    """Write the Markdown card of a model version.

    Parameters
    ----------
    path : Path
    model : ModelFacts
    drift : mapping
        Content of drift.json; its segments are the model's.
    """
    from kmstream.report.card import render_card

    _write(path, render_card(model, drift))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")  # a reader never sees half a page
    try:
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
