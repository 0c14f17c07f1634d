"""Workers on a small Label Studio in memory: who may write, and what it costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.errors import LeaseLostError
from active_learn_backend.state import lease
from active_learn_backend.state.queue import count_open
from active_learn_backend.state.recovery import DAMAGED_EXIT
from active_learn_backend.state.schedule import read_schedule
from active_learn_backend.worker import loop
from active_learn_backend.worker.turn import Pace
from fake_label_studio import FakeLabelStudio
from fake_server import KEY
from worker_backend import PATIENCE, Backend

# -- a worker that was stopped, and the one that took over ---------------------------------------


class Clock:
    """The clock of the leases; `jump` lets time pass as it does for a process that is stopped."""

    def __init__(self) -> None:
        self._jumped = 0.0
        self.sleep = time.sleep

    def jump(self, seconds: float) -> None:
        self._jumped += seconds

    def time(self) -> float:
        return time.time() + self._jumped

    def monotonic(self) -> float:
        return time.monotonic() + self._jumped


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lease, "time", clock)
    return clock


@contextmanager
def stopped_at(
    backend: Backend, project: int, method: str, path: str, clock: Clock
) -> Iterator[Future[None]]:
    """Stop a worker's turn in a request, for longer than its lease; it goes on after the block."""
    studio = backend.studio
    reached, opened = threading.Event(), threading.Event()

    def hold(asked: str, where: str, _body: object) -> None:
        if asked == method and path in where and not reached.is_set():
            reached.set()
            assert opened.wait(PATIENCE)

    studio.before = hold
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(backend.turn, project, "elsewhere/1/first")
        try:
            assert reached.wait(PATIENCE)
            clock.jump(2 * lease.LEASE_SECONDS)
            yield future
        finally:
            opened.set()


def flips(studio: FakeLabelStudio) -> list[str]:
    """List the versions that were switched to, in turn."""
    asked = zip(studio.asked, studio.bodies, strict=True)
    bodies = [json.loads(body) for (method, _, _), body in asked if method == "PATCH"]
    return [body["model_version"] for body in bodies if "model_version" in body]


def test_a_worker_whose_lease_ran_out_writes_nothing_more(backend: Backend, clock: Clock) -> None:
    """It was stopped while it published. It does not switch to its queue, and records nothing."""
    project = backend.add_project()
    with stopped_at(backend, project, "POST", "import/predictions", clock) as first:
        backend.turn(project, "elsewhere/2/second")
        state = backend.store.known_project(project)
    with pytest.raises(LeaseLostError, match=f"the lease of project {project} is lost"):
        first.result()
    assert flips(backend.studio) == ["al-2"]
    assert backend.store.known_project(project) == state
    assert state.queue_version == "al-2"


def test_a_late_switch_is_put_right_before_its_rows_are_deleted(
    backend: Backend, clock: Clock
) -> None:
    """It was stopped in the switch itself, where no check helps, until another had published."""
    project = backend.add_project()
    backend.turn(project)
    studio = backend.studio
    for task in list(studio.tasks)[:3]:
        studio.annotate(task, "even")
    with stopped_at(backend, project, "PATCH", "/api/projects/", clock) as first:
        pace = Pace()
        backend.turn(project, "elsewhere/2/second", pace)
        assert studio.projects[project]["model_version"] == "al-3"
    assert isinstance(first.exception(), LeaseLostError)
    assert studio.projects[project]["model_version"] == "al-2"
    backend.turn(project, "elsewhere/2/second", pace)
    assert studio.projects[project]["model_version"] == "al-3"
    assert flips(studio) == ["al-1", "al-2", "al-3", "al-3"]
    assert studio.versions(project)["al-3"] == 7


# -- a worker that is told to stop ---------------------------------------------------------------


