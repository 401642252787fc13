"""README.md and docs/ tell what is: links lead somewhere; rooms, commands and all that is written are named."""

import json
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer

from kmstream.cli import app
from kmstream.pipeline import refresh, retrain, score

ROOT = Path(__file__).parent.parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
FORMATS = (ROOT / "docs" / "formats.md").read_text()


def name_page(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def list_anchors(page: Path) -> set[str]:
    """The anchors that a host makes of the headings: small letters, blanks as hyphens, no other signs."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# -- all pages ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_links_lead_to_files_and_headings_that_exist(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), link
        assert not anchor or anchor in list_anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_lines_of_text_are_at_most_120_characters(page):
    long = [line for line in page.read_text().splitlines() if len(line) > 120 and not line.startswith(("|", "    "))]
    assert long == []


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_paths_in_the_text_exist(page):
    folders = "kmstream|tests|docs|flows|docker|\\.github"
    for path in re.findall(rf"`((?:{folders})/[\w./-]+)`", page.read_text()):
        assert (ROOT / path).exists(), path


# -- README.md -------------------------------------------------------------------------------------------------------


def test_readme_names_every_room_in_the_order_to_read():
    text = (ROOT / "README.md").read_text().partition("## Read the code in this order")[2]
    rooms = {path.name + "/" * path.is_dir() for path in (ROOT / "kmstream").iterdir() if path.name[0] != "_"}
    named = {name.rpartition("kmstream/")[2] for name in re.findall(r"`([\w/]+(?:\.py|/))`", text)}
    assert named - {"flows/"} == rooms - {"demo_data/"}


def test_readme_names_every_command():
    command = typer.main.get_command(app)
    for name in command.commands:  # type: ignore[attr-defined]
        assert f"kmstream {name}" in (ROOT / "README.md").read_text()


# -- docs/configuration.md -------------------------------------------------------------------------------------------


def test_page_of_the_configuration_is_what_its_script_makes():
    made = runpy.run_path(str(ROOT / "docs" / "make_configuration.py"))["make_page"]()
    assert (ROOT / "docs" / "configuration.md").read_text() == made, "run: .venv/bin/python docs/make_configuration.py"


# -- docs/formats.md -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runs(tmp_path_factory, files, blobs, config_in):
    """An output with all there is: two versions, a score with drift, a key, a category, true classes."""
    base = tmp_path_factory.mktemp("runs")
    config = config_in(
        base,
        dataset={"key": "id"},
        features={"categorical": ["truth"], "on_missing": "skip"},
        retrain={"cooldown": "0h"},
    )
    files(base / "data", {"m1.parquet": blobs(300)})
    results = {"refresh": refresh(config, truth="truth")}
    files(base / "data", {"m2.parquet": blobs(300, seed=1, centers=((3.0, 0.0), (13.0, 0.0), (0.0, 17.0)))})
    results["score"] = score(config)
    results["retrain"] = retrain(config)
    return base / "out", {verb: result.to_json() for verb, result in results.items()}


def read_section(heading: str) -> str:
    """The text below a heading, down to the next one of the same level."""
    level = heading.split()[0]
    return re.split(rf"^#{{1,{len(level)}}} ", FORMATS.split(f"\n{heading}\n")[1], flags=re.MULTILINE)[0]


# Objects whose keys are of the data: features, segments, paths, libraries; or of the configuration.
KEYED_BY_DATA = {
    *("centroid", "rows_per_cluster", "skipped", "unseen", "rewritten", "noise", "thresholds"),
    *("libraries", "config", "parameters", "seconds"),
}


def list_keys(content: Any) -> Iterator[str]:
    """Every key at any depth, once it is not of the data."""
    if isinstance(content, list):
        for one in content:
            yield from list_keys(one)
    elif isinstance(content, dict):
        for key, value in content.items():
            is_by_path = key == "partitions" and isinstance(value, dict) and "first" not in value
            is_section = key == "features" and isinstance(value, dict)  # of the configuration
            yield key
            if is_by_path:
                yield from list_keys(list(value.values()))
            elif key not in KEYED_BY_DATA and not is_section:
                yield from list_keys(value)


def find_untold(keys: Iterator[str], section: str) -> set[str]:
    return {key for key in keys if f"`{key}`" not in section}


@pytest.mark.slow
def test_every_file_that_runs_write_is_named(runs):
    out, _ = runs
    tree = FORMATS.partition("Files that begin with a dot")[0]
    written = {path for path in out.rglob("*") if path.is_file() and "workspace" not in path.parts}
    inputs = {"m1.parquet", "m2.parquet"}  # of the dataset
    names = {path.name for path in written if path.name[0] != "."} - inputs
    assert {name for name in names if not re.search(rf"(?<![\w.-]){re.escape(name)}\b", tree)} == set()
    assert {path.name for path in (out / "models" / "v000002").iterdir()} < names


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "pattern"),
    [
        ("### _manifest.json", "assignments/*/_manifest.json"),
        ("## model.json", "models/*/model.json"),
        ("## labels.json", "models/*/labels.json"),
        ("## provenance.json", "models/*/provenance.json"),
        ("## drift.json", "models/*/drift.json"),
        ("## drift.json", "reports/*/drift.json"),
    ],
)
def test_every_key_of_a_json_file_is_told(runs, heading, pattern):
    section = read_section(heading)
    content = [json.loads(path.read_text()) for path in runs[0].glob(pattern)]
    assert content
    assert find_untold(list_keys(content), section) == set()


@pytest.mark.slow
def test_every_key_of_the_history_is_told_beside_its_event(runs):
    section = read_section("## CURRENT and history.jsonl")
    lines = [json.loads(line) for line in (runs[0] / "models" / "history.jsonl").read_text().splitlines()]
    assert {line["event"] for line in lines} == {"published", "drift", "retrain-requested"}
    for line in lines:
        (told,) = re.findall(rf"^\| `{line['event']}`.*$", section, re.MULTILINE)
        assert find_untold(iter(line.keys() - {"time", "event"}), told) == set()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["refresh", "score", "retrain"])
def test_every_key_that_json_prints_is_told(runs, verb):
    result = runs[1][verb]
    drift = read_section("## drift.json") + read_section("## model.json")
    told = read_section("## What --json prints")
    assert find_untold(iter(result), told) == set()
    assert find_untold(list_keys(result), told + drift) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("heading", "pattern", "columns_of_data"),
    [
        ("## Assignments", "assignments/v000002/m1.parquet", {"id", "x", "y", "truth"}),
        ("## centroids.parquet, summary.parquet, sample.parquet", "models/v000002/summary.parquet", set()),
        ("## centroids.parquet, summary.parquet, sample.parquet", "models/v000002/sample.parquet", {"x", "y", "truth"}),
        ("## moved.parquet", "models/v000002/moved.parquet", set()),
    ],
)
def test_every_column_is_told(runs, heading, pattern, columns_of_data):
    schema = pq.read_schema(runs[0] / pattern)
    assert find_untold(iter(set(schema.names) - columns_of_data), read_section(heading)) == set()


@pytest.mark.slow
def test_types_of_the_cluster_columns_are_as_told(runs):
    section = read_section("## Assignments")
    schema = pq.read_schema(runs[0] / "assignments" / "v000002" / "m1.parquet")
    told = dict(re.findall(r"^\| `(cluster_\w+)` \| (\S+) ?", section, re.MULTILINE))
    assert told == {"cluster_id": "int32", "cluster_label": "dictionary", "cluster_distance": "float32"} | {
        "cluster_margin": "float32"
    }
    assert schema.field("cluster_id").type == pa.int32()
    assert schema.field("cluster_label").type == pa.dictionary(pa.int32(), pa.string())
    assert {schema.field(name).type for name in ("cluster_distance", "cluster_margin")} == {pa.float32()}
    assert {key.decode() for key in schema.metadata} >= set(re.findall(r"`(kmstream\.\w+)`", section))
