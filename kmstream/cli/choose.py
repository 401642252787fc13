"""The command about the number of segments."""

from typing import Annotated

import typer

from kmstream.cli.options import Only, Options, Truth, takes_options
from kmstream.errors import ConfigError

MAX_TRIED = 100
AT_MOST = f"at most {MAX_TRIED}, each of which is fitted many times, such as 2:12"


@takes_options
def choose_k(
    options: Options,
    *,
    ks: Annotated[
        str, typer.Option("--k", metavar="RANGE", help="Numbers to try: 2:12 (both ends too), 5, or 2,3,5,8.")
    ] = "2:12",
    truth: Truth = None,
    only: Only = None,
) -> None:
    """Try several numbers of segments on a sample, and recommend one.

    Nothing is published. The report has the plots: elbow, silhouette, stability.
    """
    tried = parse_ks(ks)
    from kmstream import pipeline
    from kmstream.cli.progress import show_progress
    from kmstream.cli.show_choice import show_choice

    config = options.load_config()
    with show_progress(quiet=options.quiet) as progress:
        result = pipeline.choose_k(config, tried, truth=truth, only=only or (), progress=progress)
    options.answer(result.to_json(), lambda console: show_choice(console, result, config, options), asked=True)


def parse_ks(text: str) -> list[int]:
    """Read what to try, ascending and each once.

    Raises
    ------
    ConfigError
        Says what was observed and expected.

    Examples
    --------
    >>> parse_ks("2:5"), parse_ks("5"), parse_ks("8,2,3")
    ([2, 3, 4, 5], [5], [2, 3, 8])
    """
    found: set[int] = set()
    for part in text.split(","):
        first, colon, last = part.partition(":")
        ends = [first.strip(), last.strip() if colon else first.strip()]
        if not all(end.isascii() and end.isdigit() for end in ends):
            raise _refuse(text, "can't be read", "a range 2:12 (both ends too), a number 5, or a list 2,3,5,8")
        low, high = map(int, ends)
        if low > high:
            raise _refuse(part.strip(), "is an empty range", f"the lower end first, {high}:{low}")
        if low < 2:
            raise _refuse(text, f"asks for {low}", "numbers of segments from 2 on, such as 2:12")
        if high - low >= MAX_TRIED:
            raise _refuse(part.strip(), f"is {high - low + 1:,} numbers", AT_MOST)
        found.update(range(low, high + 1))
    if len(found) > MAX_TRIED:
        raise _refuse(text, f"is {len(found):,} numbers", AT_MOST)
    return sorted(found)


def _refuse(text: str, problem: str, expected: str) -> ConfigError:
    error = ConfigError(f"--k {text!r} {problem}")
    error.add_note(f"Expected {expected}.")
    return error
