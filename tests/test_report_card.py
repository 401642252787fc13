"""The Markdown card of a model version."""

import re
from dataclasses import replace

import pytest
from report_content import HOSTILE, REFRESH_RUN, make_first, make_hostile, make_refresh

from kmstream.report import ModelFacts, write_model_card


@pytest.fixture
def model():
    return ModelFacts(
        name="retail-rfm",
        version="v000004",
        created="2011-06-30T04:12:55+00:00",
        status="published",
        numeric=["recency_days", "monetary"],
        categorical=["country"],
        log1p=["monetary"],
        clip=4.0,
        parameters={"n_clusters": 3, "tol": 0.0001},
        dataset="s3://bucket/rfm",
        partitions=6,
        rows=12_960,
        rows_skipped={"missing": 12, "infinite": 3},
        inertia_per_row=2.154321,
        quality={"silhouette": 0.41, "davies_bouldin": 1.2, "calinski_harabasz": 310.0},
        gate=REFRESH_RUN.gate,
        provenance={"config sha256": "9f2c"},
    )


@pytest.fixture
def write(tmp_path):
    """Write a card; gives its text."""

    def write_card(model, drift):
        write_model_card(tmp_path / "MODEL_CARD.md", model, drift)
        return (tmp_path / "MODEL_CARD.md").read_text(encoding="utf-8").replace("\u00a0", " ")

    return write_card


def test_model_card_has_every_part(write, model):
    card = write(model, make_refresh())
    assert card.startswith("# Model card: retail-rfm v000004\n")
    parts = ["Data", "Features", "Parameters", "Segments", "Quality", "What the figures mean", "Limits", "Provenance"]
    assert re.findall(r"^## (.*)$", card, re.MULTILINE) == parts
    for line in (
        "Published 2011-06-30 04:12 UTC. K-means, 3 segments in 12,960 rows.",
        "- Rows skipped: 15 (missing 12, infinite 3)",
        "| monetary | numeric | log1p, then standard |",
        "| country | categorical | one-hot |",
        "| tol | `0.0001` |",
        "| segment-02 | kept | 2,000 | 20.0 % | 18.0 % | 0.1 | 1,235 | 2,469 | 3,704 |",
        "- Inertia per row: 2.154",
        "- Agreement with v000003 (ARI): 0.457",
        "| inertia | **failed** | 1.02 | 1.001 |",
        "| config sha256 | `9f2c` |",
    ):
        assert line in card.splitlines()
    assert "segment-04" in card
    assert "segment-03" not in card  # retired


def test_model_card_of_a_first_version_compares_nothing(write, model):
    card = write(replace(model, quality={}), make_first())
    assert "Share before" not in card
    assert "- Silhouette: \u2013" in card
    assert "None" not in card


def test_model_card_tells_the_drift_that_its_data_brought(write, model):
    lines = write(model, make_hostile()).splitlines()
    at = lines.index("- Its data against those of v000003:")
    assert lines[at + 1] == "  - The centroid of 'segment-02' moved by 0.62 of its radius (alert from 0.5)."
    assert [line[:4] for line in lines[at + 1 : at + 7]] == ["  - "] * 5 + [""]


def test_model_card_shows_names_as_text(write, model):
    hostile = replace(model, numeric=HOSTILE, parameters={"x": HOSTILE[2]}, dataset=HOSTILE[0])
    card = write(hostile, make_hostile())
    assert re.findall(r"<(?:script|img|b)\b", card.replace("`" + HOSTILE[0] + "`", "")) == []
    tables = [line for line in card.splitlines() if line.startswith("| ") and "gold" in line]
    assert all(len(re.findall(r"(?<!\\)\|", line)) in {3, 4, 10} for line in tables)
