"""What is worth telling of each segment: the columns in which it lies farthest from the average, and how far."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmstream.arrays import FloatArray, IntArray
from kmstream.descriptions.contrast import Contrast
from kmstream.separation import NOISE

A_LITTLE, CLEARLY, FAR = 0.3, 0.7, 1.5  # standard deviations from the average; what is nearer is not told
MAX_FEATURES = 3  # that are told of a segment
SPREAD_OF_RATIOS = 0.5  # times the average: only what spreads as widely as this is told by its ratio
MOSTLY, HARDLY = 0.5, 0.05  # share of a segment's rows that are of a category

_FAINT = 0.05  # standard deviations; what is nearer than this doesn't tell two segments apart either


@dataclass(frozen=True)
class Trait:
    """What one column says of one segment.

    Attributes
    ----------
    column : int
    name : str
        Of the column, on one line.
    is_category : bool
    z, value, average, ratio : float
        Standard deviations from the average; the mean of the segment and of all rows in original units, and the first
        over the second, NaN where that says nothing.
    level : int
        0 slightly, 1 a little, 2 clearly, 3 far; of a category 1, and 2 if most rows are of it, or hardly any.
    rank : int
        1 for the segment that is farthest off on this side.
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
class Evidence:
    """What is worth telling of all segments.

    Attributes
    ----------
    instead : tuple of str
        Per segment what it is, if it is not to be compared: "no rows", or "all rows"; else empty.
    traits : tuple of tuple of Trait
        Per segment its strongest ones first, at most `MAX_FEATURES`.
    z : ndarray of shape (n_clusters, n_features)
        Standard deviations from the average; 0 where there is nothing to compare.
    levels : ndarray of shape (n_clusters, n_features)
        Those of `Trait`.
    """

    instead: tuple[str, ...]
    traits: tuple[tuple[Trait, ...], ...]
    z: FloatArray
    levels: IntArray


def weigh(contrast: Contrast) -> Evidence:
    """Choose what is worth telling of each segment."""
    filled = np.asarray(contrast.shares > 0)
    alone = "all rows" if filled.sum() == 1 else ""
    z = np.where(filled[:, None] & np.isfinite(contrast.z) & (not alone), contrast.z, 0.0)
    ratios = _find_ratios(contrast, z, filled)
    levels = _find_levels(contrast, z, ratios)

    def make_trait(i: int, j: int) -> Trait:
        return Trait(
            column=j,
            name=" ".join(contrast.names[j].split()),
            is_category=j >= contrast.n_numeric,
            z=float(z[i, j]),
            value=float(contrast.means[i, j]),
            average=float(contrast.average[j]),
            ratio=float(ratios[i, j]),
            level=int(levels[i, j]),
            rank=1 + int(np.count_nonzero(z[:, j] * np.sign(z[i, j]) > abs(z[i, j]))),
        )

    return Evidence(
        instead=tuple(alone if has_rows else "no rows" for has_rows in filled.tolist()),
        traits=tuple(tuple(make_trait(i, j) for j in _choose_columns(contrast, row)) for i, row in enumerate(z)),
        z=z,
        levels=levels,
    )


def _find_levels(contrast: Contrast, z: FloatArray, ratios: FloatArray) -> IntArray:
    """Give the level of each segment in each column; twice the average, or half of it, is clear in any case."""
    levels = np.array([np.abs(z) >= limit for limit in (A_LITTLE, CLEARLY, FAR)]).sum(axis=0)
    of_numbers = np.where((levels > 0) & ((ratios >= 2) | (ratios <= 1 / 2)), np.maximum(levels, 2), levels)
    prevails = np.where(z > 0, contrast.means >= MOSTLY, contrast.means <= HARDLY)
    of_categories = np.where(levels > 0, 1 + prevails, 0)
    is_category = np.arange(len(contrast.names)) >= contrast.n_numeric
    return np.where(is_category, of_categories, of_numbers)


def _choose_columns(contrast: Contrast, z: FloatArray) -> list[int]:
    """Choose the strongest, but no rare value of a feature that has a frequent one."""
    groups = [name.partition("=")[0] for name in contrast.names]
    frequent = {groups[j] for j in range(contrast.n_numeric, len(z)) if z[j] >= A_LITTLE}
    return [
        j
        for j in np.argsort(-np.abs(z), kind="stable").tolist()
        if abs(z[j]) >= _FAINT and (j < contrast.n_numeric or z[j] > 0 or groups[j] not in frequent)
    ][:MAX_FEATURES]


def _find_ratios(contrast: Contrast, z: FloatArray, filled: NDArray[np.bool_]) -> FloatArray:
    """Give each mean as a multiple of the average, NaN where that says nothing.

    The spread is what one standard deviation is in original units, at the segments' means.
    """
    apart = np.abs(z) >= A_LITTLE
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        spread = np.where(apart, np.abs(contrast.means - contrast.average) / np.where(apart, np.abs(z), 1.0), 0.0)
        widely = spread.max(axis=0) >= SPREAD_OF_RATIOS * contrast.average
        positive = (contrast.means[filled] >= -NOISE * contrast.average).all(axis=0) & (contrast.average > 0)
        ratios = contrast.means / contrast.average
        agree = (ratios > 0) & ((ratios - 1) * z > 0)
    return np.where(agree & widely & positive, ratios, np.nan)
