"""What people see of a profile: the features by how well they separate, then each of them segment by segment."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console

from kmstream.cli.tables import print_line, print_sentence, print_table
from kmstream.segment_profile import QUANTILES
from kmstream.wording import NOTHING, by_size, count, higher_first, hundredths, number, p_value, percent

MAX_RANKED, MAX_DETAILED = 30, 8  # features that are told of unless they are asked for by name
MAX_CATEGORIES = 5

Line = Mapping[str, Any]


def show_profile(console: Console, found: Line, *, with_pairs: bool) -> None:
    """Print the features by how well they separate, the closest pairs, and the segments in each feature.

    With pairs every feature is told of, and each pair of segments in it.
    """
    features = found["features"]
    rows = f"{number(found['rows'])} row{'' if found['rows'] == 1 else 's'}"  # may be weights, and so no whole number
    print_line(console, f"{found['name']} {found['version']}: {rows} in {count(len(found['segments']), 'segment')}")
    if found["explained"] is not None:
        explained = percent(found["explained"])
        print_sentence(console, f"They explain {explained} of the variance of all scaled features together.")
    print_line(console)
    _print_ranking(console, features if with_pairs else features[:MAX_RANKED])
    if found["explained"] is not None:
        freedom = f"{number(found['df_between'])} and {number(found['df_within'])} degrees of freedom"
        print_sentence(console, f"eta\u00b2: share of the variance between segments. F: {freedom}.")
        print_sentence(console, "d: from the lowest to the highest mean, in standard deviations within the two.")
    if found["closest"] and not with_pairs:
        print_line(console)
        print_line(console, "Hardest to tell apart, and the feature that does it best")
        _print_pairs(console, found["closest"], with_feature=True)
    groups = [(name, list(lines)) for name, lines in groupby(_sort_by_group(features), key=_group)]
    shown = groups if with_pairs else groups[:MAX_DETAILED]
    for name, lines in shown:
        print_line(console)
        show_one = _print_categories if lines[0]["kind"] == "category" else _print_numbers
        show_one(console, name, lines, by_size(found["segments"]))
        for line in lines if with_pairs else ():
            print_line(console)
            print_line(console, f"{line['feature']}: pairs of segments")
            pairs = [pair for pair in found["pairs"] if pair["feature"] == line["feature"]]
            _print_pairs(console, sorted(pairs, key=_distance, reverse=True), with_feature=False)
    print_line(console)
    _print_notes(console, found, with_log1p=any(line["kind"] == "log1p" for _, lines in shown for line in lines))
    if len(groups) > len(shown):
        print_sentence(console, f"{len(groups) - len(shown)} more: --feature NAME shows one, --json everything.")


def _print_notes(console: Console, found: Line, *, with_log1p: bool) -> None:
    """Say what the figures are, and what they are not."""
    if with_log1p:
        print_sentence(
            console,
            "Under log1p the mean is that of the logs, taken back, and the spread is the factor of one standard "
            "deviation of the logs: about two thirds of the rows lie between mean / factor and mean \u00d7 factor.",
        )
    once = ", each counted once" if isinstance(found["rows"], float) else ""  # whatever it weighs
    print_sentence(
        console,
        "Exact over every row, but quantiles and missing values: those of "
        f"{found['sample_rows']:,} sampled rows{once}. The segments were made of these features: "
        "a small p is no discovery, what counts is eta\u00b2 and d.",
    )


def _sort_by_group(features: Sequence[Line]) -> list[Line]:
    """Put the columns of a categorical feature together, where the first of them stands."""
    place: dict[str, int] = {}
    for line in features:
        place.setdefault(_group(line), len(place))
    return sorted(features, key=lambda line: place[_group(line)])


def _group(line: Line) -> str:
    name = str(line["feature"])
    return name.partition("=")[0] if line["kind"] == "category" else name


def _print_ranking(console: Console, features: Sequence[Line]) -> None:
    print_table(
        console,
        ("feature", ">eta\u00b2", ">F", "lowest mean", "highest mean", ">d"),
        [
            (
                line["feature"],
                hundredths(line["eta_squared"]),
                number(line["f"], 3),
                _tell_end(line["lowest"], line["kind"]),
                _tell_end(line["highest"], line["kind"]),
                hundredths(line["cohens_d"]),
            )
            for line in features
        ],
    )


def _print_pairs(console: Console, pairs: Sequence[Line], *, with_feature: bool) -> None:
    print_table(
        console,
        ("higher mean", "lower mean", *(["feature"] if with_feature else []), ">d", ">Welch's t", ">df", ">p (Holm)"),
        [
            (
                *higher_first(pair),
                *([pair["feature"]] if with_feature else []),
                hundredths(_size(pair["cohens_d"])),
                number(_size(pair["t"]), 3),
                number(pair["df"], 3),
                p_value(pair["p_adjusted"]),
            )
            for pair in pairs
        ],
    )


def _print_numbers(console: Console, name: str, lines: Sequence[Line], segments: Sequence[Line]) -> None:
    is_log = lines[0]["kind"] == "log1p"
    figures = [segment["features"][name] for segment in segments]
    with_missing = any(one["missing_share"] for one in figures)
    print_line(console, f"{name}{' (log1p)' if is_log else ''}")
    print_table(
        console,
        (
            *("segment", ">mean", ">spread" if is_log else ">sd"),
            *(f">{100 * q:g} %" for q in QUANTILES),
            *([">missing"] if with_missing else []),
        ),
        [
            (
                segment["cluster_label"],
                number(one["mean"]),
                _spread(one, is_log=is_log),
                *(number(value) for value in one["quantiles"].values()),
                *([percent(one["missing_share"])] if with_missing else []),
            )
            for segment, one in zip(segments, figures, strict=True)
        ],
    )


def _print_categories(console: Console, name: str, lines: Sequence[Line], segments: Sequence[Line]) -> None:
    columns = [line["feature"] for line in lines]
    with_missing = any(segment["features"][columns[0]]["missing_share"] for segment in segments)
    print_line(console, f"{name}, share of the rows")
    print_table(
        console,
        ("segment", "most frequent", *([">missing"] if with_missing else [])),
        [
            (
                segment["cluster_label"],
                _tell_shares(name, {column: segment["features"][column]["mean"] for column in columns}),
                *([percent(segment["features"][columns[0]]["missing_share"])] if with_missing else []),
            )
            for segment in segments
        ],
    )


def _tell_shares(name: str, shares: Mapping[str, float | None]) -> str:
    r"""Write the largest shares of a categorical feature, and how many values there are besides.

    Examples
    --------
    >>> _tell_shares("channel", {"channel=shop": 0.2, "channel=web": 0.8}).replace("\u00a0", " ")
    'web: 80.0 %, shop: 20.0 %'
    """
    there = sorted(((share, column) for column, share in shares.items() if share), key=lambda one: (-one[0], one[1]))
    told = [f"{column.removeprefix(f'{name}=')}: {percent(share)}" for share, column in there[:MAX_CATEGORIES]]
    more = there[MAX_CATEGORIES:]
    return ", ".join([*told, *([f"{len(more)} more: {percent(sum(share for share, _ in more))}"] if more else [])])


def _tell_end(end: Line | None, kind: str) -> str:
    if end is None:
        return NOTHING
    return f"{end['cluster_label']} ({percent(end['mean']) if kind == 'category' else number(end['mean'])})"


def _spread(figures: Line, *, is_log: bool) -> str:
    if not is_log:
        return number(figures["sd"])
    return NOTHING if figures["sd_factor"] is None else f"\u00d7 {figures['sd_factor']:,.2f}"


def _size(value: float | None) -> float | None:
    return None if value is None else abs(value)


def _distance(pair: Line) -> float:
    """Order pairs by their effect; without any spread nothing separates better."""
    return float("inf") if pair["cohens_d"] is None else abs(pair["cohens_d"])
