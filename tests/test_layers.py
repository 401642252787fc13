"""The rooms of kmstream and the direction of their imports, read from the source with `ast`."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A room is kmstream/<room>.py or the folder kmstream/<room>/. Imports point down, or sideways in no circle.
LAYERS = {
    0: {"errors", "arrays", "units", "config"},
    1: {
        "columns",
        "weights",
        "features",
        "scaling",
        "summary",
        "value_counts",
        "clustering",
        "search",
        "minibatch",
        "quality",
        "labels",
        "life_cycle",
        "measures",
        "drift",
        "drift_figures",
        "thresholds",
        "noise",
        "gate",
        "retraining",
        "reasons",
        "descriptions",
        "separation",
        "segment_profile",
        "projection",
        "distributions",
        "sample_views",
        "wording",
    },
    2: {"storage", "append", "dataset", "assignments", "store", "report", "engine", "outputs", "scratch"},
    # The verbs, and what they are made of: one file for each part of a run.
    3: {
        "pipeline",
        "predecessor",
        "plan",
        "run",
        "scan",
        "matrices",
        "truth",
        "choose",
        "fit",
        "assign",
        "relabel",
        "resume",
        "publish",
        "scoring",
        "window",
        "commit",
        "comparison",
        "refit",
        "versions",
        "migration",
        "names",
        "who_moved",
        "reporting",
        "results",
        "provenance",
        "events",
        "entities",
        "drift_history",
    },
    4: {"cli", "serve", "tracking", "demo", "init_config", "orchestration", "flows"},
}
LAYER_OF = {room: layer for layer, rooms in LAYERS.items() for room in rooms}

# Third-party packages that only these rooms know.
ONLY_IN = {
    "evidently": {"report"},
    "plotly": {"report"},
    "sklearn": LAYERS[1],
    "dask": {"engine", "outputs", "scratch"},
    "distributed": {"engine", "outputs", "scratch"},
    "typer": {"cli"},
    "prefect": {"flows", "orchestration"},
    "fastapi": {"serve"},
    "mlflow": {"tracking"},
}

# What a pure room has no use for: the disk, the clock, the terminal, global random state.
IMPURE_MODULES = {
    *("os", "pathlib", "io", "shutil", "tempfile", "glob", "subprocess", "socket", "fsspec"),
    *("time", "logging", "random", "sys", "pickle"),
    *("pyarrow.parquet", "pyarrow.dataset", "pyarrow.fs", "pyarrow.csv", "pyarrow.feather"),
}
IMPURE_CALLS = {"open", "print", "input"}
IMPURE_ATTRIBUTES = {"now", "utcnow", "today"}
EXPLICIT_RANDOM = {"Generator", "BitGenerator", "SeedSequence", "PCG64", "Philox", "default_rng"}

HEAVY = {"evidently", "prefect", "sklearn", "distributed"}


def sources() -> dict[Path, str]:
    """Each source file with the room it belongs to."""
    found = {path: path.relative_to(ROOT / "kmstream").parts[0].removesuffix(".py")
             for path in (ROOT / "kmstream").rglob("*.py")}  # fmt: skip
    return found | {path: "flows" for path in (ROOT / "flows").rglob("*.py")}


def imported(tree: ast.Module, path: Path) -> Iterator[str]:
    """Every imported module as a dotted name, and `module.name` for `from module import name`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = [module] if module else []
                if level:
                    package = path.relative_to(ROOT).parts[:-1]
                    base = [*package[: len(package) - level + 1], *base]
                yield from (".".join([*base, alias.name]) for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def room_of(module: str) -> str | None:
    """The room that a dotted name belongs to; None for the package itself and for other packages."""
    match module.split("."):
        case ["kmstream", room, *_] if room in LAYER_OF or _is_room(room):
            return room
        case ["flows", *_]:
            return "flows"
    return None


def _is_room(name: str) -> bool:
    return any((ROOT / "kmstream" / leaf).exists() for leaf in (f"{name}.py", f"{name}/__init__.py"))


def import_problems(path: Path, room: str, source: str) -> list[str]:
    """What is wrong with the imports of one file."""
    if room in {"__init__", "__main__"}:
        return []
    if room not in LAYER_OF:
        return [f"room {room!r} is in no layer: add it to LAYERS"]
    problems = []
    siblings = {flow.stem for flow in path.parent.glob("*.py")} - {"__init__"} if room == "flows" else set()
    for module in imported(ast.parse(source), path):
        package, other = module.split(".")[0], room_of(module)
        if other is not None and LAYER_OF.get(other, 99) > LAYER_OF[room]:
            problems.append(f"imports upward: {module}")
        if room not in ONLY_IN.get(package, {room}):
            problems.append(f"imports {module}, which only {sorted(ONLY_IN[package])} may")
        if room == "errors" and package == "kmstream":
            problems.append(f"errors imports nothing of kmstream: {module}")
        if room == "flows" and package == "numpy":
            problems.append("a flow does no arithmetic: numpy")
        if room == "flows" and (other == "flows" or package in siblings):
            problems.append(f"imports another flow file: {module}")
    return problems


def purity_problems(path: Path, source: str) -> list[str]:
    """What a file of layer 1 does with the disk, the clock, the terminal or global random state."""
    tree = ast.parse(source)
    problems = [
        f"imports {module}"
        for module in imported(tree, path)
        if any(module == impure or module.startswith(f"{impure}.") for impure in IMPURE_MODULES)
    ]
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in IMPURE_CALLS:
                problems.append(f"calls {name}()")
            case ast.Call(func=ast.Attribute(attr=name)) if name in IMPURE_ATTRIBUTES:
                problems.append(f"reads the clock: .{name}()")
            case ast.Attribute(value=ast.Attribute(value=ast.Name(id="np"), attr="random"), attr=name):
                if name not in EXPLICIT_RANDOM:
                    problems.append(f"global random state: np.random.{name}")
            case ast.Call(func=ast.Attribute(attr="default_rng") | ast.Name(id="default_rng"), args=[], keywords=[]):
                problems.append("default_rng() without a seed")
    return problems


@pytest.mark.parametrize("path", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in sorted(sources())])
def test_a_room_imports_only_what_lies_below_it(path):
    assert import_problems(path, sources()[path], path.read_text()) == []


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=str(p.relative_to(ROOT))) for p, room in sorted(sources().items()) if room in LAYERS[1]],
)
def test_a_pure_room_touches_no_disk_clock_or_terminal(path):
    assert purity_problems(path, path.read_text()) == []


