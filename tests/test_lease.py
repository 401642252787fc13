"""The lock of an output in a store: one holder, who renews it, and others who take it when nobody does."""

import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest
from s3_server import S3Server

from kmstream.errors import LockHeldError, StorageError
from kmstream.storage import (
    hold_lease,
    lease,
    list_files,
    move,
    move_files,
    open_place,
    read_text,
    remove_file,
    remove_files,
    remove_tree,
    replace_file,
    upload,
)
from kmstream.storage.failures import check_guards

N_THREADS = 8
S3 = pytest.param("s3", marks=pytest.mark.server)
server = pytest.mark.server


@pytest.fixture(params=["memory", S3])
def lock(request: pytest.FixtureRequest) -> Any:
    if request.param == "s3":
        return request.getfixturevalue("on_s3")
    return open_place(f"{request.getfixturevalue('memory')}/models/.lock")


@pytest.fixture
def on_s3(s3: S3Server, hasty: None) -> Any:
    return open_place(f"{s3.new_prefix()}/models/.lock")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> float:
    """Make leases end soon, and so be renewed often."""
    monkeypatch.setattr(lease, "LEASE_SECONDS", 0.6)
    return 0.6


def leave(lock: Any, seconds: float) -> None:
    """Leave a lock behind, as a process that has died does."""
    replace_file(lock, json.dumps({"host": "elsewhere", "pid": 12, "seconds": seconds, "token": "theirs"}))


def is_lost(lock: Any) -> bool:
    """Whether this process may write no more."""
    try:
        check_guards(lock)
    except LockHeldError:
        return True
    return False


def test_a_second_run_is_told_who_holds_the_lock_and_gets_it_afterwards(lock):
    with hold_lease(lock, "shop"):
        who = f"another run of 'shop' holds the lock, process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(LockHeldError, match=f"^{who}") as refused, hold_lease(lock, "shop"):
            pytest.fail("two hold it")
        assert str(lock) in refused.value.__notes__[0]
        assert not is_lost(lock)
    with hold_lease(lock, "shop"):
        assert not is_lost(lock)


def test_a_run_that_fails_gives_the_lock_back(lock):
    with pytest.raises(ZeroDivisionError), hold_lease(lock, "shop"):
        raise ZeroDivisionError
    with hold_lease(lock, "shop"):
        assert not is_lost(lock)


def test_a_lock_that_was_left_behind_ends_by_itself(lock):
    leave(lock, seconds=100.0)
    with (
        pytest.raises(LockHeldError, match="process 12 on elsewhere") as refused,
        hold_lease(lock, "shop"),
    ):
        pytest.fail("it is held")
    assert "its lock ends within 100 seconds" in refused.value.__notes__[1]
    leave(lock, seconds=0.0)
    with hold_lease(lock, "shop"):
        assert not is_lost(lock)


@server
def test_of_many_who_take_a_lock_that_has_ended_one_gets_it(on_s3):
    """Each holds what it got until all have tried."""
    barrier = threading.Barrier(N_THREADS, timeout=30)

    def try_it(n: int) -> bool:
        barrier.wait()
        try:
            with hold_lease(on_s3, "shop"):
                barrier.wait()
                return not is_lost(on_s3)
        except LockHeldError:
            barrier.wait()
            return False

    with ThreadPoolExecutor(N_THREADS) as pool:
        for n in range(3):
            if n:  # at first there is none
                leave(on_s3, seconds=0.0)
            assert sum(pool.map(try_it, range(N_THREADS))) == 1


@server
def test_a_lock_that_is_renewed_is_never_taken(s3, on_s3, short):
    with hold_lease(on_s3, "shop"):
        begin = time.monotonic()
        for n in range(2, 1000):
            s3.proxy.wait_for("PUT", "*/.lock", n=n)
            with pytest.raises(LockHeldError), hold_lease(on_s3, "shop"):
                pytest.fail("two hold it")
            assert not is_lost(on_s3)
            if time.monotonic() - begin > 4 * short:
                break
    assert {one.status for one in s3.proxy.requests} <= {200, 404}


