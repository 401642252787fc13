"""What a segment is, in words: one sentence from its centroid against the average of all rows, and a name to propose.

Both read a `Profile`: numbers in original units for the reader, differences in standard deviations for the choice of
what is worth telling. A name is only proposed here; people give names (`kmstream labels rename`).
"""

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import chain, count

import numpy as np
from numpy.typing import NDArray

from kmstream.config import FeaturesConfig
from kmstream.features import Scaling, encoded_names, to_original_units
from kmstream.reasons import number
from kmstream.summary import ClusterSummary

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

A_LITTLE, CLEARLY, FAR = 0.3, 0.7, 1.5  # standard deviations from the average; what is nearer is not told
MAX_FEATURES, MAX_CHARACTERS = 3, 120  # of a description; the first feature is told whatever its length
TIMES, PART = 1.5, 0.67  # a ratio is told from the first upwards and from the second downwards
SPREAD_OF_RATIOS = 0.5  # times the average: only what spreads as widely as this is told by its ratio
MOSTLY, HARDLY = 0.5, 0.05  # share of a segment's rows that are of a category

_FAINT = 0.05  # standard deviations; what is nearer than this doesn't tell two segments apart either
_NOISE = 1e-9  # of a number, what its rounding may leave
_MOST_TIMES = 100
_LONG_NUMBER = 1e15
_ADVERBS = ("slightly-", "fairly-", "", "very-")
_DEGREES = ("slightly", "a little", "", "far")
_PARTS = ("half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth", "a tenth")
_MORE = ("slightly-more-", "more-", "")
_LESS = ("slightly-less-", "less-", "rarely-")
_ORDINALS = ("", "second-", "third-")


@dataclass(frozen=True)
class Profile:
    """Segments against all rows.

    Attributes
    ----------
    names : tuple of str
        Of the columns: numeric features, then "feature=value" per category, as `encoded_names` gives them.
    n_numeric : int
    means : ndarray of shape (n_clusters, n_features)
        Original units; a category is a share of rows. Of a segment without rows anything, NaN too.
    average : ndarray of shape (n_features,)
        The same of all rows.
    z : ndarray of shape (n_clusters, n_features)
        Mean of the segment less that of all rows, in standard deviations of all rows, in scaled units.
    shares : ndarray of shape (n_clusters,)
        Of all rows.
    """

    names: tuple[str, ...]
    n_numeric: int
    means: FloatArray
    average: FloatArray
    z: FloatArray
    shares: FloatArray


@dataclass(frozen=True)
class _Trait:
    """What one column says of one segment.

    `level` is 0 slightly, 1 a little, 2 clearly, 3 far; of a category 1, and 2 if most rows are of it, or hardly any.
    `ratio` is NaN where it says nothing, `rank` 1 for the segment that is farthest off on this side.
    """

    column: int
    name: str
    is_category: bool
    z: float
    value: float
    average: float
    ratio: float
    level: int
    rank: int


@dataclass(frozen=True)
class _Evidence:
    """What is worth telling: per segment what it is `instead`, if not to be compared, and its strongest traits."""

    instead: tuple[str, ...]
    traits: tuple[tuple[_Trait, ...], ...]
    z: FloatArray
    levels: IntArray


def profile_segments(summary: ClusterSummary, features: FeaturesConfig, scaling: Scaling) -> Profile:
    """Set the segments of a model against all of its rows.

    Parameters
    ----------
    summary : ClusterSummary
        Of the rows the model was fitted on, in scaled units.
    features : FeaturesConfig
    scaling : Scaling

    Examples
    --------
    >>> summary = ClusterSummary(
    ...     np.array([30, 10]), np.array([[-1.0], [3.0]]), np.zeros((2, 1)), np.zeros(2), np.zeros((2, 1))
    ... )
    >>> scaling = Scaling(np.array([50.0]), np.array([10.0]), np.array([50.0]), np.zeros((1, 0)))
    >>> profile = profile_segments(summary, FeaturesConfig(numeric=("age",)), scaling)
    >>> profile.means.ravel(), profile.average, profile.z.ravel().round(2)
    (array([40., 80.]), array([50.]), array([-0.58,  1.73]))
    """
    shares = summary.shares
    average = shares @ summary.mean
    sd = np.sqrt(summary.m2.sum(axis=0) / (summary.n_rows or 1) + shares @ (summary.mean - average) ** 2)
    varies = sd > _NOISE * np.abs(average)
    z = np.where(varies, (summary.mean - average) / np.where(varies, sd, 1.0), 0.0)
    original = to_original_units(np.vstack([summary.mean, average]), features, scaling)
    return Profile(encoded_names(features, scaling), len(features.numeric), original[:-1], original[-1], z, shares)


