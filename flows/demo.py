"""The demo through the real flows: a year of customer segments on one temporary Prefect server.

``python flows/demo.py`` is `kmstream demo` with every refresh and score run as a flow. The server and its database are
gone afterwards; what the flows wrote stays in the folder.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "WARNING")

from kmstream import orchestration  # sets what Prefect reads when it is imported, so it comes first

from prefect import Flow  # isort: skip
from prefect.flows import load_flow_from_entrypoint  # isort: skip
from prefect.testing.utilities import prefect_test_harness  # isort: skip

from rich.console import Console
from rich.progress import Progress

from kmstream.cli.tables import make_console
from kmstream.demo import run_demo, show
from kmstream.errors import KmstreamError
from kmstream.events import HeldError, explain_error
from kmstream.results import RefreshResult, ScoreResult

FLOWS = Path(__file__).parent


class FlowVerbs:
    """The verbs as flows, loaded by their entrypoints as a worker loads them."""

    def __init__(self) -> None:
        self._refresh: Flow[..., RefreshResult] = load_flow_from_entrypoint(f"{FLOWS / 'refresh.py'}:refresh_flow")
        self._score: Flow[..., ScoreResult] = load_flow_from_entrypoint(f"{FLOWS / 'score.py'}:score_flow")

    def refresh(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> RefreshResult:
        """Run the flow `refresh`; a held version is a result too."""
        try:
            return self._refresh(str(config_path), list(overrides), list(only), now=now)
        except HeldError as held:
            return held.result

    def score(self, config_path: Path, overrides: Sequence[str], only: Sequence[str], now: datetime) -> ScoreResult:
        """Run the flow `score`."""
        return self._score(str(config_path), list(overrides), list(only), now=now)


class Bar:
    """One bar on stderr, where that is a terminal."""

    def __init__(self, bars: Progress) -> None:
        self._bars, self._task = bars, bars.add_task("a temporary Prefect server starts", total=None)

    def start(self, stage: str, rows: int) -> None:
        """Begin to count rows."""
        self._bars.update(self._task, description=stage, total=rows)

    def advance(self, rows: int) -> None:
        """Count rows."""
        self._bars.advance(self._task, rows)


def main() -> int:
    """Live through the year and print it."""
    parser = argparse.ArgumentParser(description="A year of customer segments, refitted and re-scored by the flows.")
    parser.add_argument("--folder", type=Path, default=Path("out/demo"), help="where it happens (%(default)s)")
    folder = parser.parse_args().folder
    try:
        with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
            bar = Bar(bars)
            with prefect_test_harness(server_startup_timeout=orchestration.SERVER_START):
                result = run_demo(folder, verbs=FlowVerbs(), progress=bar)
    except KmstreamError as error:
        sys.stderr.write(f"{explain_error(error)}\n")
        return error.exit_code
    show(result, make_console())
    return 0


if __name__ == "__main__":
    sys.exit(main())
