"""What people see of a choice of k."""

from rich.console import Console

from kmstream.cli.options import Options
from kmstream.cli.tables import STYLES, print_line, print_sentence, print_table
from kmstream.config import Config
from kmstream.results import ChoiceResult
from kmstream.wording import hundredths, number, percent

_MARK = ""  # title of the column that marks the recommended k
_WIDE = 96  # characters


def show_choice(console: Console, result: ChoiceResult, config: Config, options: Options) -> None:
    """Print the measures of every k, the recommendation, and what comes next."""
    whose = "new scaling" if result.scaling == "new" else f"scaling of {result.scaling}"
    print_line(console, f"{result.name}: {result.sample_rows:,} of {result.rows:,} rows, {whose}")
    print_line(console)
    columns = _columns(result, wide=console.width >= _WIDE)
    rows = zip(*columns.values(), strict=True)
    print_table(console, list(columns), rows, styles=[STYLES["ok"] if one else None for one in columns[_MARK]])
    print_line(console)
    if result.truth:
        print_sentence(
            console, f"ARI, NMI: agreement with {result.truth}, known of {result.truth_rows:,} sampled rows."
        )
    print_sentence(
        console,
        "The higher the better: silhouette, stability, Calinski-Harabasz; the lower: Davies-Bouldin. Inertia falls "
        "with every segment.",
    )
    for note in result.notes:
        print_sentence(console, f"{note}.")
    elbow = f" The inertia bends most at {result.elbow}." if result.elbow else " The inertia has no clear bend."
    print_sentence(console, result.reason[:1].upper() + result.reason[1:] + elbow)
    if result.recommended not in {None, config.model.n_clusters}:
        print_sentence(
            console,
            f"model.n_clusters is {config.model.n_clusters}. To stay with {result.recommended}, change it in "
            f"{options.config_path}; to fit it once:",
        )
        print_line(console, f"  {options.command(f'refresh --set model.n_clusters={result.recommended}')}")
    print_line(console, f"report   {result.report}")
    print_line(console, f"seconds  {result.seconds['total']:.1f}")


def _columns(result: ChoiceResult, *, wide: bool) -> dict[str, list[str]]:
    """Write the columns of the table; a narrow terminal with true classes has no room for two of the measures."""
    candidates = result.k
    columns = {
        _MARK: ["*" if one.k == result.recommended else "" for one in candidates],
        ">k": [str(one.k) for one in candidates],
        ">silhouette": [hundredths(one.silhouette) for one in candidates],
        ">stability": [hundredths(one.stability) for one in candidates],
        ">inertia/row": [number(one.inertia_per_row) for one in candidates],
    }
    if wide or not result.truth:
        columns[">Davies-B."] = [hundredths(one.davies_bouldin) for one in candidates]
        columns[">Calinski-H."] = [number(one.calinski_harabasz) for one in candidates]
    columns[">smallest"] = [percent(one.smallest_share) for one in candidates]
    if result.truth:
        columns[">ARI"] = [hundredths(one.ari) for one in candidates]
        columns[">NMI"] = [hundredths(one.nmi) for one in candidates]
    return columns
