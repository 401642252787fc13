import threading
import time

import pytest

from kmstream.config import EngineConfig
from kmstream.engine import count_workers, map_in_order, read_ahead, single_threaded


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
