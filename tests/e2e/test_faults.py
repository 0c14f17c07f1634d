"""Label Studio, the disk and the clock misbehave; no label is lost, and the queue comes back."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import faulty_proxy
import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from faulty_proxy import Fault, FaultyProxy
from harness import PATIENCE, TEXT_CONFIG, Harness

SETTINGS = {
    "BUDGET": "4",
    "RESERVE": "3",
    "RETRAIN_EVERY": "3",
    "POLL_INTERVAL": "1",
    "REQUEST_TIMEOUT": "3",
}
POSITIVE = choice("positive", "label", "text")
FAULTS: dict[str, Fault] = {
    "500": faulty_proxy.status(500),
    "429": faulty_proxy.status(429, Retry_After="1"),
    "a page": faulty_proxy.html,
    "half a body": faulty_proxy.half,
    "slow": faulty_proxy.slow(5),  # longer than REQUEST_TIMEOUT
}
MakeText = Callable[..., tuple[int, list[int]]]


@pytest.fixture(scope="module")
def proxy(label_studio: LabelStudioServer) -> Iterator[FaultyProxy]:
    with FaultyProxy(label_studio.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def served(
    label_studio: LabelStudioServer, proxy: FaultyProxy, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendServer]:
    """One backend for the file, which reaches Label Studio through the proxy."""
    folder = tmp_path_factory.mktemp("faults") / "backend"
    env = {**SETTINGS, "LABEL_STUDIO_URL": proxy.url}
    with BackendServer(label_studio, folder, env=env) as server:
        yield server


@pytest.fixture
def harness(
    label_studio: LabelStudioServer, served: BackendServer, proxy: FaultyProxy
) -> Iterator[Harness]:
    """The servers behind the proxy, which is faultless at first and afterwards."""
    proxy.spoiled = 0
    yield Harness(label_studio, served)
    proxy.fault = lambda method, path: None


@pytest.fixture(scope="module")
def shared_project(label_studio: LabelStudioServer, served: BackendServer) -> int:
    """A connected project of texts with a queue, which the tests share: each leaves it whole."""
    body = {"title": "Faults", "label_config": TEXT_CONFIG}
    made = int(label_studio.api("POST", "/api/projects/", body)["id"])
    texts = [{"text": f"text number {n}"} for n in range(120)]
    label_studio.api("POST", f"/api/projects/{made}/import", texts)
    Harness(label_studio, served).connect(made)
    return made


@pytest.fixture
def project(harness: Harness, shared_project: int) -> int:
    """The shared project, once nothing of the test before is under way."""

    def idle() -> bool:
        state = harness.state(shared_project)
        return (
            state.lease_owner is None
            and state.change_seq == state.processed_seq
            and not state.last_error
            and state.queue_version == harness.version(shared_project)
        )

    wait_until(idle, timeout=PATIENCE, what="the end of the test before")
    return shared_project


def label_three(harness: Harness, project: int) -> list[int]:
    """Label the next three of the queue, in Label Studio itself."""
    labeled = harness.labels(project)
    tasks = [task for task in harness.queue(project) if task not in labeled][:3]
    for task in tasks:
        harness.annotate(task, POSITIVE)
    return tasks


def label_three_of(harness: Harness, project: int, version: str) -> list[int]:
    """Label three of a queue without reading the state."""
    tasks = [row["task"] for row in harness.rows(project, version)][:3]
    for task in tasks:
        harness.annotate(task, POSITIVE)
    return tasks


def check_queue(harness: Harness, project: int) -> None:
    rows = harness.rows(project, harness.version(project))
    assert [row["score"] for row in rows] == [rank / 7 for rank in range(7)]


def check_recovery(harness: Harness, project: int, version: str, tasks: list[int]) -> None:
    """Wait for a whole queue after `version`, and for the labels of `tasks`."""
    harness.wait_queue(project, after=int(version[3:]))
    wait_labels(harness, project, tasks)
    check_queue(harness, project)


def wait_labels(harness: Harness, project: int, tasks: list[int]) -> None:
    """Wait until the backend holds the labels of `tasks`, beside those of other tests."""
    wait_until(
        lambda: dict.fromkeys(tasks, "positive").items() <= harness.labels(project).items(),
        timeout=PATIENCE,
        what=f"the labels of {tasks}",
    )


# -- the project state: the first test, as the backend registers all projects again ---------------


def damage(path: Path) -> None:
    """Overwrite the state in place, as a failing disk does; also what is in the log only."""
    for part in (path, path.with_name(path.name + "-wal")):
        if part.exists():
            with part.open("r+b") as file:
                file.write(b"\xde\xad" * (part.stat().st_size // 2))


def test_a_damaged_state_is_put_aside_and_rebuilt(
    harness: Harness, served: BackendServer, text_project: MakeText
) -> None:
    """Damaged while it runs, then before a start: labels, queue and connection are found again."""
    project, _ = text_project()
    state = served.model_dir / "state.sqlite3"
    given: list[int] = []
    for when in ("while it runs", "before the start"):
        given += label_three(harness, project)
        harness.wait_labels(project, dict.fromkeys(given, "positive"))
        version = harness.version(project)
        before = len(list(state.parent.glob("*.damaged-*")))
        harness = Harness(harness.label_studio, served)  # of the log, only what follows
        if when == "before the start":
            served.stop()
        damage(state)
        if when == "before the start":
            served.start()
        harness.wait_log("it was put aside as")
        wait_until(
            lambda before=before: len(list(state.parent.glob("*.damaged-*"))) > before,
            timeout=60,
            what=f"the old state, damaged {when}",
        )
        harness.wait_log("again, as Label Studio shows it")
        check_recovery(harness, project, version, given)
    given += label_three(harness, project)  # and webhook and rounds go on
    harness.wait_labels(project, dict.fromkeys(given, "positive"))
    served.run("disconnect", "--project", str(project))
    assert harness.project(project)["sampling"] == "Sequential sampling"


def test_a_locked_state_delays_and_loses_nothing(harness: Harness, project: int) -> None:
    version = harness.version(project)
    lock = sqlite3.connect(harness.backend.model_dir / "state.sqlite3", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        started = time.monotonic()
        tasks = label_three_of(harness, project, version)
        # A submit that waited for the lock would wait for the webhook's second.
        assert time.monotonic() - started < 3
        harness.wait_log("database is locked")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    check_recovery(harness, project, version, tasks)


def test_a_full_disk_is_said_and_nothing_is_lost(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    small_disk: Path,
) -> None:
    """On a file system of its own of a few megabytes, filled to the last byte."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    harness = Harness(label_studio, backend(model_dir=small_disk / "state", **SETTINGS))
    version = harness.connect(project)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    tasks = label_three_of(harness, project, version)
    harness.wait_log("full")
    assert harness.version(project) == version
    check_queue(harness, project)
    ballast.unlink()
    check_recovery(harness, project, version, tasks)


