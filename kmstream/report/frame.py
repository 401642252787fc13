"""What all pages have in common: the head, the heading, the verdict, the row of figures and the footer; plain HTML.

A page forbids itself every connection.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

import kmstream
from kmstream.wording import as_html

REASONS_SHOWN = 10
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)


def render_frame(
    title: str, parts: Iterable[str], *, drawn_by: str, scripts: str, style: str = "", head: str = ""
) -> str:
    """Render a whole page.

    Parameters
    ----------
    title : str
        HTML, as all that follows.
    parts : iterable of str
        What people read: `render_heading`, `render_verdict`, `render_figures`, and what the page is about.
    drawn_by : str
        Who draws the plots.
    scripts : str
        At the end, when all is laid out.
    style : str
        CSS of this page alone, after `page.css`.
    head : str
        At the end of the head.
    """
    css = (files("kmstream.report") / "page.css").read_text(encoding="utf-8")
    content = "\n".join(parts)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="kmstream {kmstream.__version__}">
<title>{title}</title>
{head}
</head>
<body>
<main class="page">
{content}
<footer>Made by kmstream {kmstream.__version__} with {drawn_by}. One file, no network needed.
<noscript>The plots need JavaScript; every figure is in the tables.</noscript></footer>
</main>
<style>{css}{style}</style>
{scripts}
</body>
</html>
"""


def render_heading(over: str, title: str, told: str) -> str:
    """Render the heading: a line over it, and what is told below it (HTML)."""
    return f"""<header>
<div class="over">kmstream, {over}</div>
<h1>{title}</h1>
<p>{told}</p>
</header>"""


def render_verdict(level: str, title: str, sentence: str, items: Sequence[str]) -> str:
    """Render the verdict: its level (a class of `page.css`), its title, a sentence, and list items (HTML).

    All but the first ten are folded away.
    """
    listed = f"<ol>{''.join(items[:REASONS_SHOWN])}</ol>" if items else ""
    if more := items[REASONS_SHOWN:]:
        rest = f'<ol start="{REASONS_SHOWN + 1}">{"".join(more)}</ol>'
        listed += f"<details><summary>{len(more)} more</summary>{rest}</details>"
    return f'<div class="verdict {level}"><h2>{title}</h2><p>{as_html(sentence)}</p>{listed}</div>'


def render_figures(figures: Mapping[str, str]) -> str:
    """Render the most important figures, each below its name, in one row."""
    cells = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    return f'<dl class="figures">{cells}</dl>'
