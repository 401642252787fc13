"""Sizes and spans of time as people write them: 1GiB, 24h."""

import re
from datetime import timedelta
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer

_BYTE_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _BYTE_UNITS |= {_letter: 1024**_power, f"{_letter}b": 1000**_power, f"{_letter}ib": 1024**_power}
_DURATION_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_bytes(value: object) -> object:
    """Read a byte size such as "1GiB", "64 MB" or 4096; anything else is left for pydantic to refuse.

    Examples
    --------
    >>> parse_bytes("64MiB"), parse_bytes("1.5 kB"), parse_bytes(4096)
    (67108864, 1500, 4096)
    """
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", value)
    if match is None or match[2].lower() not in _BYTE_UNITS:
        msg = f"{value!r} should be a byte size such as '512MiB' or '2GB'"
        raise ValueError(msg)
    return int(Decimal(match[1]) * _BYTE_UNITS[match[2].lower()])


def parse_duration(value: object) -> object:
    """Read a duration such as "24h" or "1d 12h"; anything else is left for pydantic.

    Examples
    --------
    >>> parse_duration("90m")
    datetime.timedelta(seconds=5400)
    >>> parse_duration("1d 12h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if not isinstance(value, str) or value.startswith(("P", "-P")):  # ISO 8601, as pydantic itself writes it
        return value
    parts = re.findall(r"(\d+(?:\.\d+)?)\s*([smhdw])", value)
    if not parts or re.fullmatch(r"(\s*\d+(?:\.\d+)?\s*[smhdw])+\s*", value) is None:
        msg = f"{value!r} should be a duration such as '30m', '24h' or '7d'"
        raise ValueError(msg)
    try:
        return sum((timedelta(**{_DURATION_UNITS[unit]: float(n)}) for n, unit in parts), timedelta())
    except OverflowError:
        msg = f"{value!r} is longer than {timedelta.max.days} days"
        raise ValueError(msg) from None


def format_duration(value: timedelta) -> str:
    """Write a duration as `parse_duration` reads it, in the largest unit that divides it.

    Examples
    --------
    >>> format_duration(timedelta(days=90)), format_duration(timedelta(minutes=90)), format_duration(timedelta())
    ('90d', '90m', '0h')
    """
    for unit, size in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("m", timedelta(minutes=1))):
        if not value % size and (unit != "d" or value > size):  # a day is 24h
            return f"{value // size}{unit}"
    days, fraction = f"{value.days}d " if value.days else "", f".{value.microseconds:06d}" if value.microseconds else ""
    return f"{days}{value.seconds}{fraction}s"


def format_bytes(n_bytes: int) -> str | int:
    """Write a byte size as `parse_bytes` reads it, in the largest unit that divides it; bytes alone stay a number.

    Examples
    --------
    >>> format_bytes(1024**3), format_bytes(1536 * 1024), format_bytes(1000)
    ('1GiB', '1536KiB', 1000)
    """
    for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if n_bytes and n_bytes % size == 0:
            return f"{n_bytes // size}{unit}"
    return n_bytes


def _refuse_negative(value: timedelta) -> timedelta:
    if value < timedelta():
        msg = "should not be negative"
        raise ValueError(msg)
    return value


ByteSize = Annotated[int, BeforeValidator(parse_bytes), Field(gt=0, lt=2**63)]
ByteLimit = Annotated[int, BeforeValidator(parse_bytes), Field(ge=0, lt=2**63)]  # 0: nothing at all
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    AfterValidator(_refuse_negative),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
]
