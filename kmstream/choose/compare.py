"""The numbers of segments that are tried on the row sample, and what comes of it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmstream.arrays import IntArray, Matrix
from kmstream.choose.advice import Advice, find_elbow, name_all, recommend
from kmstream.choose.classes import ClassifiedRows
from kmstream.choose.fits import measure_ks
from kmstream.errors import ConfigError, TooFewRowsError
from kmstream.features import Scaling, clip, encode
from kmstream.results import Candidate
from kmstream.run import Run
from kmstream.scan import Scan

DEFAULT_KS = range(2, 13)


@dataclass(frozen=True)
class Choice:
    """What became of each k.

    Attributes
    ----------
    n_sample_rows : int
        Rows to which each was fitted.
    candidates : tuple of Candidate
        In the order of k.
    advice : Advice
    elbow : int or None
        The k where the inertia bends most.
    notes : tuple of str
        What was not tried, and why.
    """

    n_sample_rows: int
    candidates: tuple[Candidate, ...]
    advice: Advice
    elbow: int | None
    notes: tuple[str, ...]


def check_ks(ks: Sequence[int]) -> list[int]:
    """Sort the numbers of segments to try, each once.

    Raises
    ------
    ConfigError
        If there is none, or one below 2: a single segment has no silhouette to compare.
    """
    found = sorted(set(ks))
    if not found or found[0] < 2:
        error = ConfigError(f"k is {found[0]}; expected at least 2" if found else "no k to try; expected at least one")
        error.add_note("Give a range or a list, like --k 2:12 or --k 3,5,8.")
        raise error
    return found


def compare_ks(
    run: Run, scan: Scan, scaling: Scaling, ks: Sequence[int], classified: ClassifiedRows | None = None
) -> Choice:
    """Fit each k to the row sample, measure it, and recommend one.

    Parameters
    ----------
    run : Run
    scan : Scan
        Its sample is in original units.
    scaling : Scaling
        The sample is fitted in its units, clipped as a fit would.
    ks : sequence of int
        As `check_ks` gives them; those that the sample has too few distinct rows for are left out.
    classified : ClassifiedRows, optional
        Rows whose true classes each fit is compared with.

    Raises
    ------
    TooFewRowsError
        If the sample has too few distinct rows for any k.
    """
    X = _make_matrix(run, scan, scaling)
    kept, notes = leave_out(ks, X)
    candidates = measure_ks(run, X, kept, classified)
    return Choice(
        n_sample_rows=len(X),
        candidates=tuple(candidates),
        advice=recommend(candidates, min_share=run.config.model.min_cluster_share),
        elbow=find_elbow(kept, [one.inertia_per_row for one in candidates]),
        notes=notes,
    )


def _make_matrix(run: Run, scan: Scan, scaling: Scaling) -> Matrix:
    """Give the sample in scaled units, as a fit sees it; rows that count for more are there more often.

    Returns
    -------
    ndarray of shape (n_sample_rows, n_features)
    """
    features = run.config.features
    X = clip(encode(scan.sample, features, scaling).rows, features).X
    total, n_rows = np.cumsum(scan.weights), len(X)
    if run.weighting is None or not total[-1]:
        return X
    chosen: IntArray = np.searchsorted(total, (np.arange(n_rows) + 0.5) * total[-1] / n_rows)
    return X[chosen]


def leave_out(ks: Sequence[int], X: Matrix) -> tuple[list[int], tuple[str, ...]]:
    """Leave out what the sample has too few distinct rows for.

    Returns
    -------
    ks : list of int
    notes : tuple of str
        What was left out, if anything.

    Raises
    ------
    TooFewRowsError
        If nothing is left.
    """
    distinct = len(np.unique(X + 0.0, axis=0))  # -0.0 and 0.0 are one
    kept = [k for k in ks if k <= distinct]
    what = f"{distinct} distinct rows among {len(X):,} sampled"
    if not kept:
        error = TooFewRowsError(f"only {what}; expected at least k={ks[0]}")
        error.add_note("Try a smaller --k, or give it more rows or features.")
        raise error
    gone = [k for k in ks if k > distinct]
    return kept, (f"k={name_all(gone)} left out: {what}",) if gone else ()
