"""Whether drift may ask for a new fit, and whether one that was asked for may begin: read from the history alone.

A request waits in the history until a refit answers it. So an event that is lost is made up for by the next score, and
one that comes twice finds nothing to do.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from kmstream.config import Config
from kmstream.reasons import SEVERITIES

MAX_HELD = 3  # refits in a row; then a person has to look

History = Sequence[Mapping[str, Any]]


def decide_retrain(config: Config, severity: str, history: History, now: datetime) -> tuple[bool, str]:
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
        Also where an earlier request still waits when the cooldown is over: what was told of it may have got lost.
    why : str
        A sentence for people.
    """
    limits = config.retrain
    if limits.on == "never" or find_pause(history):
        return may_retrain(config, history)
    request = find_request(history)
    if request and now - _time(request) >= limits.cooldown:
        return may_retrain(config, history)
    if SEVERITIES.index(severity) < SEVERITIES.index(limits.on):
        return False, f"severity is {severity}, retrain.on is {limits.on}"
    asked = [_time(line) for line in history if line["event"] == "retrain-requested"]
    if asked and now - asked[-1] < limits.cooldown:
        hours = limits.cooldown.total_seconds() / 3600
        waits = " and still waits" if request else ""
        return False, f"the last request was at {asked[-1]:%Y-%m-%d %H:%M} UTC{waits}, retrain.cooldown is {hours:g} h"
    recent = sum(now - time < timedelta(days=7) for time in asked)
    if recent >= limits.max_per_week:
        return False, f"{recent} requests in seven days, retrain.max_per_week is {limits.max_per_week}"
    return True, f"severity is {severity}, retrain.on is {limits.on}"


def may_retrain(config: Config, history: History) -> tuple[bool, str]:
    """Decide whether a new fit may begin by itself now, and say why: one was asked for, and nothing speaks against it.

    Parameters
    ----------
    config : Config
    history : sequence of mapping
    """
    if config.retrain.on == "never":
        return False, "retrain.on is never"
    if pause := find_pause(history):
        return False, pause
    request = find_request(history)
    if request is None:
        return False, "no request waits for a new fit"
    return True, f"asked for at {_time(request):%Y-%m-%d %H:%M} UTC by {request['run_id']}, not yet done"


def find_request(history: History) -> Mapping[str, Any] | None:
    """Find the request that no refit has answered yet, and that still has a cause.

    Examples
    --------
    >>> asked, held = {"event": "retrain-requested", "run_id": "one"}, {"event": "held"}
    >>> find_request([asked])["run_id"], find_request([asked, held])
    ('one', None)
    """
    waiting = None
    for line in history:
        if line["event"] == "retrain-requested":
            waiting = line
        elif line["event"] in {"published", "held", "retrain-declined"} or line.get("cleared"):
            waiting = None
    return waiting


def is_drifting(history: History) -> bool:
    """Tell whether the last window that could be judged had drifted.

    Examples
    --------
    >>> alert, small, fine = (
    ...     {"event": "drift", "severity": s, "cleared": c} for s, c in [("alert", False), ("ok", False), ("ok", True)]
    ... )
    >>> is_drifting([alert, small]), is_drifting([alert, small, fine])
    (True, False)
    """
    drifting = False
    for line in history:
        if line["event"] == "drift":
            cleared = line.get("cleared", line["severity"] == "ok")  # lines of before had no such key
            drifting = line["severity"] != "ok" or (drifting and not cleared)
    return drifting


def find_pause(history: History) -> str:
    """Tell why nothing is fitted by itself until a person has looked; empty if nothing is wrong.

    Examples
    --------
    >>> held = [{"event": "held", "version": f"v00000{n}"} for n in (2, 3, 4)]
    >>> find_pause(held).partition(":")[0]
    'the last 3 refits were held (v000002, v000003, v000004)'
    >>> find_pause([*held, {"event": "promoted", "version": "v000003"}])
    ''
    """
    held: list[str] = []
    for line in history:
        if line["event"] == "held":
            held.append(str(line["version"]))
        elif line["event"] in {"published", "promoted", "retrain-resumed"}:
            held = []
    if len(held) < MAX_HELD:
        return ""
    return (
        f"the last {len(held)} refits were held ({', '.join(held[-MAX_HELD:])}): look at their reports, then promote "
        "one (kmstream models promote V) or go on (kmstream retrain --reset)"
    )


def _time(line: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(str(line["time"])).astimezone(UTC)