def describe_segments(profile: Profile) -> tuple[str, ...]:
    """Say in one plain sentence what sets each segment apart: the strongest features first, at most three.

    A feature less than 0.3 standard deviations off is not told. A ratio is given where the feature has no negative mean
    and spreads widely for its size (amounts, counts, distances; not ages or hours), else "far above", "above" or "a
    little above the average". Of a categorical feature it is said which values are frequent; which are rare, only if
    none is frequent. What would make the sentence longer than 120 characters loses its figures, or is left out.

    Returns
    -------
    tuple of str
        Per segment; plain text without a full stop.

    Examples
    --------
    >>> profile = Profile(
    ...     names=("monetary", "age", "channel=store", "channel=web"),
    ...     n_numeric=2,
    ...     means=np.array([[1905.0, 48.0, 0.9, 0.1], [289.0, 38.0, 0.53, 0.47]]),
    ...     average=np.array([612.0, 40.0, 0.6, 0.4]),
    ...     z=np.array([[1.9, 0.8, 0.61, -0.61], [-0.48, -0.2, -0.15, 0.15]]),
    ...     shares=np.array([0.2, 0.8]),
    ... )
    >>> for text in describe_segments(profile):
    ...     print(text)
    monetary 3.1 times the average (1,905 against 612), age above it (48 against 40), more often channel=store
    monetary half of the average (289 against 612)
    """
    evidence = _weigh(profile)
    return tuple(
        instead or _describe(traits) for instead, traits in zip(evidence.instead, evidence.traits, strict=True)
    )


def suggest_names(profile: Profile, used_labels: Collection[str] = ()) -> tuple[str, ...]:
    """Propose a short name for each segment, from what `describe_segments` tells.

    The strongest feature makes the name, unless another segment is as far off in it or is told by the same words; then
    the next feature joins it. Where three are not enough a segment is told by its rank ("second-highest-monetary"), and
    by a number at last. A name used before is passed over likewise; upper and lower case make no difference.

    Parameters
    ----------
    profile : Profile
    used_labels : collection of str
        Every label ever used: none of them is proposed.

    Returns
    -------
    tuple of str
        Per segment, all different. The order of the segments has no influence, but for those alike in everything.

    Examples
    --------
    >>> profile = Profile(
    ...     names=("monetary", "recency_days"),
    ...     n_numeric=2,
    ...     means=np.array([[1905.0, 12.0], [1800.0, 190.0], [289.0, 93.0]]),
    ...     average=np.array([612.0, 92.0]),
    ...     z=np.array([[1.9, -0.8], [1.8, 1.0], [-0.48, 0.1]]),
    ...     shares=np.array([0.1, 0.1, 0.8]),
    ... )
    >>> suggest_names(profile)
    ('very-high-monetary-low-recency_days', 'very-high-monetary-high-recency_days', 'low-monetary')
    >>> suggest_names(profile, used_labels=["low-monetary"])[2]
    'lowest-monetary'
    """
    evidence = _weigh(profile)
    candidates = [_propose(evidence, i) for i in range(len(profile.shares))]
    used = {label.casefold() for label in used_labels}
    stages = [0] * len(candidates)
    while True:
        names = {i: candidates[i][stage] for i, stage in enumerate(stages) if stage < len(candidates[i])}
        wanted = Counter(name.casefold() for name in names.values())
        clashes = [i for i, name in names.items() if wanted[name.casefold()] > 1 or name.casefold() in used]
        if not clashes:
            break
        for i in clashes:  # all of them, so that no one's name depends on who came first
            stages[i] += 1
    used |= {name.casefold() for name in names.values()}
    order = np.lexsort((*evidence.z.T, -profile.shares)).tolist()
    for i in (i for i in order if i not in names):
        base = candidates[i][0]
        numbered = chain([base], (f"{base}-{n}" for n in count(2)))
        names[i] = next(name for name in numbered if name.casefold() not in used)
        used.add(names[i].casefold())
    return tuple(names[i] for i in range(len(names)))