# -- Label Studio ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FAULTS)
def test_a_label_studio_that_answers_wrongly(
    harness: Harness, proxy: FaultyProxy, project: int, kind: str
) -> None:
    """Every answer to the backend is spoiled for a while; annotators go on meanwhile."""
    version = harness.version(project)
    proxy.fault = lambda method, path: FAULTS[kind]
    tasks = label_three(harness, project)
    wait_until(lambda: proxy.spoiled >= 4, timeout=60, what="spoiled answers")
    wait_until(lambda: harness.state(project).last_error, timeout=90, what="the error in words")
    assert "\n" not in harness.state(project).last_error
    assert harness.version(project) == version  # the old queue is still served
    check_queue(harness, project)

    proxy.fault = lambda method, path: None
    check_recovery(harness, project, version, tasks)
    wait_until(lambda: not harness.state(project).last_error, timeout=30, what="no error left")
    assert "Traceback" not in harness.log()


@pytest.mark.parametrize("kind", ["500", "half a body", "slow"])
@pytest.mark.parametrize("step", ["import/predictions", "PATCH"])
def test_a_fault_in_the_middle_of_a_round(
    harness: Harness, proxy: FaultyProxy, project: int, kind: str, step: str
) -> None:
    """Publish or flip fails, or is done but its answer is lost or comes late."""
    version = harness.version(project)

    def fault(method: str, path: str) -> Fault | None:
        hit = method == "PATCH" if step == "PATCH" else step in path
        return FAULTS[kind] if hit else None

    proxy.fault = fault
    tasks = label_three(harness, project)
    if step != "PATCH" and kind != "500":  # the rows are there: it goes on with that version
        assert harness.wait_queue(project, after=int(version[3:])) == f"al-{int(version[3:]) + 1}"
        assert proxy.spoiled == 1
    else:
        wait_until(lambda: proxy.spoiled >= 2, timeout=60, what="two tries to fail")
        assert len(harness.queue(project)) == 7
    proxy.fault = lambda method, path: None
    check_recovery(harness, project, version, tasks)


