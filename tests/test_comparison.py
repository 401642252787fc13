"""A run beside the version before it: which one decides, by what limits, and what speaks for a name."""

import numpy as np
import pyarrow as pa
import pytest
from builders import make_config, make_features, make_plain_model, make_version, observe_rows, strict

from kmstream.comparison import (
    References,
    choose_thresholds,
    find_evidence,
    find_outlier_distances,
    label_sample,
    measure_drift,
    tell_life_cycle,
)
from kmstream.config import DriftConfig
from kmstream.drift import compare
from kmstream.labels import LabelMatch
from kmstream.life_cycle import LifeCycle
from kmstream.summary import PARTITION

MODEL = make_plain_model(make_features(), [(0.0,), (10.0,)], ["low", "high"])
LOW, HIGH = [[-1.0], [1.0]], [[9.0], [11.0]]
EVEN, UNEVEN = LOW + HIGH, LOW + HIGH * 3


def make_window(X):
    """Rows as the current side of a comparison, one of them an outlier."""
    return observe_rows(X, MODEL.centroids, MODEL.labels, outliers=[0, 1])


# --- which version decides -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reference", "version"), [("model", "v000002"), ("baseline", "v000001")])
def test_chosen_is_the_version_that_the_configuration_names(reference, version):
    references = References(make_version(MODEL, EVEN, version="v000002"), make_version(MODEL, EVEN))
    assert references.chosen(make_config(drift={"reference": reference})).version == version


def test_measure_drift_tells_both_and_is_as_severe_as_the_chosen_one():
    references = References(make_version(MODEL, UNEVEN * 100, version="v000002"), make_version(MODEL, EVEN * 100))
    for reference, share_psi in (("model", 0.0), ("baseline", 0.25 * np.log(3.0))):  # from halves to 1 and 3 quarters
        config = make_config(drift={"reference": reference})
        report = measure_drift(config, references, make_window(UNEVEN * 100), MODEL)
        assert (report.against_model["version"], report.against_baseline["version"]) == ("v000002", "v000001")
        assert report.against_model["severity"] == "ok"
        assert report.against_baseline["severity"] == "alert"
        chosen = report.against_model if reference == "model" else report.against_baseline
        assert report.severity == chosen["severity"]
        assert report.totals["share_psi"] == chosen["share_psi"] == pytest.approx(share_psi, abs=0.001)


def test_measure_drift_counts_outliers_of_the_chosen_reference_alone():
    references = References(make_version(MODEL, EVEN, version="v000002"), make_version(MODEL, EVEN))
    report = measure_drift(make_config(), references, make_window(EVEN), MODEL)
    assert report.against_model["outlier_share"] == 0.25
    assert report.against_baseline["outlier_share"] is None


def test_measure_drift_of_a_first_version_compares_nothing():
    report = measure_drift(make_config(), None, make_window(EVEN), MODEL)
    assert (report.severity, report.against_model, report.against_baseline) == ("ok", None, None)


# --- by what limits --------------------------------------------------------------------------------------------------

AUTO = DriftConfig(thresholds="auto")


def make_reference(features=None, n_rows_each=2000, n_sampled_each=200):
    """Ten partitions, every other one with more low rows, the rest with more high ones."""
    parts = [[0.0, 10.0] * 60 + [0.0 if i % 2 else 10.0] * (n_sampled_each - 120) for i in range(10)]
    places = np.repeat(np.arange(10, dtype=np.int32), n_sampled_each)
    model = make_plain_model(features or make_features(), MODEL.centroids, MODEL.labels)
    sample = pa.table({"x": np.concatenate(parts), PARTITION: places})
    return make_version(model, [[0.0], [10.0]] * 5 * n_rows_each, sample=sample)


def test_choose_thresholds_takes_what_is_configured_unless_they_are_to_be_learnt():
    found = choose_thresholds(DriftConfig(), make_reference(), 2000)
    assert (found.limits, found.source) == (DriftConfig(), "configuration")


def test_choose_thresholds_learns_from_the_partitions_of_the_reference():
    found = choose_thresholds(AUTO, make_reference(), 2000)
    assert found.source == "how 10 partitions of the reference differ"
    assert found.limits.share_change.warn == pytest.approx(3 * AUTO.share_change.warn)  # shares swing by 0.4


def test_choose_thresholds_judges_a_window_by_its_share_of_the_rows_of_the_reference():
    one = choose_thresholds(AUTO, make_reference(), 2000)
    assert choose_thresholds(AUTO, make_reference(n_rows_each=200), 200) == one
    two = choose_thresholds(AUTO, make_reference(), 4000)  # neighbours that swing differ less together
    assert two.limits.share_change.warn < one.limits.share_change.warn


def test_choose_thresholds_cannot_learn_from_weighted_rows():
    found = choose_thresholds(AUTO, make_reference(make_features(weight="w")), 2000)
    assert found.limits == AUTO
    assert found.source == "configuration (rows have weights, which the sample does not tell)"


# --- what speaks for a name ------------------------------------------------------------------------------------------


MATCH = LabelMatch(("a", "segment-03"), (True, False), np.array([0.5, np.nan]), np.array([2.0, np.nan]), ())


