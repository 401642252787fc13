"""What the year left behind, in figures: months, segments, refits."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

ACTIVE_DAYS, QUIET_DAYS = 30, 90  # since the last order
_HABITS = ((1.5, "one order"), (3.0, "few orders"), (8.0, "regular"), (float("inf"), "many orders"))  # below so many


@dataclass(frozen=True)
class Month:
    """One month as it stood at its end.

    Attributes
    ----------
    customers : dict of str to int
        By segment, under the model that was current after the month.
    severity : str or None
        Of the month's drift; None for the months of the baseline.
    version : str
        The model.
    """

    month: str
    customers: Mapping[str, int]
    severity: str | None
    version: str


@dataclass(frozen=True)
class Refit:
    """One refit and what became of the names.

    Attributes
    ----------
    why : str
        The strongest reason of the drift that asked for it.
    kept_share : float
        Share of the customers that are in a segment of the same name before and after.
    names_compared : int
        Segments that are there before and after.
    names_changed : int
        Those of them whose customers are, for the most part, in a segment of another name after.
    ids_changed : int
        Those of them that a K-means fitted from scratch (same rows, same seed) gave another number than the one before.
    """

    version: str
    month: str
    status: str
    why: str
    kept_share: float
    names_compared: int
    names_changed: int
    ids_changed: int


@dataclass(frozen=True)
class Segment:
    """One segment over the year; a centroid is None where the segment was not there."""

    cluster_label: str
    words: str
    customers_first: int
    customers_last: int
    centroid_first: Mapping[str, float] | None
    centroid_last: Mapping[str, float] | None


@dataclass(frozen=True)
class DemoResult:
    """What the year left behind."""

    config: str
    months: tuple[Month, ...]
    segments: tuple[Segment, ...]
    refits: tuple[Refit, ...]
    report: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Give the result as plain JSON values."""
        return asdict(self)


def describe_customers(centroid: Mapping[str, float]) -> str:
    """Put a centroid of recency, frequency and monetary into a few words.

    Examples
    --------
    >>> describe_customers({"recency_days": 166.0, "frequency": 1.3, "monetary": 286.0})
    'asleep, one order'
    """
    days, orders = centroid["recency_days"], centroid["frequency"]
    activity = "active" if days <= ACTIVE_DAYS else "quiet" if days <= QUIET_DAYS else "asleep"
    return f"{activity}, {next(habit for limit, habit in _HABITS if orders < limit)}"
