"""How every table is written in HTML: readable without JavaScript, on a phone and on paper."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kmstream.wording import NOTHING, as_html

LONG_NAME = 24  # a longer word may be broken anywhere, a shorter one never is
LONG_TABLE_ROWS = 25  # a longer one scrolls in a box of its own on a screen, and is complete on paper


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    title : str
        Plain text.
    cells : sequence of str
        HTML, one per row.
    is_text : bool
        Aligned left; numbers are aligned right.
    """

    title: str
    cells: Sequence[str]
    is_text: bool = False


def render_table(columns: Iterable[Column], *, label: str) -> str:
    """Render columns as one HTML table; those without any figure are left out.

    Parameters
    ----------
    columns : iterable of Column
        The first names the rows.
    label : str
        What the table is, for screen readers.
    """
    shown = [column for column in columns if any(cell not in {"", NOTHING} for cell in column.cells)]
    if not shown:
        return ""
    classes = ["text" if column.is_text else "num" for column in shown]
    head = "".join(
        f'<th scope="col" class="{kind}">{as_name(column.title)}</th>'
        for kind, column in zip(classes, shown, strict=True)
    )
    rows = []
    for cells in zip(*(column.cells for column in shown), strict=True):
        first, *rest = cells
        others = "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(classes[1:], rest, strict=True))
        rows.append(f'<tr><th scope="row" class="{classes[0]}">{first}</th>{others}</tr>')
    long = " long" if len(rows) > LONG_TABLE_ROWS else ""
    body = "\n".join(rows)
    return (
        f'<div class="scroll{long}" role="region" tabindex="0" aria-label="{as_html(label)}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def as_name(name: object) -> str:
    """Write a name or a title; it breaks between words, and within a word only if that is long.

    Examples
    --------
    >>> as_name("<b>gold</b>"), as_name("loyal customers")
    ('<span class="name">&lt;b&gt;gold&lt;/b&gt;</span>', 'loyal customers')
    """
    longest = max(map(len, str(name).split()), default=0)
    if longest > LONG_NAME:
        return f'<span class="long-name">{as_html(name)}</span>'
    return f'<span class="name">{as_html(name)}</span>' if longest and longest == len(str(name)) else as_html(name)


def as_chip(cell: str, severity: str | None) -> str:
    """Mark a cell that is beyond a threshold.

    Examples
    --------
    >>> as_chip("0.3", "warn"), as_chip("0.1", None)
    ('<span class="chip warn">0.3</span>', '0.1')
    """
    return f'<span class="chip {severity}">{cell}</span>' if severity in {"warn", "alert"} else cell
