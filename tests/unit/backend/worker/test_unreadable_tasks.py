"""Tasks that cannot be read: counted by cause, remembered, tried again, in nobody's way."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.labelstudio import silent_hosts
from active_learn_backend.labelstudio.silent_hosts import SilentHosts
from active_learn_backend.state import unreadable
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.state.unreadable import unreadable_tasks
from active_learn_backend.state.worker_heartbeats import record_heartbeat
from active_learn_backend.web.status.project import project_status
from active_learn_backend.worker import turn as turn_module
from active_learn_backend.worker.turn import Pace
from image_project import Project, SilentHost, picture

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def silent() -> Iterator[SilentHost]:
    host = SilentHost()
    yield host
    host.close()


def good(n: int) -> str:
    return f"/data/upload/1/{n}"


def test_what_cannot_be_read_is_counted_by_cause_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    missing = [f"/data/upload/1/missing{n}.png" for n in range(5)]
    project = Project(tmp_path, [*missing, "s3://bucket/x.png", None, *map(good, range(3))])
    with caplog.at_level(logging.WARNING, "active_learn_backend.worker"):
        project.turn()
    lines = [one.getMessage() for one in caplog.records if "cannot be read" in one.getMessage()]
    assert len(lines) == 3
    first = project.tasks[0]
    assert project.sentence == (
        f"7 of 10 tasks cannot be read: '{project.studio.url}/data/upload/1/missing0.png' answered "
        "500, it is not there; check that the file exists, and its storage "
        f"(5 tasks, such as {first}); 's3://bucket/x.png' is in cloud storage that Label Studio "
        "does not read; attach the bucket to the project under Settings, Cloud Storage, and sync "
        f"it (task {first + 5}); the task has no image in its field 'image' (task {first + 6})"
    )
    assert project.queued == set(project.tasks[-3:])
    assert project.sentence in project.shown
    assert unreadable.count_unreadable(project.store, project.id) == 7
    assert f"warning: project {project.id}: {project.sentence}; " in "\n".join(project.doctor())
    caplog.clear()
    project.store.mark_changed(project.id, request_round=True)
    project.turn()
    assert not [one for one in caplog.records if "cannot be read" in one.getMessage()]
    for task in project.tasks[-3:]:
        project.studio.annotate(task, "even")
    project.store.mark_changed(project.id, request_round=True)
    project.turn()
    assert project.shown == [project.sentence]
    project.close()


def test_where_nothing_can_be_read_nothing_is_said_to_be_ordered_or_labeled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active_learn_backend.web.status.activity.WORKER_SILENT", float("inf"))
    project = Project(tmp_path, [f"/data/upload/1/missing{n}.png" for n in range(12)])
    said = project.connect(project.settings)
    assert "the annotation stream will be ordered once a task can be read (by polling only)" in said
    assert "stream is ordered" not in said
    assert "wrong: 12 of the first 12 tasks cannot be read: '" in said
    project.turn()
    project.store.update(project.id, polled_at=1.0)
    record_heartbeat(project.store, "elsewhere/0/x")
    assert project.activity == "Nothing can be queued: none of the 12 tasks can be read."
    found = "\n".join(project.doctor())
    assert f"wrong: project {project.id}: 12 of 12 tasks cannot be read" in found
    assert "no queue is published: no task that can be read is left to label" in found
    project.close()


def test_a_project_without_tasks_is_not_said_to_be_labeled(tmp_path: Path) -> None:
    project = Project(tmp_path, [])
    assert "it has no tasks yet" in project.connect(project.settings)
    project.turn()
    found = "\n".join(project.doctor())
    assert "no queue is published: there are no tasks yet" in found
    project.close()


def test_files_that_load_and_cannot_be_decoded_are_named_when_connecting(tmp_path: Path) -> None:
    photo = "data:image/heic;base64," + base64.b64encode(b"\0\0\0\x18ftypheic" * 9).decode()
    project = Project(tmp_path, [good(1), photo, good(2)])
    said = project.connect(project.settings)
    assert "1 of the first 3 tasks cannot be read: a file is HEIC (convert it to JPEG)" in said
    project.close()


def test_readable_tasks_are_connected_without_a_complaint(tmp_path: Path) -> None:
    project = Project(tmp_path, [good(1), good(2)])
    said = project.connect(project.settings)
    assert "the annotation stream is ordered (by polling only)" in said
    assert "the first 2 tasks can be read" in said
    project.close()


def test_a_silent_host_is_asked_once_and_again_later_and_is_in_nobodys_way(
    tmp_path: Path, silent: SilentHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """24 tasks on a host that says nothing took 90 seconds in every round."""
    monkeypatch.setattr(silent_hosts, "SHORTEST_PATIENCE", 0.3)
    away = [f"{silent.url}/{n}" for n in range(24)]
    project = Project(tmp_path, [*away, *map(good, range(6))])
    project.turn()
    assert project.queued <= set(project.tasks[24:])
    assert len(project.queued) >= 4
    asked = silent.requests
    assert 1 <= asked <= 8  # as many as are loaded at once
    assert "24 of 30 tasks cannot be read" in project.sentence
    for _ in range(2):
        project.store.mark_changed(project.id, request_round=True)
        project.turn()
    assert silent.requests == asked
    silent.speaks.set()
    monkeypatch.setattr(silent_hosts, "SHORTEST_PATIENCE", 30.0)  # the machine may be busy
    monkeypatch.setattr(SilentHosts, "check", lambda _self, _host: None)
    monkeypatch.setattr(unreadable.time, "time", lambda now=unreadable.time.time: now() + 3600)
    project.turn()  # reads them, after the queue
    monkeypatch.undo()
    assert project.sentence == ""
    project.turn()
    assert project._row.round_requested is False
    for task in project.tasks[24:]:
        project.studio.annotate(task, "even")
    project.store.mark_changed(project.id, request_round=True)
    project.turn()
    assert project.queued <= set(project.tasks[:24])
    project.close()


def test_a_new_worker_tries_all_again_at_once(tmp_path: Path) -> None:
    """The operator may have allowed a host, and restarted it."""
    project = Project(tmp_path, ["http://127.0.0.2:9/x.png", good(1), good(2)])
    project.turn()
    assert "add '127.0.0.2' to CONTENT_HOSTS (task" in project.sentence
    project.load = lambda _address: picture(9)
    project.turn()
    assert project.sentence != ""
    project.pace = Pace()
    project.turn()
    assert project.sentence == ""
    project.close()


def test_a_source_that_fails_again_is_left_alone_for_twice_as_long(tmp_path: Path) -> None:
    project = Project(tmp_path, [good(1), good(2)])
    project.turn()
    keys = [row.content_key for row in read_tasks(project.store, project.id)]
    error = ContentError("silent", source="h")
    pauses = []
    for _ in range(8):
        unreadable.record_loads(project.store, project.id, keys, dict.fromkeys(keys, error))
        with project.store.read() as connection:
            rows = connection.execute(unreadable.sa.select(unreadable._unreadable)).all()
        now = unreadable.time.time()
        assert len({row.tries for row in rows}) == 1
        pauses.append(round((rows[0].retry_at - now) / 60))
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    unreadable.record_loads(project.store, project.id, keys, {})
    assert project.sentence == ""
    project.close()


def test_all_of_a_source_wait_for_the_next_try_together(tmp_path: Path) -> None:
    project = Project(tmp_path, [good(n) for n in range(6)])
    project.turn()
    keys = [row.content_key for row in read_tasks(project.store, project.id)]
    error = ContentError("silent", source="h")
    unreadable.record_loads(project.store, project.id, keys, dict.fromkeys(keys, error))
    unreadable.make_due(project.store, project.id)
    (first, second) = unreadable.keys_to_retry(project.store, project.id, 2)
    unreadable.record_loads(project.store, project.id, [first], {first: error})
    assert unreadable.keys_to_retry(project.store, project.id, 9) == []
    unreadable.make_due(project.store, project.id)
    unreadable.record_loads(project.store, project.id, [second], {second: ContentError("gone")})
    assert len(unreadable.keys_to_retry(project.store, project.id, 9)) == 5
    project.close()


def test_much_that_can_be_read_again_is_read_in_several_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_module, "RETRIED_AT_ONCE", 2)
    project = Project(tmp_path, [f"/data/upload/1/missing{n}" for n in range(7)])
    project.turn()
    asked: list[str] = []
    project.load = lambda address: asked.append(address) or picture(9)  # type: ignore[func-returns-value]
    project.pace = Pace()
    monkeypatch.setattr(turn_module, "RETRY_SECONDS", 0.0)  # no time for any
    project.turn()
    assert asked == []
    monkeypatch.setattr(turn_module, "RETRY_SECONDS", 60.0)
    project.turn()
    assert len(asked) == 7
    assert project.sentence == ""
    assert project._row.round_requested
    project.turn()
    assert project.queued <= set(project.tasks)
    assert len(project.queued) >= 4
    project.close()


def test_very_many_causes_are_counted_all_the_same(tmp_path: Path) -> None:
    project = Project(tmp_path, [good(n) for n in range(30)])
    project.turn()
    keys = [row.content_key for row in read_tasks(project.store, project.id)]
    failed = {key: ContentError(f"cause {n}") for n, key in enumerate(keys)}
    unreadable.record_loads(project.store, project.id, keys, failed)
    groups = unreadable_tasks(project.store, project.id)
    assert sum(group.n for group in groups) == 30
    assert len(groups) == unreadable.MOST_CAUSES + 1
    first = project.tasks[0]
    assert project.sentence == (
        f"30 of 30 tasks cannot be read: cause 0 (task {first}); cause 1 (task {first + 1}); "
        f"cause 2 (task {first + 2}); other reasons (27 tasks)"
    )
    project.close()


def test_a_host_that_answers_may_fail_now_and_then() -> None:
    hosts = SilentHosts()
    hosts.record_answer("h")
    for _ in range(2):
        hosts.record_failure("h", "late")
        hosts.check("h")
    hosts.record_answer("h")
    for _ in range(3):
        hosts.record_failure("h", "late")
    with pytest.raises(ContentError, match="late") as refused:
        hosts.check("h")
    assert refused.value.source == "h"
    hosts.check("other")


def test_a_silent_host_is_waited_for_longer_each_time() -> None:
    hosts = SilentHosts()
    patience = []
    for _ in range(4):
        patience.append(hosts.patience("h"))
        hosts._hosts.setdefault("h", silent_hosts._Host()).silent_until = 0.0
        hosts.record_failure("h", "late")
    assert patience == [5.0, 10.0, 20.0, 30.0]


def answer(from_name: str, choice: str) -> dict[str, Any]:
    item = {"from_name": from_name, "to_name": "text", "type": "choices"}
    return {"id": 1, "result": [item | {"value": {"choices": [choice]}}]}


def test_annotations_that_give_no_label_are_counted_apart(tmp_path: Path) -> None:
    """They counted as skipped, nothing said so, and doctor warned of locks."""
    project = Project(tmp_path, [good(n) for n in range(12)])
    project.turn()
    annotations = [answer("sentiment", "even")] * 3 + [answer("label", "former")] * 2
    annotations += [{"id": 1, "result": [], "was_cancelled": True}, answer("label", "odd")]
    queue = [row["task"] for row in sorted(project.studio.rows.values(), key=lambda r: r["score"])]
    for task, annotation in zip(queue, annotations, strict=False):
        project.studio.tasks[task]["annotations"] = [annotation]
    project.store.update(project.id, cursor="")
    project.turn()
    status = project_status(project.settings, project.store, project._row)
    counts = status.summary.counts
    assert (counts.labeled, counts.skipped, counts.unmatched) == (1, 1, 5)
    assert status.unmatched == (
        "5 of 12 tasks are annotated without a label: 'sentiment' is answered, which is no control "
        f"of the labeling config (3 tasks, such as {min(queue[:3])}); 'label' is answered with "
        f'["former"], which is none of its labels (2 tasks, such as {min(queue[3:5])})'
    )
    found = "\n".join(project.doctor())
    assert f"warning: project {project.id}: {status.unmatched}; if that is a mistake, let" in found
    assert "were opened and not submitted" not in found
    project.close()
