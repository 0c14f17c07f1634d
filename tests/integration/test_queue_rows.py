"""The rows of a queue in Label Studio: written once, missing ones again, deleted late."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.errors import LabelStudioError
from active_learn_backend.worker import retirement, turn
from active_learn_backend.worker.turn import Pace
from fake_label_studio import FakeLabelStudio
from fake_server import Answer
from worker_backend import PATIENCE, Backend

# -- a Label Studio that takes its time ---------------------------------------------------------


def is_import(method: str, path: str) -> bool:
    return method == "POST" and "import/predictions" in path


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_slow_import_is_waited_for_under_one_version(
    backend: Backend, studio: FakeLabelStudio, moment: str
) -> None:
    """Label Studio stores the rows, or answers, long after we stopped waiting for its answer."""
    project = backend.add_project()
    answered = threading.Event()

    def be_slow(method: str, path: str, _body: object) -> None:
        if is_import(method, path):
            # As long as it takes us to give up waiting and to look.
            wait_until(lambda: studio.requests("GET", "model-versions") > 1, timeout=30, what="it")
            answered.set()

    setattr(studio, moment, be_slow)
    backend.turn(project, request_timeout=0.3)
    assert answered.wait(PATIENCE)
    assert backend.store.known_project(project).queue_version == "al-1"
    assert dict(studio.versions(project)) == {"al-1": 7}
    assert studio.requests("POST", "import/predictions") == 1


def test_only_the_missing_rows_are_sent_again(backend: Backend, studio: FakeLabelStudio) -> None:
    project = backend.add_project()
    sent: list[list[int]] = []

    def store_some(method: str, path: str, body: Any) -> Answer | None:
        if not is_import(method, path):
            return None
        sent.append([row["task"] for row in body])
        if len(sent) > 1:
            return None
        studio._import(project, body[:3])
        return 500, {}, b"{}"

    studio.before = store_some
    backend.turn(project)
    assert sent[1] == sent[0][3:]
    assert dict(studio.versions(project)) == {"al-1": 7}
    assert studio.projects[project]["model_version"] == "al-1"


def test_rows_that_are_refused_are_not_sent_again(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    project = backend.add_project()
    studio.before = lambda method, path, _: (400, {}, b"{}") if is_import(method, path) else None
    with pytest.raises(LabelStudioError, match="answered 400"):
        backend.turn(project)
    assert studio.requests("POST", "import/predictions") == 1


# -- former queues --------------------------------------------------------------------------------


def publish_three(backend: Backend, studio: FakeLabelStudio, pace: Pace, **values: Any) -> int:
    """Return a project with the rows of two former queues."""
    project = backend.add_project()
    for _ in range(3):
        backend.turn(project, pace=pace, **values)
        for task in [one for one in studio._tasks_of(project) if not one["annotations"]][:3]:
            studio.annotate(task["id"], "even")
    return project


def test_former_queues_stay_until_nobody_has_submitted_for_long(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """They are deleted row by row, and no further once somebody is back."""
    pace = Pace()
    project = publish_three(backend, studio, pace, reserve=12)
    backend.turn(project, pace=pace, reserve=12)
    assert dict(studio.versions(project)) == dict.fromkeys(("al-1", "al-2", "al-3", "al-4"), 16)
    pace.active_at -= 3600  # nothing changed for an hour
    backend.turn(project, pace=pace, reserve=12, noted=False)
    assert studio.versions(project)["al-1"] == 16 - 6
    studio.annotate(studio._tasks_of(project)[-1]["id"], "odd")
    backend.turn(project, pace=pace, reserve=12)
    assert studio.versions(project)["al-1"] == 16 - 6
    pace.active_at -= 3600
    while pace.retirement.rounds != {}:
        backend.turn(project, pace=pace, reserve=12, noted=False)
    assert dict(studio.versions(project)) == {"al-4": 16}


def test_above_a_bound_the_oldest_rows_are_deleted_in_any_case(
    backend: Backend, studio: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retirement, "MOST_OLD_ROWS", 18)
    pace = Pace()
    project = publish_three(backend, studio, pace)
    assert dict(studio.versions(project)) == dict.fromkeys(("al-1", "al-2", "al-3"), 7)
    backend.turn(project, pace=pace)
    assert dict(studio.versions(project)) == dict.fromkeys(("al-2", "al-3", "al-4"), 7)


def test_a_queue_is_written_right_after_a_submit(
    backend: Backend, studio: FakeLabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next submit is farthest away then, and does not wait for what is written."""
    project, written = backend.add_project(), []

    def submit_is_near(_pace: Pace) -> bool:
        written.append(studio.requests("POST", "import/predictions"))
        return len(written) < 4

    monkeypatch.setattr(Pace, "submit_is_near", property(submit_is_near))
    backend.turn(project)
    assert written == [0, 0, 0, 0]
    assert studio.requests("POST", "import/predictions") == 1
    monkeypatch.setattr(turn, "WAIT_FOR_SUBMIT", 0.1)
    monkeypatch.setattr(Pace, "submit_is_near", True)  # nobody submits any more
    for task in studio._tasks_of(project)[:3]:
        studio.annotate(task["id"], "even")
    backend.turn(project)
    assert backend.store.known_project(project).queue_version == "al-2"
