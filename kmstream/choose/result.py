"""What a choice of k comes to for people: the result of the verb, and its page."""

from dataclasses import replace

from kmstream.choose.classes import ClassifiedRows
from kmstream.choose.compare import Choice
from kmstream.provenance import peak_rss_bytes
from kmstream.results import ChoiceResult
from kmstream.run import Run
from kmstream.storage import replace_file


def report_choice(run: Run, choice: Choice, scaling: str, classified: ClassifiedRows | None) -> ChoiceResult:
    """Write the page of a choice, and give its result.

    Parameters
    ----------
    run : Run
    choice : Choice
    scaling : str
        The version whose frozen scaling was used; "new" if it was learnt from these rows.
    classified : ClassifiedRows or None
        What the choice was compared with.
    """
    from kmstream.report.choice import render_choice  # loads plotly, which no other verb needs at once

    page = run.store.output / "reports" / "choose-k.html"
    result = ChoiceResult(
        name=run.config.name,
        rows=run.dataset.rows,
        sample_rows=choice.n_sample_rows,
        scaling=scaling,
        truth=classified.column if classified else None,
        truth_rows=len(classified.X) if classified else None,
        k=choice.candidates,
        recommended=choice.advice.k,
        reason=choice.advice.reason,
        elbow=choice.elbow,
        notes=choice.notes,
        report=str(page),
        seconds=run.clock.seconds,
        peak_rss_bytes=peak_rss_bytes(),
    )
    replace_file(page, render_choice(result.to_json(), created=run.clock.now.isoformat()))
    return replace(result, seconds=run.clock.seconds, peak_rss_bytes=peak_rss_bytes())
