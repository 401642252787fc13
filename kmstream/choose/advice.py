"""Which k the figures speak for, in one sentence; that none stands out is an answer, too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kmstream.results import Candidate

STABLE, STABLE_MARGIN = 0.9, 0.05  # adjusted Rand index; or nearly as stable as the best
SAME_STABILITY = 0.02
LEAST_STABILITY = 0.75  # below it, halves of the same rows tell different stories
CLOSE = 0.03  # silhouettes that differ by less say the same
# L. Kaufman, P. J. Rousseeuw (1990), Finding groups in data, table 4: what a silhouette means.
STRONG, REASONABLE, WEAK = 0.7, 0.5, 0.25
_LEAST_BEND = 0.1  # of the height of the chord


@dataclass(frozen=True)
class Advice:
    """The k to take.

    Attributes
    ----------
    k : int or None
        None if none stands out.
    reason : str
        One sentence.
    """

    k: int | None
    reason: str


@dataclass(frozen=True)
class _Judged:
    """A candidate whose silhouette and stability are known."""

    k: int
    silhouette: float
    stability: float
    smallest_share: float


def recommend(candidates: Sequence[Candidate], *, min_share: float) -> Advice:
    """Recommend the k with the highest silhouette of those that are stable.

    Stable is what fits to two halves of the rows agree on: an adjusted Rand index of 0.9, or within 0.05 of the best.
    Of k whose silhouettes are within 0.03 of the highest it is the most stable, and of such the largest: as tight and
    as stable, and it tells more. Left out is a k whose smallest segment the quality gate of a refresh would hold.

    None stands out if none is stable, or if the structure is weak (a silhouette below 0.5) and other k have the same
    silhouette, as rows without any clusters do.

    Parameters
    ----------
    candidates : sequence of Candidate
    min_share : float
        Least share of the rows in a segment, `model.min_cluster_share`.

    Examples
    --------
    >>> figures = [(2, 0.52, 0.99), (3, 0.71, 0.99), (4, 0.60, 0.71)]
    >>> advice = recommend(
    ...     [Candidate(k, 1 / k, silhouette, 1.0, 9.0, stability, 0.2) for k, silhouette, stability in figures],
    ...     min_share=0.001,
    ... )
    >>> advice.k, advice.reason
    (3, '3 has the highest silhouette (0.71, strong structure) of the 2 k whose refits on halves agree (ARI 0.99).')
    """
    judged = [
        _Judged(one.k, one.silhouette, one.stability, one.smallest_share)
        for one in candidates
        if one.silhouette is not None and one.stability is not None
    ]
    sound = [one for one in judged if one.smallest_share >= min_share]
    if why := _find_obstacle(candidates, judged, sound, min_share):
        return Advice(None, f"no k stands out: {why}.")
    limit = min(STABLE, max(one.stability for one in sound) - STABLE_MARGIN)
    stable = [one for one in sound if one.stability >= limit]
    top = max(stable, key=lambda one: (one.silhouette, one.stability))
    if top.silhouette < WEAK:
        why = f"the highest silhouette of a stable k is {top.silhouette:.2f} ({top.k}); below {WEAK} segments overlap"
        return Advice(None, f"no k stands out: {why}.")
    alike = [one.k for one in sound if abs(one.silhouette - top.silhouette) < CLOSE]
    if len(alike) > 1 and top.silhouette < REASONABLE:
        why = f"the silhouettes of {name_all(alike)} are close to {top.silhouette:.2f} alike"
        return Advice(None, f"no k stands out: {why}, and none reaches {REASONABLE}.")
    close = [one for one in stable if one.silhouette > top.silhouette - CLOSE]
    steadiest = max(one.stability for one in close)
    best = max((one for one in close if one.stability > steadiest - SAME_STABILITY), key=lambda one: one.k)
    parts = [_say_why(best, top, stable)]
    if others := [one.k for one in close if one is not best and one is not top]:
        parts.append(f"{name_all(others)} {'comes' if len(others) == 1 else 'come'} close")
    if better := [one.k for one in judged if one not in sound and one.silhouette > best.silhouette]:
        parts.append(f"{name_all(better)} would make a segment of less than {min_share:.3g} of the rows")
    if best.k == max(one.k for one in candidates):
        parts.append("it is the largest k tried, so try larger ones too")
    return Advice(best.k, "; ".join(parts) + ".")


def find_elbow(ks: Sequence[int], inertia: Sequence[float]) -> int | None:
    """Find where the inertia bends most: the k farthest below the chord from the first to the last.

    Returns
    -------
    int or None
        None with fewer than three k, or if it hardly bends.

    References
    ----------
    V. Satopaa et al. (2011), Finding a "kneedle" in a haystack, ICDCS Workshops, 166-171.

    Examples
    --------
    >>> find_elbow([2, 3, 4, 5, 6], [10.0, 6.0, 2.0, 1.8, 1.7])
    4
    """
    if len(ks) < 3 or inertia[0] <= inertia[-1]:
        return None
    along = (np.array(ks) - ks[0]) / (ks[-1] - ks[0])
    down = (inertia[0] - np.array(inertia)) / (inertia[0] - inertia[-1])
    bend = down - along
    best = int(bend.argmax())
    return ks[best] if bend[best] >= _LEAST_BEND else None


def name_all(ks: Sequence[object]) -> str:
    """Write a list as people do.

    Examples
    --------
    >>> name_all([2]), name_all([2, 3]), name_all([2, 3, 5])
    ('2', '2 and 3', '2, 3 and 5')
    """
    *first, last = map(str, ks)
    return f"{', '.join(first)} and {last}" if first else last


def _find_obstacle(
    candidates: Sequence[Candidate], judged: Sequence[_Judged], sound: Sequence[_Judged], min_share: float
) -> str:
    if len(candidates) == 1:
        return f"{candidates[0].k} is the only one tried"
    if not judged:
        return "the sample has too few distinct rows to judge any"
    if not sound:
        return f"each would make a segment of less than {min_share:.3g} of the rows"
    best = max(sound, key=lambda one: one.stability)
    if best.stability < LEAST_STABILITY:
        return f"refits on halves of the sample disagree at every k (ARI {best.stability:.2f} at best, at {best.k})"
    return ""


def _say_why(best: _Judged, top: _Judged, stable: Sequence[_Judged]) -> str:
    agree = f"whose refits on halves agree{'' if best.stability >= STABLE else ' best'} (ARI {best.stability:.2f})"
    figure = f"{best.silhouette:.2f}, {_strength(best.silhouette)} structure"
    if best is not top:
        highest = f"the highest ({top.silhouette:.2f}, of {top.k})"
        return f"{best.k} has a silhouette ({figure}) close to {highest}, and of such k it is the finest {agree}"
    if len(stable) == 1:
        only = "only " if best.stability >= STABLE else ""
        return f"{best.k} is the {only}k {agree}; its silhouette is {figure}"
    return f"{best.k} has the highest silhouette ({figure}) of the {len(stable)} k {agree}"


def _strength(silhouette: float) -> str:
    return "strong" if silhouette > STRONG else "reasonable" if silhouette > REASONABLE else "weak"
