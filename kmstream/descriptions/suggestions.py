"""A name to propose for each segment."""

from collections import Counter
from collections.abc import Collection, Sequence
from itertools import chain, count

import numpy as np

from kmstream.descriptions.contrast import Contrast
from kmstream.descriptions.traits import Evidence, Trait, weigh
from kmstream.separation import NOISE

_ADVERBS = ("slightly-", "fairly-", "", "very-")
_MORE = ("slightly-more-", "more-", "")
_LESS = ("slightly-less-", "less-", "rarely-")
_ORDINALS = ("", "second-", "third-")


def suggest_names(contrast: Contrast, used_labels: Collection[str] = ()) -> tuple[str, ...]:
    """Propose a short name for each segment, from what `describe_segments` tells.

    The strongest feature makes the name, unless another segment is as far off in it or is told by the same words; then
    the next feature joins it. Where three are not enough a segment is told by its rank ("second-highest-monetary"), and
    by a number at last. A name used before is passed over likewise; upper and lower case make no difference.

    Parameters
    ----------
    contrast : Contrast
    used_labels : collection of str
        Every label ever used: none of them is proposed.

    Returns
    -------
    tuple of str
        Per segment, all different. The order of the segments has no influence, but for those alike in everything.

    Examples
    --------
    >>> contrast = Contrast(
    ...     names=("monetary", "recency_days"),
    ...     n_numeric=2,
    ...     means=np.array([[1905.0, 12.0], [1800.0, 190.0], [289.0, 93.0]]),
    ...     average=np.array([612.0, 92.0]),
    ...     z=np.array([[1.9, -0.8], [1.8, 1.0], [-0.48, 0.1]]),
    ...     shares=np.array([0.1, 0.1, 0.8]),
    ... )
    >>> suggest_names(contrast)
    ('very-high-monetary-low-recency_days', 'very-high-monetary-high-recency_days', 'low-monetary')
    >>> suggest_names(contrast, used_labels=["low-monetary"])[2]
    'lowest-monetary'
    """
    evidence = weigh(contrast)
    candidates = [_propose(evidence, i) for i in range(len(contrast.shares))]
    used = {label.casefold() for label in used_labels}
    names = _choose_distinct(candidates, used)
    used |= {name.casefold() for name in names.values()}
    order = np.lexsort((*evidence.z.T, -contrast.shares)).tolist()
    for i in (i for i in order if i not in names):
        base = candidates[i][0]
        numbered = chain([base], (f"{base}-{n}" for n in count(2)))
        names[i] = next(name for name in numbered if name.casefold() not in used)
        used.add(names[i].casefold())
    return tuple(names[i] for i in range(len(names)))


def _choose_distinct(candidates: Sequence[Sequence[str]], used: Collection[str]) -> dict[int, str]:
    """Give each segment the first of its candidates that no other one wants; none where all of them are wanted."""
    stages = [0] * len(candidates)
    while True:
        names = {i: candidates[i][stage] for i, stage in enumerate(stages) if stage < len(candidates[i])}
        wanted = Counter(name.casefold() for name in names.values())
        clashes = [i for i, name in names.items() if wanted[name.casefold()] > 1 or name.casefold() in used]
        if not clashes:
            return names
        for i in clashes:  # all of them, so that no one's name depends on who came first
            stages[i] += 1


def _propose(evidence: Evidence, i: int) -> list[str]:
    """List the names a segment could have, the best first."""
    if evidence.instead[i]:
        return [evidence.instead[i].replace(" ", "-")]
    traits = evidence.traits[i]
    n_told = sum(trait.level > 0 for trait in traits)
    fitting = [n for n in range(1, len(traits) + 1) if not _fits_another(evidence, i, n)]
    told = ["-".join(map(_name_trait, traits[:n])) for n in fitting if n <= n_told]
    faint = ["-".join(map(_name_trait, traits[:n])) for n in fitting if n > n_told]
    ranked = [_name_rank(trait) for trait in traits]
    leading = [name for name, trait in zip(ranked, traits, strict=True) if trait.level and trait.rank <= 2]
    return [*told, *leading, *faint, *ranked] if n_told else ["average", *faint, *ranked]


def _fits_another(evidence: Evidence, i: int, n: int) -> bool:
    """Whether another segment has these `n` traits too, and tells them itself or is as far off in the first of them."""
    traits = evidence.traits[i][:n]
    columns = [trait.column for trait in traits]
    signed = np.sign(evidence.z[:, columns]) * (1 + evidence.levels[:, columns])
    as_far = np.abs(evidence.z[:, columns[0]]) >= abs(traits[0].z) * (1 - NOISE)
    return any(
        as_far[other] or [trait.column for trait in evidence.traits[other][:n]] == columns
        for other in np.flatnonzero((signed == signed[i]).all(axis=1)).tolist()
        if other != i
    )


def _name_trait(trait: Trait) -> str:
    words = f"{_ADVERBS[trait.level]}{'high' if trait.z > 0 else 'low'}-"
    words = (_MORE if trait.z > 0 else _LESS)[trait.level] if trait.is_category else words
    return words + _hyphenate(trait.name)


def _name_rank(trait: Trait) -> str:
    ends = ("least", "most") if trait.is_category else ("lowest", "highest")
    return f"{_ordinal(trait.rank)}{ends[trait.z > 0]}-{_hyphenate(trait.name)}"


def _ordinal(rank: int) -> str:
    """Give "" for the first, then "second-", "third-", "4th-", "21st-"."""
    if rank <= len(_ORDINALS):
        return _ORDINALS[rank - 1]
    ending = "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    return f"{rank}{ending}-"


def _hyphenate(name: str) -> str:
    """Write a column as part of a name: "channel=credit card" is channel-credit-card."""
    return name.replace("=", "-", 1).replace(" ", "-")
