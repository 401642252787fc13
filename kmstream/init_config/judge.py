"""Which columns can be features, and why the others can't."""

import math
import re
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from kmstream.dataset import Dataset
from kmstream.init_config.facts import Facts, gather_facts
from kmstream.wording import number

MAX_CATEGORIES = 12
MOSTLY_MISSING = 0.5
NEARLY_CONSTANT = 0.995  # the few other rows would get a segment of their own
NEARLY_DISTINCT = 0.95
STRONG_SKEW = 2.0
_NORMAL_IQR = 1.349  # interquartile range of a normal distribution, in standard deviations
_LEAST_ROWS_FOR_AN_ID = 50  # fewer distinct numbers prove nothing
_COMES_AGAIN = 0.05  # of its values: more than chance
_NAMED_AS_AN_ID = "an identifier, by its name"

_THINGS = {
    *("account", "article", "client", "contract", "customer", "device", "document", "employee", "event", "flight"),
    *("invoice", "item", "member", "order", "person", "product", "record", "row", "session", "store", "tail"),
    *("transaction", "user", "vehicle", "visitor"),
}
_GLUED_ID = re.compile(rf"({'|'.join(sorted(_THINGS))})(id|key|nr|no|num|number|code)")
_ID_WORDS = {"id", "ids", "uid", "uuid", "guid", "key", "nr", "no", "num", "number", "code", "zip", "hash", "sku"}
_CODE_WORDS = {
    *("channel", "region", "type", "category", "class", "segment", "group", "status", "flag", "gender", "sex"),
    *("country", "zone", "cluster", "label", "cohort", "kind", "mode"),
}
_CALENDAR = {  # a word, and between what its numbers lie
    **{"year": (1800, 2200), "quarter": (1, 4), "month": (1, 12), "week": (0, 53), "weekday": (0, 7), "dow": (0, 7)},
    **{"day": (1, 366), "doy": (1, 366), "hour": (0, 24), "minute": (0, 60), "second": (0, 60)},
}
_NO_CALENDAR = {"per", "last", "past", "this", "previous", "in"}  # orders_last_month is no month
_TIME_WORDS = {"date", "day", "dt", "time", "timestamp", "ts", "at", "epoch", "created", "updated"}
_EPOCH_SECONDS = (5e8, 2.2e9)  # 1985 to 2039


@dataclass(frozen=True)
class Column:
    """A column and what becomes of it.

    Attributes
    ----------
    kind : str
        Its type, or types where files differ.
    use : str
        "numeric", "offered" (as categorical, in a comment) or "left out".
    why : str
        For people: the reason, or the range of a feature.
    log1p : bool
        Whether its logarithm should be clustered.
    missing : float
        Share of rows without a usable value, as far as was seen.
    tail : float
        Standard deviation over what it would be without the tails, after log1p: 1 for a normal distribution.
    is_key : bool
        Whether it could be `dataset.key`: an identifier whose values come again from file to file.
    """

    name: str
    kind: str
    use: str
    why: str
    log1p: bool = False
    missing: float = 0.0
    tail: float = 0.0
    is_key: bool = False


def judge_columns(dataset: Dataset) -> list[Column]:
    """Say of every column whether it is a numeric feature, could be a categorical one, or is left out and why."""
    folders = {key: f"{key}={value}" for p in dataset.partitions for key, value in p.hive.items()}
    columns = [_judge(one, len(dataset.partitions)) for one in gather_facts(dataset) if one.name not in folders]
    return columns + [
        Column(name, "folder", "left out", f"a folder name ({example}), the same in a whole file")
        for name, example in folders.items()
    ]


def _judge(facts: Facts, n_files: int) -> Column:
    def column(use: str, why: str) -> Column:
        return Column(facts.name, facts.kind, use, why)

    if why := _find_obstacle(facts, n_files):
        can_be_key = facts.is_text or all(map(pa.types.is_integer, facts.kinds))
        is_key = why == _NAMED_AS_AN_ID and can_be_key and facts.comes_again >= _COMES_AGAIN
        return Column(facts.name, facts.kind, "left out", why, is_key=is_key)
    if facts.is_text:
        if facts.n_distinct > MAX_CATEGORIES:
            return column("left out", f"text with {facts.n_distinct:,} different values in the rows read")
        return column("offered", f"text with {facts.n_distinct} different values")
    if why := _is_calendar_part(facts) or _is_moment(facts) or _counts_rows(facts):
        return column("left out", why)
    if any(map(pa.types.is_boolean, facts.kinds)) or (facts.is_integer and {facts.low, facts.high} == {0.0, 1.0}):
        return column("offered", "yes or no")
    if _is_code(facts):
        return column("offered", f"{facts.n_distinct} different values, by its name a code")
    median = float(np.median(facts.numbers))
    why = f"{number(facts.low)} to {number(facts.high)}, median {number(median)}"
    log1p = _is_strongly_skewed(facts)
    tail = _measure_tail(np.log1p(facts.numbers) if log1p else facts.numbers)
    return Column(facts.name, facts.kind, "numeric", why, log1p, facts.missing, tail)


