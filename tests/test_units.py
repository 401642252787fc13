"""Sizes and spans of time as people write them."""

from datetime import timedelta

import pytest

from kmstream.units import parse_bytes, parse_duration


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("1GiB", 2**30),
        ("64 MB", 64_000_000),
        ("64MiB", 64 * 2**20),
        ("64M", 64 * 2**20),
        ("1.5kib", 1536),
        ("2tb", 2 * 10**12),
        ("100b", 100),
        ("100", 100),
    ],
)
def test_parse_bytes_reads_decimal_and_binary_units(text, n_bytes):
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "1 GiBB", "-1GiB", "1 2", "1e9"])
def test_parse_bytes_refuses_other_text(text):
    with pytest.raises(ValueError, match="should be a byte size"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("30s", timedelta(seconds=30)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(weeks=2)),
        ("1d 12h", timedelta(hours=36)),
        ("1d12h", timedelta(hours=36)),
    ],
)
def test_parse_duration_adds_up_its_parts(text, duration):
    assert parse_duration(text) == duration


@pytest.mark.parametrize("text", ["", "24", "h", "24 hours", "1h, 2m", "-1h"])
def test_parse_duration_refuses_other_text(text):
    with pytest.raises(ValueError, match="should be a duration"):
        parse_duration(text)