def test_rooms_import_each_other_without_a_circle():
    graph: dict[str, set[str]] = {}
    for path, room in sources().items():
        rooms = {room_of(module) for module in imported(ast.parse(path.read_text()), path)}
        graph.setdefault(room, set()).update(other for other in rooms if other not in {None, room})
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("kmstream/summary.py", "from kmstream.store import load", "upward"),
        ("kmstream/summary.py", "from kmstream import store", "upward"),
        ("kmstream/summary.py", "from . import store", "upward"),
        ("kmstream/summary.py", "def f():\n    import kmstream.pipeline", "upward"),
        ("kmstream/report/page.py", "from ..pipeline import score", "upward"),
        ("kmstream/store.py", "importlib.import_module('kmstream.cli')", "upward"),
        ("kmstream/errors.py", "import kmstream.config", "errors imports nothing"),
        ("kmstream/pipeline.py", "from flows.score import score", "upward"),
        ("kmstream/pipeline.py", "import evidently.presets", "only ['report'] may"),
        ("kmstream/store.py", "from sklearn.cluster import KMeans", "only"),
        ("kmstream/cli.py", "import prefect", "only ['flows', 'orchestration'] may"),
        ("kmstream/helpers.py", "", "in no layer"),
        ("flows/score.py", "import numpy as np", "arithmetic"),
        ("flows/score.py", "from flows.refresh import refresh", "another flow file"),
        ("flows/score.py", "from .refresh import refresh", "another flow file"),
    ],
)
def test_an_import_that_breaks_the_rules_is_found(file, line, complaint):
    room = "flows" if file.startswith("flows") else file.split("/")[1].removesuffix(".py")
    assert complaint in "; ".join(import_problems(ROOT / file, room, line))


@pytest.mark.parametrize(
    "line",
    [
        "import os.path",
        "from pathlib import Path",
        "from pyarrow import parquet",
        "import pyarrow.parquet as pq",
        "import logging",
        "open('x')",
        "print(1)",
        "datetime.now(UTC)",
        "np.random.seed(0)",
        "np.random.default_rng()",
    ],
)
def test_a_line_that_is_not_pure_is_found(line):
    assert purity_problems(ROOT / "kmstream/summary.py", line)


def test_a_pure_line_is_left_alone():
    lines = "import pyarrow as pa\nfrom datetime import timedelta\nrng = np.random.default_rng(seed)"
    assert purity_problems(ROOT / "kmstream/summary.py", lines) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import kmstream",
        "import kmstream.cli",
        "import kmstream.cli; sys.argv = ['kmstream', '--help']\n"
        "try: kmstream.cli.main()\n"
        "except SystemExit as end: assert end.code in (0, None)",
    ],
    ids=["kmstream", "kmstream.cli", "kmstream --help"],
)
def test_importing_loads_nothing_heavy(statement):
    code = f"import sys; {statement}\nprint('loaded:', *sorted({HEAVY} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"
