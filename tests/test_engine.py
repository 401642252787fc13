import subprocess
import sys
import threading
import time
from dataclasses import replace

import cloudpickle
import numpy as np
import pytest
from builders import bits_of, make_scaling

from kmstream.assign import AssignJob, assign_dataset
from kmstream.clustering import ClusterModel
from kmstream.config import EngineConfig
from kmstream.engine import (
    MAX_TASKS,
    count_workers,
    find_group_size,
    group_items,
    map_in_order,
    map_on_threads,
    read_ahead,
    single_threaded,
)
from kmstream.matrices import Matrices


def test_map_in_order_yields_in_the_order_of_the_items():
    def late_first(item):
        time.sleep(0.02 if item % 4 == 0 else 0.0)
        return item * 10

    assert list(map_in_order(late_first, range(20), EngineConfig(workers=4))) == [10 * i for i in range(20)]


def test_map_in_order_takes_no_items():
    assert list(map_in_order(str, [], EngineConfig(workers=2))) == []


def test_map_in_order_keeps_only_a_window_under_way():
    taken = []

    def items():
        for i in range(50):
            taken.append(i)
            yield i

    results = map_in_order(str, items(), EngineConfig(workers=2))
    assert next(results) == "0"
    assert len(taken) <= 4
    results.close()


def test_map_in_order_runs_items_side_by_side():
    meet = threading.Barrier(3, timeout=10)
    assert len(list(map_in_order(lambda _: meet.wait(), range(3), EngineConfig(workers=3)))) == 3


def test_map_in_order_raises_what_the_first_failing_item_raised_and_starts_nothing_new():
    done = []

    def fail_on_three(item):
        if item == 3:
            msg = "three"
            raise ValueError(msg)
        done.append(item)
        return item

    with pytest.raises(ValueError, match="three"):
        list(map_in_order(fail_on_three, range(1000), EngineConfig(workers=2)))
    assert max(done) < 12


def test_map_on_threads_stays_here_whatever_address_is_configured():
    here = threading.get_ident()
    found = list(map_on_threads(lambda _: threading.get_ident(), range(3), EngineConfig(dask_address="tcp://nobody:1")))
    assert len(found) == 3
    assert here not in found


@pytest.mark.slow
def test_a_run_on_threads_does_not_import_distributed():
    code = (
        "import sys; from kmstream.config import EngineConfig; from kmstream.engine import map_in_order, uses_cluster\n"
        "assert not uses_cluster(EngineConfig()); list(map_in_order(str, range(9), EngineConfig()))\n"
        "assert 'distributed' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("n_pieces", [0, 1, MAX_TASKS, MAX_TASKS + 1, 3 * MAX_TASKS, 10 * MAX_TASKS - 1])
def test_group_items_keeps_all_pieces_in_order_in_a_bounded_number_of_groups(n_pieces):
    groups = group_items(range(n_pieces), find_group_size(n_pieces))
    assert len(groups) <= MAX_TASKS
    assert [piece for group in groups for piece in group.pieces] == list(range(n_pieces))


@pytest.fixture
def make_job(config, data, files, blobs, run_of, tmp_path):
    """Make the run and the assign pass of seven files."""
    files(data, {f"{i}.parquet": blobs(300 + i, seed=i) for i in range(7)})

    def make(name):
        run = run_of(config())
        scaling = make_scaling(2, center=0.3, scale=1.7)
        model = ClusterModel(
            run.config.features, scaling, np.array([[0.0, 0.1], [5.0, 0.2], [0.3, 5.0]]), ("a", "b", "c")
        )
        matrices = Matrices.of(run, run.config.features, scaling)
        (tmp_path / name).mkdir()
        return run, AssignJob.of(run, matrices, model, tmp_path / name, "v000001", np.ones(3))

    return make


@pytest.mark.parametrize("max_tasks", [1, 3, 7])
def test_assign_dataset_goes_on_after_any_group_with_the_same_bits(make_job, monkeypatch, max_tasks):
    monkeypatch.setattr("kmstream.engine.MAX_TASKS", max_tasks)
    run, job = make_job("whole")
    saved = []
    whole = assign_dataset(run, job, then=saved.append)
    assert [len(one.entries) for one in saved] == [*range(job.group_size, 7, job.group_size), 7]
    for n, start in enumerate(saved):
        run, job = make_job(f"again{n}")
        again = assign_dataset(run, job, start)
        assert bits_of(again.deviations) == bits_of(whole.deviations)
        assert (again.fit_sse, again.entries) == (whole.fit_sse, whole.entries)
        assert len(list(job.output.folder.glob("*.parquet"))) == 7 - len(start.entries)


def test_what_goes_to_workers_does_not_grow_with_the_dataset(make_job):
    run, job = make_job("out")
    many = tuple(replace(p, path=f"{n}-{p.path}") for n in range(1000) for p in run.dataset.partitions)
    large = replace(run, dataset=replace(run.dataset, partitions=many))
    assert len(cloudpickle.dumps(large.dataset)) > 500_000
    assert len(cloudpickle.dumps(large.source)) < 5_000
    assert len(cloudpickle.dumps(job)) < 10_000


def test_count_workers_is_what_is_asked_or_every_core():
    assert count_workers(EngineConfig(workers=3)) == 3
    assert count_workers(EngineConfig()) >= 1


def test_single_threaded_holds_in_the_threads_of_map_in_order():
    from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

    with single_threaded():
        counts = list(map_in_order(lambda _: _openmp_effective_n_threads(), range(4), EngineConfig(workers=2)))
    assert counts == [1] * 4


def test_read_ahead_gives_every_item_in_order():
    assert list(read_ahead(iter(range(100)))) == list(range(100))


def test_read_ahead_raises_where_the_item_would_have_come():
    def two_and_an_error():
        yield from (1, 2)
        raise KeyError("third")

    found = read_ahead(two_and_an_error())
    assert [next(found), next(found)] == [1, 2]
    with pytest.raises(KeyError, match="third"):
        next(found)


def test_read_ahead_makes_no_more_than_can_wait_and_ends_its_thread_when_closed():
    made = []

    def count():
        for n in range(1000):
            made.append(n)
            yield n

    found = read_ahead(count(), depth=2)
    assert next(found) == 0
    found.close()
    assert len(made) <= 5
    assert not any(thread.name == "read-ahead" for thread in threading.enumerate())
