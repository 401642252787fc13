"""One plain sentence for each segment, with the figures behind its words."""

import math
from collections.abc import Sequence

from kmstream.descriptions.contrast import Contrast
from kmstream.descriptions.traits import HARDLY, MOSTLY, Trait, weigh
from kmstream.reasons import plain_number
from kmstream.separation import NOISE

MAX_CHARACTERS = 120  # of a description; the first feature is told whatever its length
TIMES, PART = 1.5, 0.67  # a ratio is told from the first upwards and from the second downwards

_MOST_TIMES = 100
_LONG_NUMBER = 1e15
_DEGREES = {1: "a little", 2: "", 3: "far"}
_PARTS = ("half", "a third", "a quarter", "a fifth", "a sixth", "a seventh", "an eighth", "a ninth", "a tenth")


def describe_segments(contrast: Contrast) -> tuple[str, ...]:
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
    >>> import numpy as np
    >>> contrast = Contrast(
    ...     names=("monetary", "age", "channel=store", "channel=web"),
    ...     n_numeric=2,
    ...     means=np.array([[1905.0, 48.0, 0.9, 0.1], [289.0, 38.0, 0.53, 0.47]]),
    ...     average=np.array([612.0, 40.0, 0.6, 0.4]),
    ...     z=np.array([[1.9, 0.8, 0.61, -0.61], [-0.48, -0.2, -0.15, 0.15]]),
    ...     shares=np.array([0.2, 0.8]),
    ... )
    >>> for text in describe_segments(contrast):
    ...     print(text)
    monetary 3.1 times the average (1,905 against 612), age above it (48 against 40), more often channel=store
    monetary half of the average (289 against 612)
    """
    evidence = weigh(contrast)
    return tuple(
        instead or _describe(traits) for instead, traits in zip(evidence.instead, evidence.traits, strict=True)
    )


def _describe(traits: Sequence[Trait]) -> str:
    text, reference = "", "the average"
    for trait in (trait for trait in traits if trait.level):
        words = f"{text}, " if text else ""
        words += _word_category(trait) if trait.is_category else _word_number(trait, reference)
        fitting = [one for one in (words + _show(trait), words) if not text or len(one) <= MAX_CHARACTERS]
        if not fitting:
            break
        text, reference = fitting[0], reference if trait.is_category else "it"
    return text or "close to the average in everything"


def _word_number(trait: Trait, reference: str) -> str:
    if trait.ratio >= TIMES:
        rounded = plain_number(round(trait.ratio, 1 if trait.ratio < 10 else 0))
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


def _word_category(trait: Trait) -> str:
    share, average = trait.value, trait.average
    if trait.z > 0:
        words = "mostly" if share >= MOSTLY >= average else "more often"
        words = "almost only" if share >= 1 - HARDLY else words
        return f"{'only' if share >= 1 - NOISE else words} {trait.name}"
    words = "hardly ever" if share <= HARDLY else "less often"
    return f"{'never' if share <= NOISE else words} {trait.name}"


def _show(trait: Trait) -> str:
    """Show the two figures behind the words; nothing where they would say nothing."""
    value, average = trait.value, trait.average
    if not (math.isfinite(value) and math.isfinite(average)):
        return ""
    if trait.is_category:
        return f" ({_percent(value)} against {_percent(average)} overall)"
    least = max(abs(value), abs(average)) * NOISE
    value, average = (0.0 if abs(one) <= least else one for one in (value, average))
    for decimals in range(7):  # as many as it takes to see a difference
        shown = (_amount(value, decimals), _amount(average, decimals))
        if shown[0] != shown[1]:
            return f" ({shown[0]} against {shown[1]})"
    return ""


def _amount(value: float, decimals: int) -> str:
    """Write a number of whatever size; `number` would write all 301 digits of 1e300."""
    if abs(value) >= _LONG_NUMBER:
        return f"{value:.2e}"
    return f"{value:,.{decimals}f}" if decimals else plain_number(value)


def _percent(share: float) -> str:
    """Write a share in whole percent, with a decimal near 0 and 100 %."""
    if NOISE < share < 0.0005:
        return "under 0.1 %"
    if 0.9995 <= share < 1 - NOISE:
        return "over 99.9 %"
    return f"{plain_number(round(share * 100, 0 if 0.1 <= share <= 0.9 else 1))} %"