@server
@pytest.mark.parametrize("how", ["503", "500", "reset", "lost", "conflict"])
def test_a_lock_is_held_though_answers_are_missing(s3, on_s3, short, how):
    s3.proxy.fail("PUT", "*/.lock", how=how)
    with hold_lease(on_s3, "shop"):
        assert not is_lost(on_s3)
        s3.proxy.fail("PUT", "*/.lock", how=how)
        n = len(s3.proxy.requests)
        s3.proxy.wait_for("PUT", "*/.lock", n=n + 3)
        assert not is_lost(on_s3)
        s3.proxy.fail("PUT", "*/.lock", how=how)
    assert json.loads(read_text(on_s3))["seconds"] == 0


@server
def test_who_has_lost_the_lock_learns_of_it_and_leaves_it_alone(s3, on_s3, short):
    with hold_lease(on_s3, "shop"):
        leave(on_s3, seconds=100.0)
        s3.proxy.wait_for("GET", "*/.lock", n=2)  # looks whether the put that was refused was its own
        while not is_lost(on_s3):
            pass
        with pytest.raises(
            LockHeldError, match=r"^this run of 'shop' has lost its lock; another one may have taken it"
        ):
            check_guards(on_s3)
    assert json.loads(read_text(on_s3))["token"] == "theirs"


@server
def test_who_has_lost_the_lock_is_refused_also_where_this_process_has_it_again(on_s3, short):
    """Whose a write is can't be told, so all are refused until the loser has ended."""
    with ExitStack() as winner:
        with hold_lease(on_s3, "shop"):
            leave(on_s3, seconds=0.0)
            winner.enter_context(hold_lease(on_s3, "shop"))
            while not is_lost(on_s3):
                pass
        assert not is_lost(on_s3)
    assert json.loads(read_text(on_s3))["seconds"] == 0


@server
def test_who_cannot_renew_the_lock_gives_up_before_others_may_take_it(s3, on_s3, short):
    begin = time.monotonic()
    with hold_lease(on_s3, "shop"):
        s3.proxy.fail("PUT", "*/.lock", how="denied", times=None)
        n = 1
        while not is_lost(on_s3):
            n += 1
            s3.proxy.wait_for("PUT", "*/.lock", n=n)
        with pytest.raises(LockHeldError) as lost:
            check_guards(on_s3)
    assert "could not be renewed" in lost.value.__notes__[0]
    assert short < time.monotonic() - begin < 10


@server
def test_a_run_that_is_done_does_not_fail_because_its_lock_cannot_be_given_back(s3, on_s3):
    with hold_lease(on_s3, "shop"):
        s3.proxy.fail("PUT", "*/.lock", how="denied", times=None)
    assert json.loads(read_text(on_s3))["seconds"] == lease.LEASE_SECONDS


@server
def test_a_store_that_refuses_is_no_lock_that_somebody_holds(s3, on_s3):
    s3.proxy.fail(how="denied", times=None)
    with pytest.raises(StorageError, match="access denied"), hold_lease(on_s3, "shop"):
        pytest.fail("it is held")


@server
def test_who_has_lost_the_lock_writes_and_removes_nothing_more(s3, on_s3, short, tmp_path):
    output = on_s3.parent.parent
    replace_file(output / "kept", "theirs")
    with hold_lease(on_s3, "shop"):
        replace_file(output / "assignments/one", "ours")
        leave(on_s3, seconds=100.0)
        s3.proxy.wait_for("GET", "*/.lock", n=2)
        while not is_lost(on_s3):
            pass
        (tmp_path / "file").write_text("ours")
        acts = [
            lambda: replace_file(output / "kept", "ours"),
            lambda: upload(tmp_path / "file", output / "kept"),
            lambda: remove_file(output / "kept"),
            lambda: remove_files(output, ["kept"]),
            lambda: remove_tree(output),
            lambda: move(output / "assignments", output / "kept"),
            lambda: move_files(output, output / "assignments", ["kept"]),
        ]
        for act in acts:
            with pytest.raises(LockHeldError):
                act()
        replace_file(output.parent / "elsewhere", "ours")
    assert {path: read_text(output / path) for path in list_files(output)} == {
        "kept": "theirs",
        "assignments/one": "ours",
        "models/.lock": read_text(on_s3),
    }
    replace_file(output / "kept", "ours")
