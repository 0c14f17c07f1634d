"""Project state: changes, leases, the queue."""

from __future__ import annotations

import dataclasses
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from active_learn_backend.errors import StoreError
from active_learn_backend.state import engine
from active_learn_backend.state.queue import count_kept, count_open, read_queue, set_queue
from active_learn_backend.state.round_report import (
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import QueueRow, Store, TaskRow
from active_learn_backend.state.tasks import apply_changes, read_tasks, record_decisions, task_ids
from active_learn_backend.web.change_buffer import ChangeBuffer
from state_rows import task


def test_registering_twice_keeps_the_first(store: Store) -> None:
    store.register(7, "<View/>")
    first = store.known_project(7)
    store.register(7, "<Other/>")
    assert store.known_project(7) == first
    assert first.label_config == "<View/>"
    assert first.change_seq == 1
    assert first.round_requested
    assert len(first.webhook_secret) == 64
    assert store.project(8) is None


def test_only_real_changes_are_counted(store: Store) -> None:
    store.register(1)
    assert apply_changes(store, 1, [task(1), task(2, "a")]) == (1, 2)
    assert apply_changes(store, 1, [task(1), task(2, "a")]) == (0, 0)
    assert apply_changes(store, 1, [task(1, "b"), task(2, "c")]) == (2, 0)
    voted = replace(task(1, "b"), votes={"c": [3, 1.0]})  # no label changes, no round is due
    assert apply_changes(store, 1, [voted]) == (0, 0)
    assert read_tasks(store, 1)[0].votes == voted.votes
    assert apply_changes(store, 1, [task(1, "b", key="f" * 32)]) == (0, 1)
    assert apply_changes(store, 1, [task(2, None, skipped=True)]) == (1, 1)
    project = store.project(1)
    assert project is not None
    assert (project.pending_labels, project.pending_tasks) == (4, 4)
    assert [row.labels for row in read_tasks(store, 1)] == [{"c": "b"}, None]


def test_replacing_drops_what_is_gone_from_tasks_and_queue(store: Store) -> None:
    store.register(1)
    apply_changes(store, 1, [task(1), task(2), task(3)])
    set_queue(store, 1, "al-1", [QueueRow(n, n - 1, True, 0.5, 0.5) for n in (1, 2, 3)])
    assert apply_changes(store, 1, [task(1), task(4)], replace=True) == (0, 3)
    assert task_ids(store, 1) == {1, 4}
    assert [row.task_id for row in read_queue(store, 1)] == [1]
    assert apply_changes(store, 1, [], deleted=[1]) == (0, 1)
    assert read_queue(store, 1) == []


def test_many_tasks_at_once(store: Store) -> None:
    """More than the parameters that one SQL statement may have: 32,766 in SQLite."""
    store.register(1)
    rows = [task(n) for n in range(1, 33_001)]
    assert apply_changes(store, 1, rows) == (0, 33_000)
    assert apply_changes(store, 1, rows) == (0, 0)
    assert apply_changes(store, 1, [], deleted=range(1, 32_999)) == (0, 32_998)
    assert task_ids(store, 1) == {32_999, 33_000}


def test_the_batch_counts_down_with_labels_and_skips(store: Store) -> None:
    store.register(1)
    apply_changes(store, 1, [task(n) for n in range(1, 6)])
    set_queue(store, 1, "al-1", [QueueRow(n, n - 1, n <= 3, 0.5, 0.5) for n in range(1, 6)])
    assert count_open(store, 1) == (3, 3)
    apply_changes(store, 1, [task(1, "a"), task(2, None, skipped=True), task(5, "b")])
    assert count_open(store, 1) == (1, 3)


def test_tasks_that_somebody_keeps_are_those_before_the_last_label(store: Store) -> None:
    store.register(1)
    apply_changes(store, 1, [task(n) for n in range(1, 7)] + [task(9, skipped=True)])
    queued = [1, 2, 3, 4, 5, 6, 9]  # a task that was skipped before is served last
    set_queue(store, 1, "al-1", [QueueRow(n, at, True, 0.5, 0.5) for at, n in enumerate(queued)])
    assert count_kept(store, 1) == 0
    apply_changes(store, 1, [task(2, "a"), task(3, None, skipped=True), task(5, "b")])
    assert count_kept(store, 1) == 2  # 1 and 4
    apply_changes(store, 1, [task(1, "a"), task(4, "a")])
    assert count_kept(store, 1) == 0


def test_many_processes_open_an_empty_state_at_once(store_url: str) -> None:
    start = threading.Barrier(8)
    failed: list[BaseException] = []

    def open_it() -> None:
        start.wait()
        try:
            mine = Store(store_url)
            mine.register(1)
            mine.close()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_marks_of_many_writers_are_all_counted(store_url: str) -> None:
    url = store_url
    first = Store(url)
    first.register(1)

    def mark() -> None:
        mine = Store(url)
        for _ in range(25):
            assert mine.mark_changed(1)
        mine.close()

    threads = [threading.Thread(target=mark) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    project = first.project(1)
    assert project is not None
    assert project.change_seq == 1 + 150
    assert not first.mark_changed(2)
    first.close()


def test_a_burst_of_changes_is_written_and_outlives_a_locked_store(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.register(1)
    store.register(2)
    changes = ChangeBuffer(store)
    for _ in range(1000):
        changes.add(1)
    changes.add(2)
    changes.add(3)  # not connected: ignored
    assert changes.flush(timeout=10)
    first, second = store.projects()
    assert 2 <= first.change_seq <= 1001
    assert second.change_seq == 2

    with sqlite3.connect(tmp_path / "state.sqlite3") as other:
        other.execute("DROP TABLE projects")
    changes.add(1)  # fails in the background, and the next change is still taken
    assert changes.flush(timeout=10)
    changes.add(2)
    assert changes.flush(timeout=10)
    store.close()


def test_labels_are_told_from_changes_that_are_read_at_once(store: Store) -> None:
    store.register(1)
    changes = ChangeBuffer(store)
    for _ in range(3):
        changes.add(1, is_label=True)
    assert changes.flush(timeout=10)
    project = store.known_project(1)
    assert (project.change_seq, project.urgent_seq) == (1 + 3, 1)
    changes.add(1)
    assert changes.flush(timeout=10)
    project = store.known_project(1)
    assert (project.change_seq, project.urgent_seq) == (5, 5)
    store.set_params(1, {"budget": 7})
    assert store.known_project(1).urgent_seq == 6


def test_errors_of_the_database_are_said_in_one_line(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.close()
    (tmp_path / "state.sqlite3").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database; check the disk") as said:
        store.fenced(1, 1).project(1)
    assert "\n" not in str(said.value)
    assert said.value.damaged
    assert store.damaged.is_set()  # also seen by a copy of it


def test_a_locked_state_is_not_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SQLITE_WAIT", 0.05)
    path = tmp_path / "state.sqlite3"
    store = Store(f"sqlite:///{path}")
    other = sqlite3.connect(path)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreError, match="database is locked") as said:
        store.register(1)
    assert not said.value.damaged
    assert not store.damaged.is_set()
    other.close()
    store.close()


def test_a_project_is_read_while_another_process_writes(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.register(1)
    other = sqlite3.connect(tmp_path / "state.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    assert store.known_project(1).change_seq == 1
    assert store.project(2) is None
    assert time.monotonic() - start < 2  # a writer waits for ten seconds
    other.close()
    store.close()


def test_records_are_values(store: Store) -> None:
    store.register(1)
    project = store.known_project(1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        project.round = 2  # type: ignore[misc]
    assert dataclasses.replace(project, round=2).head_version == "head-0"
    store.update(1, head_round=12)
    assert project.head_round == 0
    assert store.known_project(1).head_version == "head-12"
    store.update(1, model_version="model-1a2b3c4d")
    assert store.known_project(1).head_version == "model-1a2b3c4d"


@pytest.mark.parametrize("label", [1.0, 0.1, 3, "3", "NULL", ["b", "a"], [], True])
def test_any_label_is_read_as_it_was_written(store: Store, label: object) -> None:
    store.register(1)
    row = dataclasses.replace(task(1), labels={"c": label})
    assert apply_changes(store, 1, [row]) == (1, 1)
    assert apply_changes(store, 1, [row]) == (0, 0)
    (found,) = read_tasks(store, 1)
    assert found.labels == {"c": label}
    assert type(found.labels["c"]) is type(label)


def test_what_only_we_know_of_a_task_survives_a_change(store: Store) -> None:
    store.register(1)
    plain = [
        TaskRow(task_id, {"text": str(task_id)}, f"{task_id:032x}", None, False)
        for task_id in (1, 2, 3)
    ]
    apply_changes(store, 1, plain)
    record_decisions(store, 1, {1: "kept", 2: "passed"}, "stream-3")
    set_queue(store, 1, "al-1", [QueueRow(1, 0, True, 0.5, 0.5, True, 0.25)])
    labeled = dataclasses.replace(plain[0], labels={"c": "a"}, labeled_at=12.5)
    assert apply_changes(store, 1, [labeled, plain[1]]) == (1, 0)
    first, second, third = read_tasks(store, 1)
    assert (first.decision, first.labels, first.selection_probability) == ("kept", {"c": "a"}, 0.25)
    assert first.labeled_at == 12.5
    assert (first.served, second.served) == ("audit", None)
    assert (second.decision, second.labeled_at, second.selection_probability) == (
        "passed",
        None,
        None,
    )
    assert third.decision is None
    set_queue(store, 1, "al-2", [])
    apply_changes(store, 1, [dataclasses.replace(labeled, labels={"c": "b"})])
    again = read_tasks(store, 1)[0]
    assert (again.labels, again.selection_probability) == ({"c": "b"}, 0.25)
    assert again.served == "audit"  # of the queue in which its label came
    assert again.labeled_at == first.labeled_at
    edited = dataclasses.replace(labeled, content_key=f"{9:032x}", labels=None)
    apply_changes(store, 1, [edited])
    again = read_tasks(store, 1)[0]
    assert (again.decision, again.labeled_at, again.selection_probability) == (None, None, None)
    assert again.served is None
    project = store.project(1)
    assert project is not None
    assert project.stream_state == "stream-3"


def test_a_projects_own_settings_are_noted_once(store: Store) -> None:
    store.register(1)
    finish_round(store, 1, RoundReport(1, labeled=0), labels=0, tasks=0)
    assert store.set_params(1, {"strategy": "margin"})
    assert not store.set_params(1, {"strategy": "margin"})
    project = store.project(1)
    assert project is not None
    assert project.round_requested
    assert project.params == {"strategy": "margin"}
    assert store.set_params(1, {})


@pytest.mark.parametrize("there_before", [False, True])
def test_the_state_with_its_secrets_is_for_its_owner_only(
    tmp_path: Path, there_before: bool
) -> None:
    path = tmp_path / "state.sqlite3"
    if there_before:
        Store(f"sqlite:///{path}").close()
        path.chmod(0o644)
    store = Store(f"sqlite:///{path}")
    store.register(1)
    modes = {part.name: part.stat().st_mode & 0o777 for part in tmp_path.iterdir()}
    store.close()
    assert len(modes) == 3  # the write-ahead log and its index too
    assert set(modes.values()) == {0o600}


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="unable to open database file; check the disk"):
        Store(f"sqlite:///{tmp_path / 'missing' / 'state.sqlite3'}")


def test_status_changes_only_from_what_it_was(store: Store) -> None:
    store.register(1)
    assert store.change_status(1, "active", "paused_by_user", "x")
    assert not store.change_status(1, "active", "paused", "y")
    store.forget(1)
    assert store.project(1) is None
