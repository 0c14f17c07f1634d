"""Project state: changes, leases, the queue."""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from active_learn_backend.errors import StoreError
from active_learn_backend.state.store import QueueRow, Store, TaskRow
from active_learn_backend.web.change_buffer import ChangeBuffer


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


def task(number: int, label: str | None = None, key: str = "", skipped: bool = False) -> TaskRow:
    return TaskRow(number, {"text": f"t{number}"}, key or f"{number:032x}", label, skipped)


def test_registering_twice_keeps_the_first(store: Store) -> None:
    first = store.register(7, "<View/>")
    assert store.register(7, "<Other/>") == first
    assert first.label_config == "<View/>"
    assert first.change_seq == 1
    assert first.round_requested
    assert len(first.webhook_secret) == 64
    assert store.project(8) is None


def test_only_real_changes_are_counted(store: Store) -> None:
    store.register(1)
    assert store.apply_changes(1, [task(1), task(2, "a")]) == (1, 2)
    assert store.apply_changes(1, [task(1), task(2, "a")]) == (0, 0)
    assert store.apply_changes(1, [task(1, "b"), task(2, "c")]) == (2, 0)
    assert store.apply_changes(1, [task(1, "b", key="f" * 32)]) == (0, 1)
    assert store.apply_changes(1, [task(2, None, skipped=True)]) == (1, 1)
    project = store.project(1)
    assert project is not None
    assert (project.pending_labels, project.pending_tasks) == (4, 4)
    assert [row.label for row in store.tasks(1)] == ["b", None]


def test_replacing_drops_what_is_gone_from_tasks_and_queue(store: Store) -> None:
    store.register(1)
    store.apply_changes(1, [task(1), task(2), task(3)])
    store.set_queue(1, "al-1", [QueueRow(n, n - 1, True, 0.5, 0.5) for n in (1, 2, 3)])
    assert store.apply_changes(1, [task(1), task(4)], replace=True) == (0, 3)
    assert store.task_ids(1) == {1, 4}
    assert [row.task_id for row in store.queue(1)] == [1]
    assert store.apply_changes(1, [], deleted=[1]) == (0, 1)
    assert store.queue(1) == []


def test_many_tasks_at_once(store: Store) -> None:
    """More than the parameters that one SQL statement may have."""
    store.register(1)
    rows = [task(n) for n in range(1, 40_001)]
    assert store.apply_changes(1, rows) == (0, 40_000)
    assert store.apply_changes(1, rows) == (0, 0)
    assert store.apply_changes(1, [], deleted=range(1, 39_999)) == (0, 39_998)
    assert store.task_ids(1) == {39_999, 40_000}


def test_the_batch_counts_down_with_labels_and_skips(store: Store) -> None:
    store.register(1)
    store.apply_changes(1, [task(n) for n in range(1, 6)])
    store.set_queue(1, "al-1", [QueueRow(n, n - 1, n <= 3, 0.5, 0.5) for n in range(1, 6)])
    assert store.open_in_batch(1) == (3, 3)
    store.apply_changes(1, [task(1, "a"), task(2, None, skipped=True), task(5, "b")])
    assert store.open_in_batch(1) == (1, 3)


def test_a_finished_round_takes_off_only_what_it_saw(store: Store) -> None:
    store.register(1)
    store.apply_changes(1, [task(1, "a"), task(2, "b"), task(3)])
    store.finish_round(1, 1, {"labeled": 2}, labels=1, tasks=3)
    project = store.project(1)
    assert project is not None
    assert (project.pending_labels, project.pending_tasks, project.round_requested) == (1, 0, False)
    (report,) = store.rounds(1)
    assert report["labeled"] == 2


def test_a_lease_excludes_and_runs_out(store: Store) -> None:
    store.register(1)
    assert store.take_lease(1, "elsewhere/1/a", 30)
    assert store.take_lease(1, "elsewhere/1/a", 30)
    assert not store.take_lease(1, "elsewhere/2/b", 30)
    store.release_lease(1, "elsewhere/2/b")
    assert not store.take_lease(1, "elsewhere/2/b", 30)
    store.release_lease(1, "elsewhere/1/a")
    assert store.take_lease(1, "elsewhere/2/b", -1)
    assert store.take_lease(1, "elsewhere/1/a", 30)


def test_a_dead_process_of_this_host_loses_its_lease_at_once(store: Store) -> None:
    store.register(1)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = socket.gethostname()
    assert store.take_lease(1, f"{host}/{ended.pid}/x", 3600)
    assert store.take_lease(1, f"{host}/{os.getpid()}/y", 3600)
    assert not store.take_lease(1, f"{host}/1/z", 3600)


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0])
def test_a_clock_that_jumps_keeps_no_project_from_its_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """A dead worker's lease of another host, seen after the clock was set by a day."""
    store.register(1)
    real = time.time
    assert store.take_lease(1, "elsewhere/1/x", 30)
    assert not store.take_lease(1, "elsewhere/2/y", 30)
    monkeypatch.setattr(time, "time", lambda: real() + jump)
    assert store.take_lease(1, "elsewhere/2/y", 30)
    assert not store.take_lease(1, "elsewhere/3/z", 30)


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