def _weigh(profile: Profile) -> _Evidence:
    filled = np.asarray(profile.shares > 0)
    alone = "all rows" if filled.sum() == 1 else ""
    z = np.where(filled[:, None] & np.isfinite(profile.z) & (not alone), profile.z, 0.0)
    ratios = _find_ratios(profile, z, filled)
    levels = np.array([np.abs(z) >= limit for limit in (A_LITTLE, CLEARLY, FAR)]).sum(axis=0)
    levels = np.where((levels > 0) & ((ratios >= 2) | (ratios <= 1 / 2)), np.maximum(levels, 2), levels)
    prevails = np.where(z > 0, profile.means >= MOSTLY, profile.means <= HARDLY)
    is_category = np.arange(len(profile.names)) >= profile.n_numeric
    levels = np.where(is_category, np.where(levels > 0, 1 + prevails, 0), levels)
    instead = tuple(alone if has_rows else "no rows" for has_rows in filled.tolist())
    traits = tuple(
        tuple(
            _Trait(
                column=j,
                name=" ".join(profile.names[j].split()),
                is_category=bool(is_category[j]),
                z=float(row[j]),
                value=float(profile.means[i, j]),
                average=float(profile.average[j]),
                ratio=float(ratios[i, j]),
                level=int(levels[i, j]),
                rank=1 + int(np.count_nonzero(z[:, j] * np.sign(row[j]) > abs(row[j]))),
            )
            for j in _choose_columns(profile, row)
        )
        for i, row in enumerate(z)
    )
    return _Evidence(instead, traits, z, levels)


def _choose_columns(profile: Profile, z: FloatArray) -> list[int]:
    """Choose the strongest, but no rare value of a feature that has a frequent one."""
    groups = [name.partition("=")[0] for name in profile.names]
    frequent = {groups[j] for j in range(profile.n_numeric, len(z)) if z[j] >= A_LITTLE}
    return [
        j
        for j in np.argsort(-np.abs(z), kind="stable").tolist()
        if abs(z[j]) >= _FAINT and (j < profile.n_numeric or z[j] > 0 or groups[j] not in frequent)
    ][:MAX_FEATURES]


def _find_ratios(profile: Profile, z: FloatArray, filled: NDArray[np.bool_]) -> FloatArray:
    """Give each mean as a multiple of the average, NaN where that says nothing.

    The spread is what one standard deviation is in original units, at the segments' means.
    """
    apart = np.abs(z) >= A_LITTLE
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spread = np.where(apart, np.abs(profile.means - profile.average) / np.where(apart, np.abs(z), 1.0), 0.0)
        widely = spread.max(axis=0, initial=0.0) >= SPREAD_OF_RATIOS * profile.average
        positive = (profile.means[filled] >= -_NOISE * profile.average).all(axis=0) & (profile.average > 0)
        ratios = profile.means / profile.average
        agree = (ratios > 0) & ((ratios - 1) * z > 0)
    is_numeric = np.arange(len(profile.names)) < profile.n_numeric
    return np.where(agree & widely & positive & is_numeric, ratios, np.nan)


def _describe(traits: Sequence[_Trait]) -> str:
    text, reference = "", "the average"
    for trait in (trait for trait in traits if trait.level):
        words = f"{text}, " if text else ""
        words += _word_category(trait) if trait.is_category else _word_number(trait, reference)
        fitting = [one for one in (words + _show(trait), words) if not text or len(one) <= MAX_CHARACTERS]
        if not fitting:
            break
        text, reference = fitting[0], reference if trait.is_category else "it"
    return text or "close to the average in everything"


def _word_number(trait: _Trait, reference: str) -> str:
    if trait.ratio >= TIMES:
        rounded = number(round(trait.ratio, 1 if trait.ratio < 10 else 0))
        times = f"over {_MOST_TIMES}" if trait.ratio > _MOST_TIMES else rounded
        return f"{trait.name} {times} times" + (f" {reference}" if reference != "it" else "")
    if trait.ratio <= PART:
        return f"{trait.name} {_word_part(1 / trait.ratio)} of {reference}"
    side = "above" if trait.z > 0 else "below"
    return " ".join(filter(None, (trait.name, _DEGREES[trait.level], side, reference)))


