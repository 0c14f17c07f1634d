"""Leases: one worker at a time has a project, and what a former one writes is dropped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from active_learn_backend.errors import LeaseLostError
from active_learn_backend.state import lease
from active_learn_backend.state.lease import Lease
from active_learn_backend.state.queue import read_queue, set_queue
from active_learn_backend.state.round_report import (
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round, read_rounds
from active_learn_backend.state.store import QueueRow, Store
from active_learn_backend.state.tasks import apply_changes, task_ids
from state_rows import task


def test_a_lease_excludes_and_runs_out(store: Store) -> None:
    store.register(1)
    first, second = (Lease(store, 1, f"elsewhere/{owner}") for owner in ("1/a", "2/b"))
    assert first.acquire()
    assert first.acquire()
    assert not second.acquire()
    second.release()
    assert not second.acquire()
    first.release()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lease, "LEASE_SECONDS", -1.0)  # it has run out when it is taken
        assert second.acquire()
    assert first.acquire()


def test_a_dead_process_of_this_host_loses_its_lease_at_once(store: Store) -> None:
    store.register(1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    assert Lease(store, 1, f"{host}/{ended.pid}/x").acquire()
    assert Lease(store, 1, f"{host}/{os.getpid()}/y").acquire()
    assert not Lease(store, 1, f"{host}/1/z").acquire()


def test_what_a_former_owner_writes_is_dropped(store: Store) -> None:
    store.register(1)
    first, second = Lease(store, 1, "elsewhere/1/a"), Lease(store, 1, "elsewhere/2/b")
    assert first.acquire()
    old = first.store
    old.update(1, title="first")
    store.update(1, lease_until=0.0)  # it was stopped for longer than its lease
    assert second.acquire()
    assert second.taken_over
    before = store.known_project(1)
    rows = [QueueRow(1, 0, True, 0.5, 0.5)]
    for write in (
        lambda: old.update(1, title="late"),
        lambda: set_queue(old, 1, "al-9", rows),
        lambda: apply_changes(old, 1, [task(1, "a")]),
        lambda: finish_round(old, 1, RoundReport(9, labeled=1), labels=1, tasks=1),
        lambda: old.forget(1),
    ):
        with pytest.raises(LeaseLostError, match="the lease of project 1 is lost"):
            write()
    assert store.known_project(1) == before
    assert (task_ids(store, 1), read_queue(store, 1), read_rounds(store, 1)) == (set(), [], [])
    second.store.update(1, title="second")
    first.release()  # not its own any more
    assert store.known_project(1).lease_owner == "elsewhere/2/b"
    second.release()
    assert not first.renew()  # another had it meanwhile, even if nobody has it now
    assert store.known_project(1).title == "second"


def test_a_lease_ends_by_the_owners_own_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.register(1)
    mine = Lease(store, 1, "elsewhere/1/a")
    with pytest.raises(LeaseLostError):
        mine.check()
    assert mine.acquire()
    mine.check()
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + lease.LEASE_SECONDS)
    with pytest.raises(LeaseLostError, match="was not renewed in time"):
        mine.check()
    assert mine.renew()  # nobody took it
    mine.check()


def test_a_process_stopped_in_a_write_keeps_no_other_from_starting(store_url: str) -> None:
    Store(store_url).register(1)
    stopped = subprocess.Popen(
        [sys.executable, "-c", STOP_IN_A_WRITE, store_url], stdout=subprocess.PIPE
    )
    try:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == b"writing\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        other = Store(store_url)  # waited for SQLite's lock, and failed
        assert other.known_project(1).change_seq == 1
        other.close()
    finally:
        stopped.kill()
        stopped.wait()


STOP_IN_A_WRITE = """
import sys, time
from active_learn_backend.state.store import Store
with Store(sys.argv[1]).write() as connection:
    connection.exec_driver_sql("UPDATE projects SET title = 'x'")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_keeps_no_project_from_its_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A dead worker's lease of another host, seen after the clock was set by a day."""
    store.register(1)
    real = time.time
    assert Lease(store, 1, "elsewhere/1/x").acquire()
    assert not Lease(store, 1, "elsewhere/2/y").acquire()
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert Lease(store, 1, "elsewhere/2/y").acquire()
    assert not Lease(store, 1, "elsewhere/3/z").acquire()


def test_only_one_of_many_workers_gets_the_lease(store_url: str) -> None:
    url = store_url
    Store(url).register(1)
    start = threading.Barrier(8)
    won: list[int] = []

    def take(number: int) -> None:
        mine = Store(url)
        start.wait()
        if Lease(mine, 1, f"elsewhere/{number}/x").acquire():
            won.append(number)
        mine.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
