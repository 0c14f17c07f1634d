"""Label Studio, the disk and the clock misbehave; no label is lost, and the queue comes back."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import faulty_proxy
import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from faulty_proxy import Fault, FaultyProxy
from harness import Harness

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
    "slow": faulty_proxy.slow(5),
}
MakeText = Callable[..., tuple[int, list[int]]]


def label_three(harness: Harness, project: int) -> list[int]:
    """Label the next three of the queue, in Label Studio itself."""
    labeled = harness.labels(project)
    tasks = [task for task in harness.queue(project) if task not in labeled][:3]
    for task in tasks:
        harness.annotate(task, POSITIVE)
    return tasks


def check_queue(harness: Harness, project: int) -> None:
    rows = harness.rows(project, harness.version(project))
    assert [row["score"] for row in rows] == [rank / 7 for rank in range(7)]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_label_studio_that_answers_wrongly(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    kind: str,
) -> None:
    """Every answer to the backend is spoiled for a while; annotators go on meanwhile."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    with FaultyProxy(label_studio.url) as proxy:
        harness = Harness(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = harness.connect(project)
        proxy.fault = lambda method, path: FAULTS[kind]
        tasks = label_three(harness, project)
        wait_until(lambda: proxy.spoiled >= 4, timeout=60, what="spoiled answers")
        wait_until(lambda: harness.state(project).last_error, timeout=60, what="the error in words")
        assert "\n" not in harness.state(project).last_error
        assert harness.version(project) == version  # the old queue is still served
        check_queue(harness, project)

        proxy.fault = lambda method, path: None
        harness.wait_queue(project, after=int(version[3:]), timeout=90)
        harness.wait_labels(project, dict.fromkeys(tasks, "positive"))
        check_queue(harness, project)
        wait_until(lambda: not harness.state(project).last_error, timeout=30, what="no error left")
        assert "Traceback" not in harness.log()


@pytest.mark.parametrize("kind", ["500", "half a body"])
@pytest.mark.parametrize("step", ["import/predictions", "PATCH"])
def test_a_fault_in_the_middle_of_a_round(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    kind: str,
    step: str,
) -> None:
    """Publish or flip fails, or is done but its answer is lost: rows are left, no queue is."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    with FaultyProxy(label_studio.url) as proxy:
        harness = Harness(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = harness.connect(project)

        def fault(method: str, path: str) -> Fault | None:
            hit = method == "PATCH" if step == "PATCH" else step in path
            return FAULTS[kind] if hit else None

        proxy.fault = fault
        tasks = label_three(harness, project)
        wait_until(lambda: proxy.spoiled >= 2, timeout=60, what="two rounds to fail")
        assert len(harness.queue(project)) == 7
        proxy.fault = lambda method, path: None
        harness.wait_queue(project, after=int(version[3:]), timeout=90)
        harness.wait_labels(project, dict.fromkeys(tasks, "positive"))
        wait_until(
            lambda: (
                {row["model_version"] for row in harness.rows(project)}
                == {harness.version(project)}
            ),
            timeout=60,
            what="the rows of failed rounds to be swept",
        )
        check_queue(harness, project)


def test_a_token_that_expires_in_the_middle_of_a_round(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    personal_access_token: str,
) -> None:
    """Label Studio refuses the access token of a personal access token: it is renewed."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    token = personal_access_token
    with FaultyProxy(label_studio.url) as proxy:
        env = {**SETTINGS, "LABEL_STUDIO_URL": proxy.url, "LABEL_STUDIO_API_KEY": token}
        harness = Harness(label_studio, backend(**env))
        version = harness.connect(project)
        renewed: list[str] = []
        expired: set[str] = set()

        def fault(method: str, path: str) -> Fault | None:
            if "token/refresh" in path:
                renewed.append(path)
                expired.add("done")
                return None
            # The first publish and the first flip after it are refused until it was renewed.
            hit = "import/predictions" in path and not expired
            return faulty_proxy.status(401) if hit else None

        proxy.fault = fault
        label_three(harness, project)
        harness.wait_queue(project, after=int(version[3:]), timeout=60)
        assert renewed
        assert harness.state(project).last_error == ""


def test_retry_after_is_honoured(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    """After a 429 nothing is asked of that path before the time that was given."""
    project, _ = make_text_project([f"text number {n}" for n in range(20)])
    with FaultyProxy(label_studio.url) as proxy:
        harness = Harness(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = harness.connect(project)
        asked: list[float] = []

        def fault(method: str, path: str) -> Fault | None:
            if "import/predictions" not in path:
                return None
            asked.append(time.monotonic())
            return faulty_proxy.status(429, Retry_After="2") if len(asked) == 1 else None

        proxy.fault = fault
        label_three(harness, project)
        harness.wait_queue(project, after=int(version[3:]), timeout=60)
        assert asked[1] - asked[0] >= 2


# -- the project state --------------------------------------------------------------------------


def test_a_locked_state_delays_and_loses_nothing(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    project, _ = make_text_project([f"text number {n}" for n in range(30)])
    harness = Harness(label_studio, backend(**SETTINGS))
    version = harness.connect(project)
    lock = sqlite3.connect(harness.backend.model_dir / "state.sqlite3", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        started = time.monotonic()
        tasks = label_three_of(harness, project, version)
        assert time.monotonic() - started < 3  # no submit waited for the lock
        harness.wait_log("database is locked")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    harness.wait_queue(project, after=int(version[3:]), timeout=60)
    harness.wait_labels(project, dict.fromkeys(tasks, "positive"))


def label_three_of(harness: Harness, project: int, version: str) -> list[int]:
    """Label three of a queue without a look into the state."""
    tasks = [row["task"] for row in harness.rows(project, version)][:3]
    for task in tasks:
        harness.annotate(task, POSITIVE)
    return tasks


def damage(path: Path) -> None:
    """Overwrite the state in place, as a failing disk does; also what is in the log only."""
    for part in (path, path.with_name(path.name + "-wal")):
        if part.exists():
            with part.open("r+b") as file:
                file.write(b"\xde\xad" * (part.stat().st_size // 2))


@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_a_damaged_state_is_put_aside_and_rebuilt(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    when: str,
) -> None:
    """Labels, queue and connection are found again in Label Studio, where they are."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    server = backend(**SETTINGS)
    harness = Harness(label_studio, server)
    harness.connect(project)
    tasks = label_three(harness, project)
    harness.wait_labels(project, dict.fromkeys(tasks, "positive"))
    version = harness.version(project)
    state = server.model_dir / "state.sqlite3"
    if when == "while it runs":
        damage(state)
    else:
        server.stop()
        damage(state)
        server = backend(model_dir=server.model_dir, port=server.port, **SETTINGS)
        harness = Harness(label_studio, server)
    harness.wait_log("it was put aside as")
    wait_until(lambda: list(state.parent.glob("*.damaged-*")), timeout=60, what="the old state")
    harness.wait_log("registered again")
    harness.wait_labels(project, dict.fromkeys(tasks, "positive"))
    harness.wait_queue(project, after=int(version[3:]), timeout=60)
    check_queue(harness, project)
    more = label_three(harness, project)  # and webhook and rounds go on
    harness.wait_labels(project, dict.fromkeys([*tasks, *more], "positive"))
    server.run("disconnect", "--project", str(project))
    assert harness.project(project)["sampling"] == "Sequential sampling"


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
    harness.wait_queue(project, after=int(version[3:]), timeout=90)
    harness.wait_labels(project, dict.fromkeys(tasks, "positive"))


# -- the worker ---------------------------------------------------------------------------------


def test_two_workers_started_by_mistake_do_the_work_of_one(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    server = backend(**SETTINGS)
    harness = Harness(label_studio, server)
    version = harness.connect(project)
    server.server("worker").start()
    wait_until(lambda: "is ready" in harness.log("worker"), timeout=60, what="the second worker")
    given: list[int] = []
    for _ in range(3):
        given += label_three(harness, project)
        version = harness.wait_queue(project, after=int(version[3:]))
        harness.wait_labels(project, dict.fromkeys(given, "positive"))
    rounds = harness.rounds(project)
    assert len({report.round for report in rounds}) == len(rounds)
    wait_until(
        lambda: (
            {row["model_version"] for row in harness.rows(project)} == {harness.version(project)}
        ),
        timeout=60,
        what="one version only",
    )
    check_queue(harness, project)


def test_a_worker_killed_at_random_moments_five_times(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    """Now before the labels are read, now while the round runs that they are due for."""
    project, _ = make_text_project([f"text number {n}" for n in range(60)])
    harness = Harness(label_studio, backend(**SETTINGS))
    version = harness.connect(project)
    given: list[int] = []
    for kill in range(5):
        given += label_three(harness, project)
        if kill % 2:  # else it dies before it has read them
            harness.wait_labels(project, dict.fromkeys(given, "positive"))
        dead = workers(harness)[-1]
        os.kill(dead, signal.SIGKILL)
        assert len(harness.queue(project)) == 7
        wait_until(lambda dead=dead: workers(harness)[-1] != dead, timeout=60, what="a new worker")
        version = harness.wait_queue(project, after=int(version[3:]))
    harness.wait_labels(project, dict.fromkeys(given, "positive"))


def workers(harness: Harness) -> list[int]:
    """Process ids of all workers so far, the running one last."""
    return [int(pid) for pid in re.findall(r"worker \S+/(\d+)/\w+ is ready", harness.log())]