def test_find_evidence_tells_distance_and_margin_of_a_segment_that_goes_on():
    assert strict(find_evidence(MATCH, np.array([[8, 2], [1, 9]]), ["a", "b"])) == {
        "a": {"matched_distance": 0.5, "matched_margin": 2.0, "label_by_overlap": "a"},
        "segment-03": {"matched_distance": None, "matched_margin": None, "label_by_overlap": "b"},
    }


@pytest.mark.parametrize(
    ("migration", "labels"),
    [
        ([[8, 2], [1, 9]], ["a", "b"]),
        ([[2, 8], [9, 1]], ["b", "a"]),
        ([[5, 5], [9, 0]], ["b", "a"]),  # by shares of the known segments' rows
        ([[8, 0], [0, 0]], ["a", None]),
        ([[0, 0], [0, 0]], [None, None]),
    ],
)
def test_find_evidence_tells_the_name_that_most_shared_rows_give(migration, labels):
    found = find_evidence(MATCH, np.array(migration), ["a", "b"])
    assert [one["label_by_overlap"] for one in found.values()] == labels


def test_tell_life_cycle_flags_a_segment_that_keeps_few_of_its_rows():
    match = LabelMatch(MODEL.labels, (True, True), np.zeros(2), np.ones(2), ())
    life = LifeCycle({"low": "kept", "high": "split"}, {"low": 0.7, "high": 0.69})
    first = compare(None, make_window(EVEN), DriftConfig(), ["x"])
    counted = np.array([[7, 3], [4, 6]])
    told = tell_life_cycle(first, life, match, np.array([[40, 60], [70, 30]]), counted, MODEL.labels)
    low, high = sorted(told.segments, key=lambda line: line["cluster_label"], reverse=True)
    assert (low["status"], low["overlap"], low["flagged"], low["label_by_overlap"]) == ("kept", 0.7, False, "low")
    assert (high["status"], high["overlap"], high["flagged"], high["matched_margin"]) == ("split", 0.69, True, 1.0)
    assert told.migration["rows"] == [[40, 60], [70, 30]]  # of all rows


# --- a sample with its segments --------------------------------------------------------------------------------------


def test_label_sample_gives_rows_their_segments_and_silhouettes():
    found = label_sample(pa.table({"x": [0.0, 10.0, 1.0, 9.0], "id": [1, 2, 3, 4]}), MODEL)
    assert found.rows.column("cluster_label").to_pylist() == ["low", "high", "low", "high"]
    assert found.rows.column("id").to_pylist() == [1, 2, 3, 4]
    each = ((9.5 - 1) / 9.5 + (8.5 - 1) / 8.5) / 2  # (other - own) / other, by mean distances
    assert found.silhouette == pytest.approx(each)
    assert found.silhouette_by_label == pytest.approx({"low": each, "high": each})
    assert found.quality == {"silhouette": found.silhouette, "silhouette_by_cluster": pytest.approx([each, each])}


@pytest.mark.parametrize(("on_missing", "labels"), [("error", ["low"]), ("skip", ["low"]), ("mean", ["low", "high"])])
def test_label_sample_holds_a_row_with_a_missing_value_only_where_it_is_filled(on_missing, labels):
    model = make_plain_model(make_features(on_missing=on_missing), [(9.0,), (0.0,)], ["low", "high"])
    found = label_sample(pa.table({"x": [9.0, None]}), model)
    assert found.rows.column("cluster_label").to_pylist() == labels
    assert found.rows.column("x").to_pylist() == [9.0, None][: len(labels)]


def test_label_sample_tells_no_silhouette_of_what_has_none():
    one_segment = label_sample(pa.table({"x": [0.0, 1.0]}), MODEL)
    assert strict(one_segment.quality) == {"silhouette": None, "silhouette_by_cluster": [None, None]}
    three = make_plain_model(make_features(), [(0.0,), (10.0,), (99.0,)], "abc")
    *there, gone = label_sample(pa.table({"x": [0.0, 1.0, 9.0, 10.0]}), three).silhouette_by_label.values()
    assert gone is None
    assert None not in there


# --- how far its segments reach --------------------------------------------------------------------------------------


def make_reaching(labels, distances):
    """A version of segments with one row each, so far from its centroid."""
    X, at = np.array([[10.0 * i + far] for i, far in enumerate(distances)]), 10.0 * np.arange(len(distances))[:, None]
    model = make_plain_model(make_features(), at, labels)
    return make_version(model, X)


def test_find_outlier_distances_goes_by_name_not_by_cluster_id():
    reference = make_reaching(("near", "far", "gone"), [1.0, 3.0, 2.0])
    found = find_outlier_distances(reference, make_reaching(("far", "new", "near"), [0.0, 0.0, 0.0]).model)
    assert found[1] == np.inf
    np.testing.assert_allclose(found[[0, 2]], [3.0, 1.0], rtol=0.016)  # to the upper end of a bin
    assert (found[[0, 2]] >= [3.0, 1.0]).all()


def test_find_outlier_distances_knows_none_without_a_reference():
    assert find_outlier_distances(None, make_reaching(("a", "b"), [1.0, 1.0]).model).tolist() == [np.inf, np.inf]
