"""What a report is about, written by hand: drift.json of each kind of run, facts of a run, rows, hostile names."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from kmstream.report import RunFacts

FEATURES = ["recency_days", "frequency", "monetary"]
HOSTILE = [
    "</script><script>document.title='owned'</script>",
    "<img src=x onerror=\"document.title='owned'\">",
    "<b>gold</b> & 'silver' | `x`",
]
SCORE_RUN = RunFacts(
    kind="score",
    name="retail-rfm",
    version="v000003",
    run_id="run-7",
    status="scored",
    created="2011-06-30T04:12:55+00:00",
    rows=12_960,
    rows_skipped={"missing": 12, "infinite": 3},
    partitions=1,
    seconds={"assign": 0.41, "total": 1.3},
    provenance={"dataset": "data/rfm", "config sha256": "9f2c", "random_state": 0},
)
REFRESH_RUN = replace(
    SCORE_RUN,
    kind="refresh",
    version="v000004",
    run_id="v000004",
    status="published",
    gate=[
        {"check": "smallest_segment_share", "ok": True, "observed": 0.0812, "limit": 0.001, "label": "segment-02"},
        {"check": "inertia", "ok": False, "observed": 1.02, "limit": 1.001, "label": ""},
    ],
    passes=[
        {"pass": "mini-batch 1", "rows": 12_945, "inertia_per_row": 2.31, "largest_move": 0.42, "seconds": 0.1},
        {"pass": "exact 1", "rows": 12_945, "inertia_per_row": 2.154321, "largest_move": 0.03, "seconds": 0.05},
    ],
)


def make_segment(label, rows, share, then, *, status="kept", shift=0.1, features=FEATURES):
    return {
        "cluster_label": label,
        "status": status,
        "rows": rows,
        "share": share,
        "reference_share": then,
        "centroid_shift": shift,
        "centroid_shift_radii": shift,
        "standard_errors": None if shift is None else 40 * shift,
        "inertia_ratio": None if shift is None else 1.07,
        "outlier_share": None if shift is None else 0.012,
        "centroid": {name: 1234.5678 * (i + 1) for i, name in enumerate(features)},
        "moved_most": [{"feature": features[-1], "from": 410.0, "to": 655.25, "in_sd": 0.81}] if shift else [],
    }


def make_feature(name, psi=0.11):
    return {
        "feature": name,
        "psi": psi,
        "mean_from": 0.1,
        "mean_to": 0.4,
        "mix_effect": 0.1,
        "within_effect": 0.2,
    }


def make_reason(measure, value, threshold, severity, text, *, label=None, feature=None):
    about = {"measure": measure, "label": label, "feature": feature}
    return about | {"value": value, "threshold": threshold, "severity": severity, "text": text}


def make_score(**changes):
    """Rows of today against v000003: segment-02 grew and moved."""
    totals = {
        "rows": 12_945,
        "share_psi": 0.3141,
        "share_chi2_p": 1e-80,
        "centroid_shift_radii": 0.62,
        "inertia_ratio": 1.18,
        "outlier_share": 0.031,
        "feature_psi": 0.33,
    }
    grew = "'segment-02' grew from 18.0% to 27.0% of the rows"
    moved = "the centroid of 'segment-02' moved by 0.62 of its radius"
    return {
        "schema_version": 1,
        "name": "retail-rfm",
        "reference": "v000003",
        "current": "run-7",
        "severity": "alert",
        "reasons": [
            make_reason("outlier_share", 0.031, 0.02, "warn", "3.1% of the rows lie far out"),
            make_reason("share_change", 0.09, 0.05, "warn", grew, label="segment-02"),
            make_reason("centroid_shift", 0.62, 0.5, "alert", moved, label="segment-02", feature="monetary"),
        ],
        "totals": totals,
        "against_baseline": totals | {"share_psi": 0.77, "version": "v000001", "severity": "alert"},
        "segments": [
            make_segment("segment-01", 9450, 0.73, 0.82),
            make_segment("segment-02", 3495, 0.27, 0.18, shift=0.62),
        ],
        "features": [make_feature(name, 0.11 * i) for i, name in enumerate(FEATURES, 1)],
        "migration": None,
        "ari": None,
        "too_few_rows": [],
        "thresholds": None,
        "thresholds_from": "configuration",
    } | changes


def make_refresh(**changes):
    """A refit: segment-01 was split into segment-04, segment-03 retired."""
    segments = [
        make_segment("segment-01", 5000, 0.5, 0.8, status="split"),
        make_segment("segment-02", 2000, 0.2, 0.18),
        make_segment("segment-04", 3000, 0.3, 0.0, status="emerged", shift=None),
        make_segment("segment-03", 0, 0.0, 0.02, status="retired", shift=None),
    ]
    migration = {
        "labels_from": ["segment-01", "segment-02", "segment-03"],
        "labels_to": ["segment-01", "segment-02", "segment-04"],
        "rows": [[4990, 10, 2950], [0, 1800, 0], [10, 190, 50]],
    }
    told = {"current": "v000004", "severity": "ok", "reasons": []}
    return make_score() | told | {"segments": segments, "migration": migration, "ari": 0.4567} | changes


def make_first():
    """A first version: there is nothing to compare it with."""
    drift = make_score()
    segments = [
        make_segment(f"segment-0{i}", 1000 // i, 0.5 / i, None, status="emerged", shift=None) for i in (1, 2, 3)
    ]
    empty = dict.fromkeys(("psi", "mean_from", "mix_effect", "within_effect"))
    return drift | {
        "reference": None,
        "current": "v000001",
        "severity": "ok",
        "reasons": [],
        "totals": dict.fromkeys(drift["totals"]) | {"rows": 12_945},
        "against_baseline": None,
        "segments": segments,
        "features": [feature | empty for feature in drift["features"]],
    }


def make_hostile():
    """A refit whose segments and features have HTML in their names."""
    names = dict(zip(["segment-01", "segment-02", "segment-04"], HOSTILE, strict=True))
    columns = dict(zip(FEATURES, HOSTILE, strict=True))

    def rename(value):
        if isinstance(value, dict):
            return {columns.get(key, key): rename(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rename(item) for item in value]
        return names.get(value, columns.get(value, value)) if isinstance(value, str) else value

    changed = f"the distribution of {HOSTILE[0]} changed"
    reasons = [
        *make_score()["reasons"],
        make_reason("feature_psi", 0.3, 0.25, "alert", changed, feature=FEATURES[0]),
        make_reason("new_one", 0.3, 0.25, "alert", f"{HOSTILE[1]} moved", label=HOSTILE[1]),
    ]
    return rename(make_refresh(severity="alert", reasons=reasons))


def make_sample(n_rows, seed, columns=FEATURES):
    """Sampled rows in original units, with a category whose values have HTML in them."""
    rng = np.random.default_rng(seed)
    numbers = {name: rng.lognormal(seed / 10, 1, n_rows) for name in columns}
    return pa.table(numbers | {"country": rng.choice(HOSTILE, n_rows), "cluster_label": ["segment-01"] * n_rows})


def make_history(n_runs, labels=("segment-01", "segment-02")):
    """The shares of two segments in runs of the first of each month."""
    shares = [dict(zip(labels, (0.5 + i / 100, 0.5 - i / 100), strict=True)) for i in range(n_runs)]
    return [{"time": f"2011-0{i}-01T00:00:00+00:00", "kind": "score", "shares": s} for i, s in enumerate(shares, 1)]