def _word_part(nth: float) -> str:
    """Say 1 / `nth`."""
    if nth < 1.75:
        return "two thirds"
    return _PARTS[round(nth) - 2] if nth < len(_PARTS) + 1.5 else "under a tenth"


def _word_category(trait: _Trait) -> str:
    share, average = trait.value, trait.average
    if trait.z > 0:
        words = "mostly" if share >= MOSTLY >= average else "more often"
        words = "almost only" if share >= 1 - HARDLY else words
        return f"{'only' if share >= 1 - _NOISE else words} {trait.name}"
    words = "hardly ever" if share <= HARDLY else "less often"
    return f"{'never' if share <= _NOISE else words} {trait.name}"


def _show(trait: _Trait) -> str:
    """Show the two figures behind the words; nothing where they would say nothing."""
    value, average = trait.value, trait.average
    if not (math.isfinite(value) and math.isfinite(average)):
        return ""
    if trait.is_category:
        return f" ({_percent(value)} against {_percent(average)} overall)"
    least = max(abs(value), abs(average)) * _NOISE
    value, average = (0.0 if abs(one) <= least else one for one in (value, average))
    for decimals in range(7):  # as many as it takes to see a difference
        shown = (_amount(value, decimals), _amount(average, decimals))
        if shown[0] != shown[1]:
            return f" ({shown[0]} against {shown[1]})"
    return ""


def _amount(value: float, decimals: int) -> str:
    """Write a number of whatever size; `number` would write 999.6 as 1e+03, and all 301 digits of 1e300."""
    if abs(value) >= _LONG_NUMBER:
        return f"{value:.2e}"
    if decimals:
        return f"{value:,.{decimals}f}"
    return number(float(round(value)) if abs(value) >= 100 else value)


def _percent(share: float) -> str:
    """Write a share in whole percent, with a decimal near 0 and 100 %."""
    if _NOISE < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1 - _NOISE:
        return "over 99.9 %"
    return f"{number(round(share * 100, 0 if 0.1 <= share <= 0.9 else 1))} %"


def _propose(evidence: _Evidence, i: int) -> list[str]:
    """List the names a segment could have, the best first."""
    if evidence.instead[i]:
        return [evidence.instead[i].replace(" ", "-")]
    traits = evidence.traits[i]
    n_told = sum(trait.level > 0 for trait in traits)
    fitting = [n for n in range(1, len(traits) + 1) if not _fits_another(evidence, i, n)]
    together = {n: "-".join(map(_name_trait, traits[:n])) for n in fitting}
    told, faint = ([name for n, name in together.items() if (n <= n_told) is is_told] for is_told in (True, False))
    ranked = [_name_rank(trait) for trait in traits]
    leading = [name for name, trait in zip(ranked, traits, strict=True) if trait.level and trait.rank <= 2]
    return [*told, *leading, *faint, *ranked] if n_told else ["average", *faint, *ranked]


def _fits_another(evidence: _Evidence, i: int, n: int) -> bool:
    """Whether another segment has these `n` traits too, and tells them itself or is as far off in the first of them."""
    traits = evidence.traits[i][:n]
    columns = [trait.column for trait in traits]
    signed = np.sign(evidence.z[:, columns]) * (1 + evidence.levels[:, columns])
    as_far = np.abs(evidence.z[:, columns[0]]) >= abs(traits[0].z) * (1 - _NOISE)
    return any(
        as_far[other] or [trait.column for trait in evidence.traits[other][:n]] == columns
        for other in np.flatnonzero((signed == signed[i]).all(axis=1)).tolist()
        if other != i
    )


def _name_trait(trait: _Trait) -> str:
    words = f"{_ADVERBS[trait.level]}{'high' if trait.z > 0 else 'low'}-"
    words = (_MORE if trait.z > 0 else _LESS)[trait.level] if trait.is_category else words
    return words + _hyphenate(trait.name)


def _name_rank(trait: _Trait) -> str:
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
