"""Answers before something happens by itself: may this version be published, may this drift retrain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmstream.config import Config

MAX_INERTIA_RATIO = 1.001  # a refit of the same data may end this much worse by the noise of its mini-batches
_NO_INERTIA = 1e-12  # rows all on their centroids; keeps the ratio a number
_RANK = {"ok": 0, "warn": 1, "alert": 2}


@dataclass(frozen=True)
class Check:
    """One check of the quality gate: what was observed against its limit, and on what."""

    check: str
    ok: bool
    observed: float
    limit: float
    label: str = ""


def check_refit(
    config: Config,
    shares: NDArray[np.float64],
    labels: Sequence[str],
    inertia_per_row: float,
    current_inertia_per_row: float | None,
    overlap: Mapping[str, float],
) -> list[Check]:
    """Run the quality gate over a fitted version.

    Parameters
    ----------
    config : Config
        `model.min_cluster_share` and `labels.min_overlap` are the limits.
    shares : ndarray of shape (n_clusters,)
    labels : sequence of str
    inertia_per_row, current_inertia_per_row : float
        Of the new and of the current model, on the same rows; None for the first version.
    overlap : mapping of str to float
        Share of its old rows that each continued segment keeps.

    Returns
    -------
    list of Check
        The version may be published if all are ok.
    """
    smallest = int(shares.argmin())
    share, least = float(shares[smallest]), config.model.min_cluster_share
    checks = [Check("smallest_segment_share", share >= least, share, least, labels[smallest])]
    if current_inertia_per_row is not None:
        ratio = 1.0 if inertia_per_row == 0 else inertia_per_row / max(current_inertia_per_row, _NO_INERTIA)
        checks.append(Check("inertia_against_current", ratio <= MAX_INERTIA_RATIO, ratio, MAX_INERTIA_RATIO))
    kept = {label: value for label, value in overlap.items() if not np.isnan(value)}
    if kept:
        label = min(kept, key=lambda one: kept[one])
        limit = config.labels.min_overlap
        checks.append(Check("smallest_overlap", kept[label] >= limit, kept[label], limit, label))
    return checks


def decide_retrain(
    config: Config, severity: str, history: Sequence[Mapping[str, Any]], now: datetime
) -> tuple[bool, str]:
    """Decide whether drift of this severity asks for a new fit, and say why.

    Parameters
    ----------
    config : Config
        `retrain.on`, `retrain.cooldown` and `retrain.max_per_week`.
    severity : str
        ok, warn or alert.
    history : sequence of mapping
        Lines of history.jsonl: "event" and "time" (ISO 8601 with offset).
    now : datetime

    Returns
    -------
    requested : bool
    why : str
        A sentence for people.
    """
    limits = config.retrain
    if limits.on == "never":
        return False, "retrain.on is never"
    if _RANK[severity] < _RANK[limits.on]:
        return False, f"severity is {severity}, retrain.on is {limits.on}"
    asked = [_time(line) for line in history if line["event"] == "retrain-requested"]
    if asked and now - asked[-1] < limits.cooldown:
        hours = limits.cooldown.total_seconds() / 3600
        return False, f"the last request was at {asked[-1]:%Y-%m-%d %H:%M} UTC, retrain.cooldown is {hours:g} h"
    recent = sum(now - time < timedelta(days=7) for time in asked)
    if recent >= limits.max_per_week:
        return False, f"{recent} requests in seven days, retrain.max_per_week is {limits.max_per_week}"
    return True, f"severity is {severity}, retrain.on is {limits.on}"


def _time(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(line["time"])).astimezone(UTC)