def test_a_write_under_way_is_finished_before_the_worker_ends(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its heart beats meanwhile, so that it is not killed; what follows the write is left out."""
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.1)
    beats: list[float] = []
    monkeypatch.setattr(loop, "heartbeat", lambda: lambda: beats.append(time.monotonic()))
    project = backend.add_project()
    reached, opened = threading.Event(), threading.Event()

    def hold(method: str, path: str, _body: object) -> None:
        if method == "POST" and "import/predictions" in path:
            reached.set()
            assert opened.wait(PATIENCE)

    backend.studio.before = hold
    with backend.worker() as worker:
        assert reached.wait(PATIENCE)
        worker.stopping.set()
        told = time.monotonic()
        wait_until(lambda: beats[-1] > told + 0.5, timeout=PATIENCE, what="beats after the stop")
        opened.set()
    assert backend.studio.versions(project) == {"al-1": 7}
    assert flips(backend.studio) == []


def test_a_round_that_computes_for_long_is_broken_off(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(loop, "STOP_SECONDS", 0.1)
    reached, opened = threading.Event(), threading.Event()

    def compute(*_: object) -> None:
        reached.set()
        assert opened.wait(PATIENCE)

    monkeypatch.setattr("active_learn_backend.worker.round.choose", compute)
    backend.add_project()
    with backend.worker() as worker:
        assert reached.wait(PATIENCE)
        worker.stopping.set()
        wait_until(
            lambda: "1 rounds are broken off" in caplog.text, timeout=PATIENCE, what="the end"
        )
        opened.set()


def test_a_worker_ends_when_only_its_turns_meet_a_damaged_state(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite keeps pages: what the main loop reads may be whole in memory for ever."""
    project = backend.add_project()
    with backend.worker() as worker:
        backend.wait_round(project)
        known = read_schedule(backend.store)
        monkeypatch.setattr(loop, "read_schedule", lambda store: known)
        backend.store.close()
        for part in backend.folder.glob("state.sqlite3*"):
            part.write_bytes(b"\xde\xad" * 20_000)
        assert worker.stopping.wait(PATIENCE)
        assert worker._store.damaged.is_set()


def test_a_worker_that_starts_on_a_damaged_state_says_so_by_its_status(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    backend.store.close()  # which empties the log beside it
    (backend.folder / "state.sqlite3").write_bytes(b"this is no database" * 1000)
    environment = {
        "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY,
        "MODEL_DIR": str(backend.folder),
    }  # fmt: skip
    ended = subprocess.run(
        [sys.executable, "-m", "active_learn_backend.cli", "worker"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == DAMAGED_EXIT, ended.stderr
    assert "file is not a database; check the disk" in ended.stderr + ended.stdout


# -- many people ----------------------------------------------------------------------------------


def test_nobody_is_left_without_a_task_while_there_are_unlabeled_ones(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """50 people open a task and leave; 200 others come at once and label what is left."""
    project = backend.add_project(1000)
    studio.members = 251
    with backend.worker(budget=20, reserve=None, retrain_every=10, audit=0.05):
        backend.wait_round(project)
        kept = {studio.next_task(project, f"leaver {n}") for n in range(50)}
        people = [f"person {n}" for n in range(200)]
        labeled = 0
        while labeled < 1000 - 50 - 200:
            drawn = [studio.next_task(project, person) for person in people]
            assert None not in drawn, f"404 after {labeled} labels"
            for task in drawn:
                assert task is not None
                studio.annotate(task, "even" if task % 2 else "odd")
            labeled += 200
            served = studio.projects[project]["model_version"]
            backend.wait_round(project, after=int(served[3:]))
    assert None not in kept
    assert len(kept) == 50


# -- a Label Studio that takes its time ---------------------------------------------------------


def is_import(method: str, path: str) -> bool:
    return method == "POST" and "import/predictions" in path


# -- many projects --------------------------------------------------------------------------------


def test_a_look_at_an_idle_project_is_two_requests(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """With a pause of five minutes, 30 idle projects are 12 requests a minute."""
    project, pace = backend.add_project(), Pace()
    backend.turn(project, pace=pace)
    before = studio.requests()
    backend.turn(project, pace=pace)
    assert studio.requests() == before + 2


def test_a_round_asks_label_studio_for_little(backend: Backend, studio: FakeLabelStudio) -> None:
    """Two requests to read, one for the stored versions, and two that write."""
    project, pace = backend.add_project(), Pace()
    backend.turn(project, pace=pace, reserve=None)
    for task in studio._tasks_of(project)[:3]:
        studio.annotate(task["id"], "even")
    before = studio.requests()
    backend.turn(project, pace=pace, reserve=None)
    assert backend.store.known_project(project).queue_version == "al-2"
    assert studio.requests() == before + 5
    assert pace.retirement.rounds == {1: 30}


def test_a_turn_says_how_many_labels_make_the_next_round_due(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """Fewer are not read at once: each look at Label Studio costs it as much as a submit."""
    project, pace = backend.add_project(), Pace()
    needed = []
    for label in (None, "even", "odd"):
        if label:
            studio.annotate(next(iter(studio._tasks_of(project)))["id"] + len(needed), label)
        backend.turn(project, pace=pace, budget=20, retrain_every=3)
        needed.append(pace.labels_needed)
    assert needed == [3, 2, 1]
    backend.turn(project, pace=pace, budget=20, retrain_every=10)
    assert pace.labels_needed == 8
    for task in backend.studio._tasks_of(project)[:12]:
        if not task["annotations"]:
            studio.annotate(task["id"], "odd")
    left = count_open(backend.store, project)[0]
    backend.turn(project, pace=pace, budget=20, retrain_every=100)
    open_tasks, batch = count_open(backend.store, project)
    assert open_tasks < left
    assert pace.labels_needed == open_tasks - 0.2 * batch


def test_a_small_project_does_not_wait_for_two_large_ones(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """Both lanes of the worker are taken by projects whose round does not end."""
    small = backend.add_project()
    backend.turn(small)
    large = [backend.add_project() for _ in range(2)]
    reached, opened = {number: threading.Event() for number in large}, threading.Event()

    def hold(method: str, path: str, _body: object) -> None:
        if is_import(method, path) and f"/{small}/" not in path:
            reached[int(path.split("/")[3])].set()
            assert opened.wait(PATIENCE)

    studio.before = hold
    with backend.worker(worker_threads=2):
        try:
            for number in large:
                assert reached[number].wait(PATIENCE)
            for task in studio._tasks_of(small)[:3]:
                studio.annotate(task["id"], "even")
            backend.store.mark_changed(small)
            backend.wait_round(small, after=1)
        finally:
            opened.set()
        for number in large:
            backend.wait_round(number)