def test_retry_after_is_honoured(harness: Harness, proxy: FaultyProxy, project: int) -> None:
    """After a 429 nothing is asked of that path before the time that was given."""
    version = harness.version(project)
    asked: list[float] = []

    def fault(method: str, path: str) -> Fault | None:
        if "import/predictions" not in path:
            return None
        asked.append(time.monotonic())
        return faulty_proxy.status(429, Retry_After="2") if len(asked) == 1 else None

    proxy.fault = fault
    label_three(harness, project)
    wait_until(lambda: len(asked) >= 2, timeout=60, what="a second try")
    assert asked[1] - asked[0] >= 2
    harness.wait_queue(project, after=int(version[3:]), timeout=60)


def test_a_token_that_expires_in_the_middle_of_a_round(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    proxy: FaultyProxy,
    make_text_project: MakeText,
    personal_access_token: str,
) -> None:
    """A personal access token is enough: the access token that it gives is renewed when refused."""
    env = {"LABEL_STUDIO_URL": proxy.url, "LABEL_STUDIO_API_KEY": personal_access_token}
    server = backend(start=False, **SETTINGS, **env)
    server.server("worker").start()
    harness = Harness(label_studio, server)
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    version = harness.connect(project, "--pull")
    renewed: list[str] = []

    def fault(method: str, path: str) -> Fault | None:
        if "token/refresh" in path:
            renewed.append(path)
            return None
        # The first publish is refused until the access token was renewed.
        return faulty_proxy.status(401) if "import/predictions" in path and not renewed else None

    proxy.fault = fault
    try:
        tasks = label_three(harness, project)
        harness.wait_queue(project, after=int(version[3:]), timeout=60)
    finally:
        proxy.fault = lambda method, path: None
    assert renewed
    assert harness.state(project).last_error == ""
    harness.wait_labels(project, dict.fromkeys(tasks, "positive"))
    assert personal_access_token not in harness.log("worker")


# -- the worker ---------------------------------------------------------------------------------


def test_two_workers_started_by_mistake_do_the_work_of_one(
    harness: Harness, served: BackendServer, project: int
) -> None:
    version = harness.version(project)
    second = served.server("worker").start()
    try:
        wait_until(lambda: "is ready" in harness.log("worker"), timeout=60, what="a second worker")
        given: list[int] = []
        for _ in range(3):
            given += label_three(harness, project)
            version = harness.wait_queue(project, after=int(version[3:]))
            wait_labels(harness, project, given)
        rounds = harness.rounds(project)
        assert len({report.round for report in rounds}) == len(rounds)
        check_queue(harness, project)
    finally:
        second.stop()


def test_a_worker_killed_before_and_within_a_round(harness: Harness, project: int) -> None:
    """First before the labels are read, then while the round runs that they are due for."""
    version = harness.version(project)
    given: list[int] = []
    for labels_are_read in (False, True):
        given += label_three(harness, project)
        if labels_are_read:
            wait_labels(harness, project, given)
        dead = harness.workers()[-1]
        os.kill(dead, signal.SIGKILL)
        assert len(harness.queue(project)) == 7
        wait_until(lambda dead=dead: harness.workers()[-1] != dead, timeout=60, what="a new worker")
        version = harness.wait_queue(project, after=int(version[3:]))
    wait_labels(harness, project, given)
    harness.wait_log("the worker ended with status -9")


@pytest.mark.soak  # a lease runs for half a minute
def test_a_worker_stopped_in_the_switch_is_replaced_and_put_right(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    proxy: FaultyProxy,
    make_text_project: MakeText,
) -> None:
    """SIGSTOP while the switch is on its way, which arrives after another worker's queue."""
    server = backend(start=False, LABEL_STUDIO_URL=proxy.url, **SETTINGS)
    server.server("worker").start()
    harness = Harness(label_studio, server)
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    version = harness.connect(project, "--pull")
    (first,) = re.findall(r"worker \S+/(\d+)/\w+ is ready", harness.log("worker"))
    stopped, let_through, arrived = threading.Event(), threading.Event(), threading.Event()

    def late(handler: BaseHTTPRequestHandler, ask: Any) -> None:
        os.kill(int(first), signal.SIGSTOP)
        stopped.set()
        assert let_through.wait(300)
        ask()
        arrived.set()

    proxy.fault = lambda method, path: late if method == "PATCH" and not stopped.is_set() else None
    try:
        tasks = label_three(harness, project)
        assert stopped.wait(60)
        server.server("worker").start()
        seconds = harness.wait_queue(project, after=int(version[3:]) + 1)
        let_through.set()
        assert arrived.wait(60)
        os.kill(int(first), signal.SIGCONT)
        wait_until(
            lambda: harness.version(project) == seconds, timeout=60, what="the switch put right"
        )
        tasks += label_three(harness, project)
        check_recovery(harness, project, seconds, tasks)
    finally:
        let_through.set()
        os.kill(int(first), signal.SIGCONT)
        proxy.fault = lambda method, path: None