def test_only_one_of_many_workers_gets_the_lease(store_url: str) -> None:
    url = store_url
    Store(url).register(1)
    start = threading.Barrier(8)
    won: list[int] = []

    def take(number: int) -> None:
        mine = Store(url)
        start.wait()
        if mine.take_lease(1, f"elsewhere/{number}/x", 60):
            won.append(number)
        mine.close()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


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


def test_errors_of_the_database_are_said_in_one_line(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.close()
    (tmp_path / "state.sqlite3").write_bytes(b"this is no database" * 1000)
    with pytest.raises(StoreError, match="file is not a database; check the disk") as said:
        store.projects()
    assert "\n" not in str(said.value)


def test_start_training_asks_for_a_round(store: Store) -> None:
    store.register(1)
    store.finish_round(1, 1, {}, labels=0, tasks=0)
    assert store.mark_changed(1, round_requested=True)
    project = store.project(1)
    assert project is not None
    assert project.round_requested


def test_another_schema_version_is_rebuilt_and_the_connections_stay(tmp_path: Path) -> None:
    """All that Label Studio holds too is read again; secrets and former sampling are not there."""
    path = tmp_path / "state.sqlite3"
    with sqlite3.connect(path) as connection:  # as version 1 wrote it, cut short
        connection.executescript(
            """
            CREATE TABLE meta (schema_version INTEGER PRIMARY KEY);
            INSERT INTO meta VALUES (1);
            CREATE TABLE projects (
                id INTEGER PRIMARY KEY, status VARCHAR(16), former_sampling TEXT,
                webhook_secret VARCHAR(64), cursor VARCHAR(40), change_seq INTEGER, gone_since TEXT,
                lease_owner VARCHAR(64), lease_until FLOAT, sampling_set BOOLEAN, round INTEGER
            );
            INSERT INTO projects VALUES
                (7, 'paused', 'Sequential sampling', 'secret', '2026-01-01T00:00:00.0Z', 5, 'x',
                 'host/1/x', 9e9, 1, 12);
            CREATE TABLE tasks (project_id INTEGER, task_id INTEGER, content TEXT);
            INSERT INTO tasks VALUES (7, 1, '{}');
            """
        )
    for _ in range(2):  # rebuilt once, and then as it is
        store = Store(f"sqlite:///{path}")
        project = store.project(7)
        assert project is not None
        assert project.webhook_secret == "secret"
        assert project.former_sampling == "Sequential sampling"
        assert (project.status, project.sampling_set, project.round) == ("paused", True, 12)
        assert (project.cursor, project.round_requested, project.lease_owner) == ("", True, None)
        assert store.tasks(7) == []
        store.close()


def test_what_only_we_know_of_a_task_survives_a_change(store: Store) -> None:
    store.register(1)
    plain = [
        TaskRow(task_id, {"text": str(task_id)}, f"{task_id:032x}", None, False)
        for task_id in (1, 2, 3)
    ]
    store.apply_changes(1, plain)
    store.note_decisions(1, {1: "kept", 2: "passed"}, "stream-3")
    store.set_queue(1, "al-1", [QueueRow(1, 0, True, 0.5, 0.5, audit=True, proposal=0.25)])
    labeled = dataclasses.replace(plain[0], label="a", labeled_at=12.5)
    assert store.apply_changes(1, [labeled, plain[1]]) == (1, 0)
    first, second, third = store.tasks(1)
    assert (first.decision, first.label, first.proposal) == ("kept", "a", 0.25)
    assert first.labeled_at == 12.5
    assert (second.decision, second.labeled_at, second.proposal) == ("passed", None, None)
    assert third.decision is None
    store.set_queue(1, "al-2", [])
    store.apply_changes(1, [dataclasses.replace(labeled, label="b")])
    again = store.tasks(1)[0]
    assert (again.label, again.proposal) == ("b", 0.25)
    assert again.labeled_at == first.labeled_at
    edited = dataclasses.replace(labeled, content_key=f"{9:032x}", label=None)
    store.apply_changes(1, [edited])
    again = store.tasks(1)[0]
    assert (again.decision, again.labeled_at, again.proposal) == (None, None, None)
    project = store.project(1)
    assert project is not None
    assert project.stream_state == "stream-3"


def test_a_projects_own_settings_are_noted_once(store: Store) -> None:
    store.register(1)
    store.finish_round(1, 1, {}, labels=0, tasks=0)
    assert store.set_params(1, {"strategy": "margin"})
    assert not store.set_params(1, {"strategy": "margin"})
    project = store.project(1)
    assert project is not None
    assert project.round_requested
    assert json.loads(project.params) == {"strategy": "margin"}
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
