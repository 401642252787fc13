"""Lines and tables on stdout, to be read at 80 columns and in a file; figures are worded as in the report."""

import itertools
import os
import sys
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_FILE_WIDTH = 120  # of a file; a table takes what it needs of it
_NO_BREAK_SPACE = "\u00a0"  # between a number and its unit: of no use in a table, and in the way of grep
_GLUE = "\ue000"  # stands for it while a sentence is broken into lines: rich takes it for any other blank
STYLES = {"ok": "green", "warn": "yellow", "alert": "red", "held": "yellow"}


def make_console() -> Console:
    """Give the console of stdout: no colours and no folding where it is not a terminal."""
    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def print_line(console: Console, text: str = "", style: str | None = None) -> None:
    """Print a line that people may copy from: it is never broken."""
    console.print(text, style=style, soft_wrap=True)


def print_sentence(console: Console, text: str, *, indent: int = 0) -> None:
    """Print prose, broken between words where the terminal ends."""
    _print_trimmed(console, Padding(Text(text.replace(_NO_BREAK_SPACE, _GLUE)), (0, 0, 0, indent)))


def print_table(
    console: Console,
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    styles: Iterable[str | None] = itertools.repeat(None),
) -> None:
    """Print a table.

    Parameters
    ----------
    titles : sequence of str
        A title that begins with ">" is that of figures: they stand on the right.
    rows : iterable of sequence of str
    styles : iterable of str or None
        Of each row.
    """
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="bold")
    for title in titles:
        figures = title.startswith(">")
        table.add_column(
            title.removeprefix(">"), justify="right" if figures else "left", no_wrap=figures, overflow="fold"
        )
    for row, style in zip(rows, styles, strict=False):
        table.add_row(*row, style=style)
    _print_trimmed(console, table)


def print_facts(console: Console, facts: Iterable[tuple[str, str, str]]) -> None:
    """Print a name, a figure and its explanation per line."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column()
    for fact in facts:
        grid.add_row(*fact)
    _print_trimmed(console, grid)


def _print_trimmed(console: Console, shown: RenderableType) -> None:
    with console.capture() as printed:
        console.print(shown)
    for line in printed.get().splitlines():  # rich fills every line up with blanks
        console.file.write(line.replace(_NO_BREAK_SPACE, " ").replace(_GLUE, " ").rstrip() + "\n")


def size(n_bytes: float) -> str:
    """Write a number of bytes.

    Examples
    --------
    >>> size(512), size(1536), size(3 * 2**40)
    ('512 bytes', '1.5 KiB', '3.0 TiB')
    """
    if n_bytes < 1024:
        return f"{n_bytes:.0f} bytes"
    units = ["TiB", "GiB", "MiB", "KiB"]
    while (n_bytes := n_bytes / 1024) >= 1024 and len(units) > 1:
        units.pop()
    return f"{n_bytes:,.1f} {units[-1]}"
