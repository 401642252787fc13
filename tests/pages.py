"""Pages as people see them: the text and the elements of an HTML file, as written and as a browser draws it."""

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kmstream.report import write_report

MAX_PAGE_BYTES = 6_000_000
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page(HTMLParser):
    """What a reader sees, the elements, and what scripts hold."""

    def __init__(self, source):
        super().__init__(convert_charrefs=True)
        self.source, self.tags, self.texts, self._open = source, [], [], []
        self.feed(source)
        self.text = " ".join(" ".join(self.texts).replace("\u00a0", " ").split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = [tag] if tag in {"script", "style"} else []

    def handle_endtag(self, tag):
        self._open = []

    def handle_data(self, data):
        if not self._open:
            self.texts.append(data)

    def count(self, tag):
        return sum(name == tag for name, _ in self.tags)

    def count_plots(self):
        return sum("js-plotly-plot" in (attrs.get("class") or "") for tag, attrs in self.tags if tag == "div")


def read_page(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def write_page(path: Path, drift, run, *, samples=(None, None)) -> Page:
    """The page of a run; the samples are that of the reference and that of now."""
    write_report(path, drift, reference_sample=samples[0], current_sample=samples[1], run=run)
    return read_page(path)


def browse_page(path: Path, profile: Path) -> Page:
    """The page after its scripts ran, in a real browser with a profile of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine")
    quiet = ["--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-component-update", *quiet]
    command += [f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return Page(done.stdout)
