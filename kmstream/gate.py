"""The gate: whether a fitted version may be published by itself, or does a person have to look first."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kmstream.config import Config, GateConfig

_NO_INERTIA = 1e-12  # rows all on their centroids; keeps the ratio a number


@dataclass(frozen=True)
class Check:
    """One check of the quality gate: what was observed against its limit, and on what."""

    check: str
    ok: bool
    observed: float
    limit: float
    label: str = ""


@dataclass(frozen=True)
class Measured:
    """What the gate looks at, of a candidate or of the current version.

    Attributes
    ----------
    labels : sequence of str
    shares : ndarray of shape (n_clusters,)
    inertia_per_row : float or None
        Of both on the same rows; None where their spaces differ.
    silhouette : float or None
        None where it is not defined, or can't be compared.
    """

    labels: Sequence[str]
    shares: NDArray[np.float64]
    inertia_per_row: float | None
    silhouette: float | None


def check_refit(
    config: Config,
    candidate: Measured,
    current: Measured | None = None,
    overlap: Mapping[str, float] | None = None,
    frozen: Collection[str] | None = None,
) -> list[Check]:
    """Run the quality gate over a fitted version.

    Parameters
    ----------
    config : Config
        `gate`, `model.min_cluster_share` and `labels.min_overlap` are the limits.
    candidate : Measured
    current : Measured, optional
        None for the first version, which is only asked for the least share.
    overlap : mapping of str to float, optional
        Share of its old rows that each continued segment keeps.
    frozen : collection of str, optional
        The names that must be there, and no others.

    Returns
    -------
    list of Check
        The version may be published if all are ok.
    """
    smallest, largest = int(candidate.shares.argmin()), int(candidate.shares.argmax())
    least, name = config.model.min_cluster_share, candidate.labels[smallest]
    checks = [_at_least("smallest_segment_share", candidate.shares[smallest], least, name)]
    if current is None:
        return checks
    most = max(config.gate.max_segment_share, float(current.shares.max()))
    checks.append(_at_most("largest_segment_share", candidate.shares[largest], most, candidate.labels[largest]))
    checks += _check_fit(config.gate, candidate, current)
    checks += _check_names(config.gate, candidate, current)
    if frozen is not None:
        checks.append(_at_most("frozen_names_missing_or_added", len(set(frozen) ^ set(candidate.labels)), 0))
    kept = {label: value for label, value in (overlap or {}).items() if not np.isnan(value)}
    if kept:
        label = min(kept, key=lambda one: kept[one])
        checks.append(_at_least("smallest_overlap", kept[label], config.labels.min_overlap, label))
    return checks


def _check_fit(limits: GateConfig, candidate: Measured, current: Measured) -> Iterator[Check]:
    """Check how well the rows lie in their segments, as far as that can be compared."""
    one, other = candidate.inertia_per_row, current.inertia_per_row
    if one is not None and other is not None:
        ratio = one / max(other, _NO_INERTIA) if one else 1.0
        yield _at_most("inertia_against_current", ratio, limits.max_inertia_ratio)
    one, other = candidate.silhouette, current.silhouette
    # The silhouette of another number of segments means something else.
    if one is not None and other is not None and len(candidate.labels) == len(current.labels):
        yield _at_most("silhouette_drop", other - one, limits.max_silhouette_drop)


def _check_names(limits: GateConfig, candidate: Measured, current: Measured) -> Iterator[Check]:
    """Check how many names come and go beyond those that another number of segments asks for."""
    fewer = len(current.labels) - len(candidate.labels)
    n_gone = len(set(current.labels) - set(candidate.labels)) - max(fewer, 0)
    n_new = len(set(candidate.labels) - set(current.labels)) - max(-fewer, 0)
    yield _at_most("names_gone", n_gone / len(current.labels), limits.max_names_gone)
    yield _at_most("names_new", n_new / len(candidate.labels), limits.max_names_new)


def _at_least(check: str, observed: float, limit: float, label: str) -> Check:
    return Check(check, bool(observed >= limit), float(observed), limit, label)


def _at_most(check: str, observed: float, limit: float, label: str = "") -> Check:
    return Check(check, bool(observed <= limit), float(observed), limit, label)