def _find_obstacle(facts: Facts, n_files: int) -> str | None:
    """Give what makes a column useless whatever its values mean."""
    if facts.twice:
        return "several columns have this name"
    if facts.files < n_files:
        return f"only in {facts.files} of {n_files} files"
    if any(map(pa.types.is_temporal, facts.kinds)):
        return "a date or time"
    if any(map(pa.types.is_nested, facts.kinds)):
        return "nested"
    if not facts.is_numeric and not facts.is_text:
        return "not the same kind in every file" if len(facts.kinds) > 1 else "neither numbers nor text"
    if facts.name.startswith("__index_level_"):
        return "the row index that pandas wrote"
    if facts.missing >= 1 or not facts.n_distinct:
        return "always missing"
    if facts.is_constant:
        return "always the same"
    if facts.missing > MOSTLY_MISSING:
        return f"missing in {facts.missing:.0%} of the rows"
    if facts.is_numeric and facts.most_frequent > NEARLY_CONSTANT:
        return f"the same in {facts.most_frequent:.1%} of the rows read"
    return _is_named_like_an_id(facts)


def _words(name: str) -> list[str]:
    """Take a name apart, numbers left out.

    Examples
    --------
    >>> _words("CustomerID"), _words("customer_id_2"), _words("StockCode")
    (['customer', 'id'], ['customer', 'id'], ['stock', 'code'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


def _is_named_like_an_id(facts: Facts) -> str | None:
    words = _words(facts.name)
    if words and (words[-1] in _ID_WORDS or _GLUED_ID.fullmatch(words[-1])):
        return _NAMED_AS_AN_ID
    if facts.is_numeric and facts.is_integer and facts.name.lower() in _THINGS:
        return "an identifier: the number of a thing, by its name"
    return None


def _counts_rows(facts: Facts) -> str | None:
    for numbers in facts.numbers_by_file:
        n_distinct = len(np.unique(numbers))
        if len(numbers) < _LEAST_ROWS_FOR_AN_ID or n_distinct < NEARLY_DISTINCT * len(numbers):
            continue
        # Amounts can be distinct too; what numbers rows goes up, leaves few gaps, or is far too large.
        dense = np.ptp(numbers) < 2 * len(numbers)
        if facts.is_integer and (dense or np.abs(numbers).max() >= 2**31 or (np.diff(numbers) >= 0).all()):
            return "an identifier: whole numbers, nearly all different"
    return None


def _is_calendar_part(facts: Facts) -> str | None:
    words = _words(facts.name)
    if not words or words[-1] not in _CALENDAR or _NO_CALENDAR & set(words) or not facts.is_integer:
        return None
    least, most = _CALENDAR[words[-1]]
    return f"part of a date ({words[-1]})" if least <= facts.low and facts.high <= most else None


def _is_moment(facts: Facts) -> str | None:
    numbers = facts.numbers
    if not _TIME_WORDS & set(_words(facts.name)):
        return None
    for unit in (1.0, 1e3, 1e6, 1e9):
        if _EPOCH_SECONDS[0] * unit <= facts.low and facts.high <= _EPOCH_SECONDS[1] * unit:
            return "a moment, counted since 1970"
    if not facts.is_integer:
        return None
    month, day = numbers // 100 % 100, numbers % 100
    if facts.low >= 18000101 and facts.high <= 22001231 and _between(month, 1, 12) and _between(day, 1, 31):
        return "a date, written as year, month and day"
    if facts.low >= 0 and 1000 <= facts.high <= 2400 and _between(numbers % 100, 0, 59):
        return "a time of day, written as hours and minutes"
    return None


def _is_code(facts: Facts) -> bool:
    words = _words(facts.name)
    return bool(words) and words[-1] in _CODE_WORDS and facts.is_integer and facts.n_distinct <= MAX_CATEGORIES


def _is_strongly_skewed(facts: Facts) -> bool:
    if facts.low < 0 or facts.bounds is None:  # a negative value in a row that was not read would have no log1p
        return False
    skew = _skewness(facts.numbers)
    return skew > STRONG_SKEW and abs(_skewness(np.log1p(facts.numbers))) < skew


def _skewness(numbers: NDArray[np.float64]) -> float:
    centered = numbers - numbers.mean()
    scale = math.sqrt(float((centered**2).mean()))
    return float(((centered / scale) ** 3).mean()) if scale else 0.0


def _measure_tail(numbers: NDArray[np.float64]) -> float:
    low, high = np.quantile(numbers, [0.25, 0.75])
    return float(numbers.std() / ((high - low) / _NORMAL_IQR)) if high > low else math.inf


def _between(numbers: NDArray[np.float64], low: int, high: int) -> bool:
    return bool(((numbers >= low) & (numbers <= high)).all())
