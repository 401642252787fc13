"""Numbers and names as people read them, in HTML, in Markdown and in plots."""

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

Scalar = str | int | float | bool | None  # what a cell of a table holds

NOTHING = "\u2013"  # an en dash: no such figure
SMALLEST_P = 0.0001
_SPACE = "\u00a0"  # keeps a number and its unit on one line
_MARKDOWN = re.compile(r"([\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_]))")  # an underscore within a word is only that
_DIGITS = re.compile("([0-9]+)")


def number(value: Scalar, digits: int = 4) -> str:
    """Write a number with about `digits` significant digits and thousands separators.

    Digits before the decimal point are never rounded away. Text stays as it is; None and NaN are a dash.

    Examples
    --------
    >>> number(1234567), number(410.2345), number(0.0123456), number(2.50), number(1e-9)
    ('1,234,567', '410.2', '0.01235', '2.5', '1.00e-09')
    >>> number(True), number("v000003")
    ('yes', 'v000003')
    """
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "yes" if value else "no"
    value = float(value)
    if not math.isfinite(value):
        return NOTHING if math.isnan(value) else ("infinite" if value > 0 else "-infinite")
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if exponent >= 15 or exponent < -5:
        return f"{value:.2e}"
    text = f"{value:,.{max(digits - 1 - exponent, 0)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def signed(value: Scalar, digits: int = 3) -> str:
    """Write a number with its sign.

    Examples
    --------
    >>> signed(0.8), signed(-12.0), signed(0.0)
    ('+0.8', '-12', '0')
    """
    text = number(value, digits)
    return f"+{text}" if isinstance(value, int | float) and value > 0 else text


def percent(share: float | None) -> str:
    r"""Write a share as a percentage with one decimal, or more if it is tiny.

    Examples
    --------
    >>> [percent(share).replace("\u00a0", " ") for share in (0.2743, 0.5, 1, 0.0004, 0)]
    ['27.4 %', '50.0 %', '100 %', '0.04 %', '0 %']
    """
    if share is None or math.isnan(share):
        return NOTHING
    hundredths = share * 100
    if hundredths in (0, 100):
        return f"{hundredths:.0f}{_SPACE}%"
    return f"{hundredths:.1f}{_SPACE}%" if abs(hundredths) >= 0.1 else f"{number(hundredths, 2)}{_SPACE}%"


def hundredths(value: float | None) -> str:
    """Write a figure to two digits after the point, so that a column of them can be compared; None is a dash.

    Examples
    --------
    >>> hundredths(0.316), hundredths(1.56e-07), hundredths(1234.5)
    ('0.32', '0.00', '1,234.50')
    """
    return NOTHING if value is None else f"{value:,.2f}"


def p_value(p: float | None) -> str:
    """Write the p of a test; what is tiny has no digits worth telling.

    Examples
    --------
    >>> p_value(0.03217), p_value(1e-80), p_value(None)
    ('0.0322', '< 0.0001', '\u2013')
    """
    return f"< {SMALLEST_P:g}" if p is not None and p < SMALLEST_P else number(p, 3)


def points(difference: float | None) -> str:
    r"""Write a difference of two shares in percentage points.

    Examples
    --------
    >>> [points(difference).replace("\u00a0", " ") for difference in (0.0912, -0.03, -0.0004)]
    ['+9.1 points', '-3.0 points', '0.0 points']
    """
    if difference is None or math.isnan(difference):
        return NOTHING
    rounded = round(difference * 100, 1) or 0.0
    return f"{rounded:{'+' if rounded else ''}.1f}{_SPACE}points"


def as_sentence(text: str) -> str:
    """Begin a text with a capital letter; the rest stays as it is.

    Examples
    --------
    >>> as_sentence("the PSI of x changed")
    'The PSI of x changed'
    """
    return f"{text[:1].upper()}{text[1:]}"


