"""Retraining by itself, on real files: a score asks, the first call does the work, the guard keeps the rest back."""

import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kmstream.config import parse_config
from kmstream.pipeline import refresh, retrain, score
from kmstream.store import Store
from kmstream.versions import promote, resume_retraining

START = datetime(2026, 1, 1, 6, tzinfo=UTC)


def day(n):
    return START + timedelta(days=n)


class Shop:
    """A segmentation of three segments whose new months can be made to look like anything."""

    def __init__(self, folder):
        self.folder = folder

    def config(self, **sections):
        given = {
            "name": "shop",
            "dataset": {"path": "data"},
            "features": {"numeric": ["x", "y"]},
            "model": {"n_clusters": 3, "n_init": 2},
            "engine": {"workers": 1},
            "retrain": {"cooldown": "0s", "max_per_week": 99},
        }
        return parse_config(given | sections, base_dir=self.folder)

    def add(self, month, moved, **columns):
        rng = np.random.default_rng(len(month))
        centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0 + moved]])
        rows = np.repeat(centers, 100, axis=0) + rng.normal(0, 0.5, (300, 2))
        pq.write_table(pa.table({"x": rows[:, 0], "y": rows[:, 1], **columns}), self.folder / f"data/{month}.parquet")

    @property
    def store(self):
        return Store(self.folder / "out")

    def events(self):
        return [line["event"] for line in self.store.history()]


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A folder with one month and what was fitted to it."""
    shop = Shop(tmp_path_factory.mktemp("shop"))
    (shop.folder / "data").mkdir()
    shop.add("m01", 0.0)
    refresh(shop.config(), now=day(0))
    return shop.folder


@pytest.fixture
def shop(opened, tmp_path):
    shutil.copytree(opened, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path)


HOLDS = {"model": {"n_clusters": 3, "n_init": 2, "min_cluster_share": 0.4}}  # nothing gets through


@pytest.mark.slow
def test_a_request_is_answered_once_however_often_it_is_called(shop):
    assert retrain(shop.config(), now=day(1)).why == "no request waits for a new fit"
    shop.add("m02", 2.0)
    found = score(shop.config(), now=day(2))
    assert found.retrain["requested"]
    first = retrain(shop.config(), now=day(3))
    assert first.retrained
    assert first.refresh.version == shop.store.current == "v000002"
    assert first.refresh.rows == 600  # every partition, and not the window that drifted
    second = retrain(shop.config(), now=day(3))
    assert (second.retrained, second.why) == (False, "no request waits for a new fit")
    assert shop.events() == ["published", "drift", "retrain-requested", "published"]


@pytest.mark.slow
def test_a_request_whose_event_got_lost_is_told_again_by_every_score_and_written_once(shop):
    shop.add("m02", 40.0)
    run_id = score(shop.config(), now=day(2)).run_id
    nothing_new = score(shop.config(), now=day(3))
    assert nothing_new.partitions == 0
    assert nothing_new.retrain["requested"]
    assert (nothing_new.retrain["run_id"], nothing_new.retrain["severity"]) == (run_id, "alert")
    shop.add("m03", 40.0)
    assert run_id in score(shop.config(), now=day(4)).retrain["why"]
    assert shop.events().count("retrain-requested") == 1
    retrain(shop.config(), now=day(5))
    assert score(shop.config(), now=day(6)).retrain == {"requested": False, "why": "no new or changed partitions"}


@pytest.mark.slow
def test_held_on_the_same_data_is_not_tried_again(shop):
    shop.add("m02", 40.0)
    score(shop.config(), now=day(2))
    assert retrain(shop.config(**HOLDS), now=day(3)).refresh.status == "held"
    shop.store.log("retrain-requested", day(4), version="v000001", run_id="by hand")
    again = retrain(shop.config(**HOLDS), now=day(5))
    assert not again.retrained
    assert again.why == "v000002 was fitted to the same data and held; promote it, or wait for other data"
    assert shop.events()[-1] == "retrain-declined"
    assert not score(shop.config(), now=day(6)).retrain["requested"]
    shop.add("m03", 60.0)
    assert score(shop.config(), now=day(7)).retrain["requested"]
    assert retrain(shop.config(), now=day(8)).refresh.rows == 900


@pytest.mark.slow
@pytest.mark.parametrize("person", ["promotes", "resets"])
def test_three_held_refits_pause_it_until_a_person_acts(shop, person):
    for n in range(2, 5):
        shop.add(f"m0{n}", 40.0 * n)
        assert score(shop.config(), now=day(n)).retrain["requested"]
        assert retrain(shop.config(**HOLDS), now=day(n)).refresh.status == "held"
    shop.add("m05", 300.0)
    found = score(shop.config(), now=day(6))
    assert found.severity == "alert"
    assert found.retrain["why"].startswith("the last 3 refits were held (v000002, v000003, v000004): look at")
    assert not found.retrain["requested"]
    if person == "promotes":
        promote(shop.config(), "v000004", now=day(7))
    else:
        assert resume_retraining(shop.config(), now=day(7))["resumed"]
        assert not resume_retraining(shop.config(), now=day(7))["resumed"]
    shop.add("m06", 900.0)
    assert score(shop.config(), now=day(8)).retrain["requested"]
    assert retrain(shop.config(), now=day(9)).retrained


@pytest.mark.slow
def test_rows_that_its_own_labels_selected_are_not_all_it_is_fitted_to(shop, tmp_path):
    labelled = shop.config(output={"path": str(tmp_path / "out"), "columns": ["x", "y"]})
    for n in (1, 2):
        shop.add(f"m0{n}", 40.0 * (n - 1), cluster_label=["segment-01"] * 300)
    score(labelled, now=day(2))
    assert shop.store.history()[-1]["event"] == "retrain-requested"
    declined = retrain(labelled, now=day(3))
    assert not declined.retrained
    assert "its own labels selected" in declined.why
    shop.add("m03", 80.0)  # beside these, others
    assert score(labelled, now=day(4)).retrain["requested"]
    assert retrain(labelled, now=day(5)).retrained
