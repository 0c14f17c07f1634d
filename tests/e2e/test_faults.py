"""Label Studio, the disk and the clock misbehave; no label is lost, and the queue comes back."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import faulty
import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from faulty import Fault, FaultyProxy
from kit import Kit

SETTINGS = {
    "BUDGET": "4",
    "RESERVE": "3",
    "RETRAIN_EVERY": "3",
    "POLL_INTERVAL": "1",
    "REQUEST_TIMEOUT": "3",
}
POSITIVE = choice("positive", "label", "text")
FAULTS: dict[str, Fault] = {
    "500": faulty.status(500),
    "429": faulty.status(429, Retry_After="1"),
    "a page": faulty.html,
    "half a body": faulty.half,
    "slow": faulty.slow(5),
}
MakeText = Callable[..., tuple[int, list[int]]]


def label_three(kit: Kit, project: int) -> list[int]:
    """Label the next three of the queue, in Label Studio itself."""
    labeled = kit.labels(project)
    tasks = [task for task in kit.queue(project) if task not in labeled][:3]
    for task in tasks:
        kit.annotate(task, POSITIVE)
    return tasks


def check_queue(kit: Kit, project: int) -> None:
    rows = kit.rows(project, kit.version(project))
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
        kit = Kit(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = kit.connect(project)
        proxy.fault = lambda method, path: FAULTS[kind]
        tasks = label_three(kit, project)
        wait_until(lambda: proxy.spoiled >= 4, timeout=60, what="spoiled answers")
        wait_until(lambda: kit.state(project).last_error, timeout=60, what="the error in words")
        assert "\n" not in kit.state(project).last_error
        assert kit.version(project) == version  # the old queue is still served
        check_queue(kit, project)

        proxy.fault = lambda method, path: None
        kit.wait_queue(project, after=int(version[3:]), timeout=90)
        kit.wait_labels(project, dict.fromkeys(tasks, "positive"))
        check_queue(kit, project)
        wait_until(lambda: not kit.state(project).last_error, timeout=30, what="no error left")
        assert "Traceback" not in kit.log()


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
        kit = Kit(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = kit.connect(project)

        def fault(method: str, path: str) -> Fault | None:
            hit = method == "PATCH" if step == "PATCH" else step in path
            return FAULTS[kind] if hit else None

        proxy.fault = fault
        tasks = label_three(kit, project)
        wait_until(lambda: proxy.spoiled >= 2, timeout=60, what="two rounds to fail")
        assert len(kit.queue(project)) == 7
        proxy.fault = lambda method, path: None
        kit.wait_queue(project, after=int(version[3:]), timeout=90)
        kit.wait_labels(project, dict.fromkeys(tasks, "positive"))
        wait_until(
            lambda: {row["model_version"] for row in kit.rows(project)} == {kit.version(project)},
            timeout=60,
            what="the rows of failed rounds to be swept",
        )
        check_queue(kit, project)


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
        kit = Kit(label_studio, backend(**env))
        version = kit.connect(project)
        renewed: list[str] = []
        expired: set[str] = set()

        def fault(method: str, path: str) -> Fault | None:
            if "token/refresh" in path:
                renewed.append(path)
                expired.add("done")
                return None
            # The first publish and the first flip after it are refused until it was renewed.
            hit = "import/predictions" in path and not expired
            return faulty.status(401) if hit else None

        proxy.fault = fault
        label_three(kit, project)
        kit.wait_queue(project, after=int(version[3:]), timeout=60)
        assert renewed
        assert kit.state(project).last_error == ""


def test_retry_after_is_honoured(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    """After a 429 nothing is asked of that path before the time that was given."""
    project, _ = make_text_project([f"text number {n}" for n in range(20)])
    with FaultyProxy(label_studio.url) as proxy:
        kit = Kit(label_studio, backend(**SETTINGS, LABEL_STUDIO_URL=proxy.url))
        version = kit.connect(project)
        asked: list[float] = []

        def fault(method: str, path: str) -> Fault | None:
            if "import/predictions" not in path:
                return None
            asked.append(time.monotonic())
            return faulty.status(429, Retry_After="2") if len(asked) == 1 else None

        proxy.fault = fault
        label_three(kit, project)
        kit.wait_queue(project, after=int(version[3:]), timeout=60)
        assert asked[1] - asked[0] >= 2


# -- the project state --------------------------------------------------------------------------


def test_a_locked_state_delays_and_loses_nothing(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    project, _ = make_text_project([f"text number {n}" for n in range(30)])
    kit = Kit(label_studio, backend(**SETTINGS))
    version = kit.connect(project)
    lock = sqlite3.connect(kit.backend.model_dir / "state.sqlite3", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    try:
        started = time.monotonic()
        tasks = label_three_of(kit, project, version)
        assert time.monotonic() - started < 3  # no submit waited for the lock
        kit.wait_log("database is locked")
    finally:
        lock.execute("ROLLBACK")
        lock.close()
    kit.wait_queue(project, after=int(version[3:]), timeout=60)
    kit.wait_labels(project, dict.fromkeys(tasks, "positive"))


def label_three_of(kit: Kit, project: int, version: str) -> list[int]:
    """Label three of a queue without a look into the state."""
    tasks = [row["task"] for row in kit.rows(project, version)][:3]
    for task in tasks:
        kit.annotate(task, POSITIVE)
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
    kit = Kit(label_studio, server)
    kit.connect(project)
    tasks = label_three(kit, project)
    kit.wait_labels(project, dict.fromkeys(tasks, "positive"))
    version = kit.version(project)
    state = server.model_dir / "state.sqlite3"
    if when == "while it runs":
        damage(state)
    else:
        server.stop()
        damage(state)
        server = backend(model_dir=server.model_dir, port=server.port, **SETTINGS)
        kit = Kit(label_studio, server)
    kit.wait_log("it was put aside as")
    wait_until(lambda: list(state.parent.glob("*.damaged-*")), timeout=60, what="the old state")
    kit.wait_log("taken in again")
    kit.wait_labels(project, dict.fromkeys(tasks, "positive"))
    kit.wait_queue(project, after=int(version[3:]), timeout=60)
    check_queue(kit, project)
    more = label_three(kit, project)  # and webhook and rounds go on
    kit.wait_labels(project, dict.fromkeys([*tasks, *more], "positive"))
    server.run("disconnect", "--project", str(project))
    assert kit.project(project)["sampling"] == "Sequential sampling"


def test_a_full_disk_is_said_and_nothing_is_lost(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    small_disk: Path,
) -> None:
    """On a file system of its own of a few megabytes, filled to the last byte."""
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    kit = Kit(label_studio, backend(model_dir=small_disk / "state", **SETTINGS))
    version = kit.connect(project)
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    tasks = label_three_of(kit, project, version)
    kit.wait_log("full")
    assert kit.version(project) == version
    check_queue(kit, project)
    ballast.unlink()
    kit.wait_queue(project, after=int(version[3:]), timeout=90)
    kit.wait_labels(project, dict.fromkeys(tasks, "positive"))


# -- the worker ---------------------------------------------------------------------------------


def test_two_workers_started_by_mistake_do_the_work_of_one(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    project, _ = make_text_project([f"text number {n}" for n in range(40)])
    server = backend(**SETTINGS)
    kit = Kit(label_studio, server)
    version = kit.connect(project)
    server.server("worker").start()
    wait_until(lambda: "is ready" in kit.log("worker"), timeout=60, what="the second worker")
    given: list[int] = []
    for _ in range(3):
        given += label_three(kit, project)
        version = kit.wait_queue(project, after=int(version[3:]))
        kit.wait_labels(project, dict.fromkeys(given, "positive"))
    rounds = kit.rounds(project)
    assert len({report["round"] for report in rounds}) == len(rounds)
    wait_until(
        lambda: {row["model_version"] for row in kit.rows(project)} == {kit.version(project)},
        timeout=60,
        what="one version only",
    )
    check_queue(kit, project)


def test_a_worker_killed_at_random_moments_five_times(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
) -> None:
    """Now before the labels are read, now while the round runs that they are due for."""
    project, _ = make_text_project([f"text number {n}" for n in range(60)])
    kit = Kit(label_studio, backend(**SETTINGS))
    version = kit.connect(project)
    given: list[int] = []
    for kill in range(5):
        given += label_three(kit, project)
        if kill % 2:  # else it dies before it has read them
            kit.wait_labels(project, dict.fromkeys(given, "positive"))
        dead = workers(kit)[-1]
        os.kill(dead, signal.SIGKILL)
        assert len(kit.queue(project)) == 7
        wait_until(lambda dead=dead: workers(kit)[-1] != dead, timeout=60, what="a new worker")
        version = kit.wait_queue(project, after=int(version[3:]))
    kit.wait_labels(project, dict.fromkeys(given, "positive"))


def workers(kit: Kit) -> list[int]:
    """Process ids of all workers so far, the running one last."""
    return [int(pid) for pid in re.findall(r"worker \S+/(\d+)/\w+ is ready", kit.log())]