def count(n: int, noun: str) -> str:
    """Write a count with its noun.

    Examples
    --------
    >>> count(1, "segment"), count(1200, "row")
    ('1 segment', '1,200 rows')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def tell_moves(entities: Mapping[str, Any]) -> str:
    r"""Say how often entities changed their segment.

    Examples
    --------
    >>> tell_moves({"key": "customer_id", "compared": 4000, "moves": 120, "entities_moved": 100}).partition("; ")[2]
    '120 of these times (3.0\xa0%) in another segment than the time before. Entities that moved: 100.'
    >>> tell_moves({"key": "customer_id", "compared": 0, "moves": 0, "entities_moved": 0})
    'No entity (customer_id) was seen twice.'
    """
    key, compared, moves = entities["key"], entities["compared"], entities["moves"]
    n_left_out = entities.get("earlier_files_left_out")
    left_out = f" Left out: {count(n_left_out, 'earlier file')} without that key as it is now." if n_left_out else ""
    if not compared:
        return f"No entity ({key}) was seen twice.{left_out}"
    again = f"Entities ({key}) were seen again {count(compared, 'time')}"
    if not moves:
        return f"{again}, always in the same segment as the time before.{left_out}"
    return (
        f"{again}; {moves:,} of these times ({percent(moves / compared)}) in another segment than the time before. "
        f"Entities that moved: {entities['entities_moved']:,}.{left_out}"
    )


def tell_log1p(features: Sequence[str]) -> str:
    """Say what an average is where the logarithm of a feature is clustered.

    Examples
    --------
    >>> tell_log1p(["monetary"])
    'Under log1p (monetary) an average is a typical value: the mean of the logarithms, taken back.'
    """
    names = ", ".join(features)
    return f"Under log1p ({names}) an average is a typical value: the mean of the logarithms, taken back."


def name_check(check: Mapping[str, Any]) -> str:
    """Name a check of the gate.

    Examples
    --------
    >>> name_check({"check": "smallest_overlap", "ok": True})
    'smallest overlap'
    """
    return str(check["check"]).replace("_", " ")


def tell_check(check: Mapping[str, Any], gone: Iterable[str] = (), new: Iterable[str] = ()) -> str:
    """Say what a failed check of the gate found.

    Parameters
    ----------
    check : mapping
        ``check``, ``observed``, ``limit``, and ``label`` if it is about one segment.
    gone, new : iterable of str
        The names that the version ends, and those that it adds.

    Examples
    --------
    >>> tell_check({"check": "smallest_overlap", "observed": 0.2, "limit": 0.3, "label": "loyal"})
    'smallest overlap of loyal is 0.2, the limit is 0.3'
    >>> tell_check({"check": "frozen_names_missing_or_added", "observed": 3, "limit": 0}, ["b", "a"], ["c"])
    'names are frozen, but a and b are gone, c is new'
    """
    changes = [(sort_names(gone), "gone"), (sort_names(new), "new")]
    if check["check"] == "frozen_names_missing_or_added" and any(names for names, _ in changes):
        told = (f"{join_words(names)} {'is' if len(names) == 1 else 'are'} {what}" for names, what in changes if names)
        return f"names are frozen, but {', '.join(told)}"
    about = f" of {check['label']}" if check.get("label") else ""
    return f"{name_check(check)}{about} is {number(check['observed'])}, the limit is {number(check['limit'])}"


def by_size(segments: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Put the largest segment first."""
    return sorted(segments, key=lambda segment: -segment["rows"])


def sort_names(names: Iterable[str]) -> list[str]:
    """Sort names as people do: numbers within them by their size.

    Examples
    --------
    >>> sort_names(["segment-100", "segment-02", "Loyal", "at risk"])
    ['at risk', 'Loyal', 'segment-02', 'segment-100']
    """

    def key(name: str) -> list[tuple[str, int]]:  # what is split off by digits: texts and numbers take turns
        parts = iter([*_DIGITS.split(name), "-1"])
        return [(text.casefold(), int(digits)) for text, digits in zip(parts, parts, strict=True)]

    return sorted(names, key=key)


def join_words(words: Sequence[str]) -> str:
    """Join words as a sentence lists them.

    Examples
    --------
    >>> join_words(["a", "b", "c"]), join_words(["a"]), join_words([])
    ('a, b and c', 'a', '')
    """
    return " and ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part)


def higher_first(pair: Mapping[str, Any]) -> tuple[str, str]:
    """Give the two segments of a pair, the one with the higher mean first.

    Examples
    --------
    >>> higher_first({"cluster_label": "a", "other_label": "b", "higher": "b"})
    ('b', 'a')
    """
    one, two = str(pair["cluster_label"]), str(pair["other_label"])
    return (two, one) if pair["higher"] == two else (one, two)


def moment(created: str) -> str:
    """Write an ISO 8601 time to the minute; anything else stays as it is.

    Examples
    --------
    >>> moment("2011-06-30T04:12:55.123+00:00"), moment("2011-06-30"), moment("yesterday")
    ('2011-06-30 04:12 UTC', '2011-06-30', 'yesterday')
    """
    try:
        at = datetime.fromisoformat(created)
    except ValueError:
        return created
    if len(created) == len("2011-06-30"):
        return created
    return f"{at:%Y-%m-%d %H:%M} {at.tzname() or ''}".strip()


def shorten(name: str, length: int) -> str:
    """Cut a long name to `length` characters.

    Examples
    --------
    >>> shorten("days_since_last_purchase", 10)
    'days_sinc\u2026'
    """
    return name if len(name) <= length else f"{name[: length - 1]}\u2026"


def as_html(text: object) -> str:
    """Write a name or a text so that HTML in it is shown, not obeyed.

    Examples
    --------
    >>> as_html("<b>gold</b>")
    '&lt;b&gt;gold&lt;/b&gt;'
    """
    return html.escape(str(text))


def as_plot_text(name: str, length: int) -> str:
    """Write a name of at most `length` characters for plotly, which takes some HTML tags for markup.

    Examples
    --------
    >>> as_plot_text("<b>gold</b> & silver", 60)
    '&lt;b&gt;gold&lt;/b&gt; &amp; silver'
    """
    return html.escape(shorten(name, length), quote=False)


def as_markdown(text: object) -> str:
    r"""Write a name so that Markdown and HTML in it are shown, also in a table cell.

    Examples
    --------
    >>> as_markdown("a|b <i>"), as_markdown("_x_ and recency_days (2)")
    ('a\\|b &lt;i&gt;', '\\_x\\_ and recency_days (2)')
    """
    return _MARKDOWN.sub(r"\\\1", html.escape(" ".join(str(text).split()), quote=False))
