"""The demo: a year lived without an orchestrator, and what it prints."""

import io
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from kmstream.config import load_config
from kmstream.demo import DemoResult, run_demo, show
from kmstream.demo.story import Month, Refit, Segment
from kmstream.errors import ConfigError, OutputError
from kmstream.store import Store

SNAPSHOTS = sorted((Path(__file__).parent.parent / "kmstream" / "demo_data").glob("*.parquet"))

network: list[tuple] = []  # what this process tries to reach while `watching` is on
watching: list[bool] = []


def _note_network(event: str, args: tuple) -> None:
    if watching and event in {"socket.connect", "socket.getaddrinfo", "socket.sendto"}:
        network.append((event, args))


@pytest.fixture(scope="session")
def year(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoResult, Path]:
    folder = tmp_path_factory.mktemp("demo")
    sys.addaudithook(_note_network)
    watching.append(True)
    try:
        return run_demo(folder), folder
    finally:
        watching.clear()


def printed(result: DemoResult, width: int = 80) -> str:
    out = io.StringIO()
    show(result, Console(file=out, width=width))
    return out.getvalue()


def made_up(**changes) -> DemoResult:
    centroid = {"recency_days": 3.0, "frequency": 9.0, "monetary": 1234.5}
    segments = (
        Segment("segment-01", "active, many orders", 10, 0, centroid, None),
        Segment("segment-02", "asleep, one order", 0, 1200, None, centroid),
    )
    months = (
        Month("2011-01", {"segment-01": 10}, None, "v000001"),
        Month("2011-02", {"segment-02": 1200}, "alert", "v000002"),
    )
    refits = (Refit("v000002", "2011-02", "published", "[all] moved", 0.0, 0, 0, 0),)
    return replace(DemoResult("demo/kmstream.toml", months, segments, refits, "/demo/report.html", 1.0), **changes)


def test_the_snapshots_are_thirteen_months_of_customers_with_their_attribution():
    assert [path.stem for path in SNAPSHOTS] == ["rfm_2010-12", *(f"rfm_2011-{month:02d}" for month in range(1, 13))]
    assert sum(pq.read_metadata(path).num_rows for path in SNAPSHOTS) == 36_805
    notice = (SNAPSHOTS[0].parent / "README.md").read_text()
    assert "Daqing Chen" in notice
    assert "CC BY 4.0" in notice


@pytest.mark.slow
def test_run_demo_counts_every_customer_of_every_month(year):
    result, _ = year
    assert [month.month for month in result.months] == [path.stem.removeprefix("rfm_") for path in SNAPSHOTS]
    rows = [pq.read_metadata(path).num_rows for path in SNAPSHOTS]
    assert [sum(month.customers.values()) for month in result.months] == rows


@pytest.mark.slow
def test_run_demo_counts_what_the_assignment_files_hold(year):
    result, folder = year
    for month in result.months:
        table = pq.read_table(folder / "out" / "assignments" / month.version / f"rfm_{month.month}.parquet")
        labels = table.column("cluster_label").to_pylist()
        assert {label: labels.count(label) for label in set(labels)} == month.customers


@pytest.mark.slow
def test_run_demo_refits_where_drift_asks_and_nowhere_else(year):
    result, folder = year
    asked = [line["run_id"] for line in Store(folder / "out").history() if line["event"] == "retrain-requested"]
    assert len(asked) == len(result.refits) >= 2
    assert {refit.month for refit in result.refits} == {
        month.month for month in result.months if month.severity == "alert"
    }
    assert all(refit.status == "published" for refit in result.refits)


@pytest.mark.slow
def test_names_persist_over_the_refits_customer_by_customer(year):
    result, folder = year
    assert len({frozenset(month.customers) for month in result.months}) == 1
    before = "v000001"
    for refit in result.refits:
        month = result.months[[one.month for one in result.months].index(refit.month) - 1].month  # in both fits
        old, new = (
            pq.read_table(folder / "out" / "assignments" / version / f"rfm_{month}.parquet").to_pydict()
            for version in (before, refit.version)
        )
        assert old["customer_id"] == new["customer_id"]
        for name in set(old["cluster_label"]):
            now = [to for was, to in zip(old["cluster_label"], new["cluster_label"], strict=True) if was == name]
            assert max(set(now), key=now.count) == name
        assert refit.names_changed == 0
        assert refit.kept_share > 0.75
        before = refit.version


@pytest.mark.slow
def test_numbers_of_a_fit_from_scratch_do_not_persist(year):
    result, _ = year
    assert sum(refit.names_compared for refit in result.refits) == 4 * len(result.refits)
    assert all(0 <= refit.ids_changed <= refit.names_compared for refit in result.refits)
    assert sum(refit.ids_changed for refit in result.refits) > 0


@pytest.mark.slow
def test_run_demo_needs_no_network(year):
    assert year
    assert network == []


@pytest.mark.slow
def test_run_demo_leaves_a_configuration_to_go_on_with(year):
    result, folder = year
    config = load_config(result.config)
    assert Path(config.dataset.path) == folder / "data"
    assert Store(config.output.path).current == result.months[-1].version
    assert Path(result.report).is_file()
    assert json.loads(json.dumps(result.to_json()))["months"][0]["customers"] == result.months[0].customers


@pytest.mark.slow
def test_show_prints_the_year_within_80_columns(year):
    result, _ = year
    text = printed(result)
    tables, _, paths = text.rpartition("\nreport ")
    assert max(map(len, tables.splitlines())) <= 80
    assert "…" not in tables
    assert "\x1b" not in text
    assert result.report in paths
    for month in result.months:
        line = next(line for line in text.splitlines() if line.startswith(month.month))
        *sizes, total = [int(cell.replace(",", "")) for cell in re.findall(r" ([\d,]+)(?= )", line)][
            : len(month.customers) + 1
        ]
        assert sum(sizes) == total == sum(month.customers.values())
    compared = sum(refit.names_compared for refit in result.refits)
    assert f"Names that changed: 0 of {compared}" in text


def test_show_marks_a_segment_that_is_not_there():
    text = printed(made_up())
    assert re.search(r"2011-01 +10 +- +10 +- ", text)
    assert re.search(r"2011-02 +- +1,200 +1,200 +alert ", text)
    assert "3 → -" in text
    assert "- → £1,234" in text
    assert "[all] moved" in text


def test_show_says_that_a_version_is_held():
    refit = replace(made_up().refits[0], status="held")
    assert "v000002 (held)" in printed(made_up(refits=(refit,)))


def test_run_demo_refuses_a_folder_of_something_else(tmp_path):
    (tmp_path / "kmstream.toml").write_text('name = "mine"\n')
    with pytest.raises(ConfigError, match="not of an earlier demo"):
        run_demo(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["kmstream.toml"]


def test_run_demo_refuses_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="can't be written"):
        run_demo(tmp_path / "file")


def test_run_demo_replaces_an_earlier_demo(tmp_path):
    class Stopping:
        def refresh(self, config_path, overrides, only, now):
            (tmp_path / "out").mkdir()
            raise InterruptedError

        score = refresh

    for _ in range(2):
        with pytest.raises(InterruptedError):
            run_demo(tmp_path, verbs=Stopping())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "kmstream.toml", "out"]
