"""Project state: changes, leases, the queue."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from active_learn_backend.errors import LeaseLostError, StoreError
from active_learn_backend.state import engine, lease
from active_learn_backend.state.lease import Lease
from active_learn_backend.state.looks import record_look
from active_learn_backend.state.queue import count_kept, count_open, read_queue, set_queue
from active_learn_backend.state.round_report import (
    FORMAT_VERSION,
    ControlReport,
    Evaluation,
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round, last_round, read_rounds
from active_learn_backend.state.schema import SCHEMA_VERSION
from active_learn_backend.state.store import QueueRow, Store, TaskRow
from active_learn_backend.state.tasks import apply_changes, read_tasks, record_decisions, task_ids
from active_learn_backend.web.change_buffer import ChangeBuffer


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


def task(number: int, label: str | None = None, key: str = "", skipped: bool = False) -> TaskRow:
    return TaskRow(
        number, {"text": f"t{number}"}, key or f"{number:032x}", label and {"c": label}, skipped
    )


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


def test_a_finished_round_takes_off_only_what_it_saw(store: Store) -> None:
    store.register(1)
    apply_changes(store, 1, [task(1, "a"), task(2, "b"), task(3)])
    finish_round(store, 1, RoundReport(1, labeled=2), labels=1, tasks=3)
    project = store.project(1)
    assert project is not None
    assert (project.pending_labels, project.pending_tasks, project.round_requested) == (1, 0, False)
    (report,) = read_rounds(store, 1)
    assert report.labeled == 2


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
        if Lease(mine, 1, f"elsewhere/{number}/x").acquire():
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


def test_looks_at_the_audit_labels_are_counted_and_outlive_a_new_schema(
    store: Store, tmp_path: Path
) -> None:
    store.register(1)
    look = {"head_version": "head-3", "audit_labels": 90, "accuracy": 0.95, "tolerance": 0.0}
    assert record_look(store, 1, **look) == 1
    assert record_look(store, 1, **look | {"audit_labels": 91}) == 2
    assert record_look(store, 1, **look) == 1
    with store.write() as connection:
        connection.execute(sa.text("UPDATE meta SET schema_version = 1"))
    url = store._engine.url.render_as_string(hide_password=False)
    store.close()
    again = Store(url)
    assert record_look(again, 1, **look | {"accuracy": 0.9}) == 3
    again.close()


def test_start_training_asks_for_a_round(store: Store) -> None:
    store.register(1)
    finish_round(store, 1, RoundReport(1, labeled=0), labels=0, tasks=0)
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
                webhook_secret VARCHAR(64), cursor VARCHAR(40), marks INTEGER, gone_since TEXT,
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
        assert read_tasks(store, 7) == []
        store.close()


# The tables of schema version 2, as SQLite describes them.
SCHEMA_2 = """
CREATE TABLE meta (schema_version INTEGER NOT NULL, PRIMARY KEY (schema_version));
INSERT INTO meta VALUES (2);
CREATE TABLE projects (
    id INTEGER NOT NULL, title TEXT NOT NULL, label_config TEXT NOT NULL,
    status VARCHAR(16) NOT NULL, reason TEXT NOT NULL, connected_at FLOAT NOT NULL,
    mode VARCHAR(8) NOT NULL, sampling_set BOOLEAN NOT NULL, former_sampling TEXT,
    former_model_version TEXT, backend_id INTEGER, webhook_id INTEGER,
    webhook_secret VARCHAR(64) NOT NULL, marks INTEGER NOT NULL, marks_seen INTEGER NOT NULL,
    polled_at FLOAT NOT NULL, cursor VARCHAR(40) NOT NULL, round INTEGER NOT NULL,
    head_round INTEGER NOT NULL, pinned_round INTEGER NOT NULL, live_version VARCHAR(64) NOT NULL,
    params TEXT NOT NULL, stream_state VARCHAR(200) NOT NULL, version VARCHAR(64) NOT NULL,
    stale BOOLEAN NOT NULL, pending_labels INTEGER NOT NULL, pending_tasks INTEGER NOT NULL,
    lease_owner VARCHAR(64), lease_until FLOAT NOT NULL, activity VARCHAR(64) NOT NULL,
    last_error TEXT NOT NULL, PRIMARY KEY (id)
);
INSERT INTO projects VALUES
    (7, 'Fruit', '<View/>', 'yielded', 'by a person', 12.5, 'push', 1, 'Sequential sampling',
     'their-model', 3, 4, 'a secret', 9, 8, 99.0, '2026-01-01T00:00:00.0Z', 12, 11, 11, 'head-11',
     '{"batch": 20}', 'stream-12.npz', 'al-12', 0, 2, 1, 'host/1/x', 9e9, 'fit', ''),
    (8, '', '', 'active', '', 12.5, 'pull', 0, NULL, NULL, NULL, NULL, 'another', 1, 1, 0.0, '', 0,
     0, 0, 'model-1a2b3c4d', '{}', '', '', 1, 0, 0, NULL, 0.0, '', '');
CREATE TABLE tasks (
    project_id INTEGER NOT NULL, task_id INTEGER NOT NULL, content TEXT NOT NULL,
    content_key VARCHAR(64) NOT NULL, label TEXT, skipped BOOLEAN NOT NULL, decision VARCHAR(8),
    labeled_at FLOAT, proposal FLOAT, PRIMARY KEY (project_id, task_id)
);
CREATE INDEX tasks_labeled ON tasks (project_id, labeled_at, label) WHERE label IS NOT NULL;
INSERT INTO tasks VALUES (7, 1, '{}', 'k', '"a"', 0, NULL, 1.0, 0.5);
CREATE TABLE tallies (
    project_id INTEGER NOT NULL, what VARCHAR(16) NOT NULL, name VARCHAR(100) NOT NULL,
    count INTEGER NOT NULL, seconds FLOAT NOT NULL, last_at FLOAT NOT NULL,
    PRIMARY KEY (project_id, what, name)
);
"""


def test_projects_of_the_schema_before_are_carried_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "state.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA_2)
    store = Store(f"sqlite:///{path}")
    assert f"has schema version 2, this is version {SCHEMA_VERSION}" in caplog.text
    project, other = store.projects()
    assert (project.status, project.reason) == ("paused_by_user", "by a person")
    assert (project.webhook_secret, project.webhook_id, project.backend_id) == ("a secret", 4, 3)
    assert project.former_sampling == "Sequential sampling"
    assert project.former_model_version == "their-model"
    assert (project.change_seq, project.processed_seq) == (9, 8)
    assert (project.queue_version, project.head_version, project.pinned_round) == (
        "al-12", "head-11", 11
    )  # fmt: skip
    assert project.params == {"batch": 20}
    assert (project.round_requested, project.cursor, project.lease_owner) == (True, "", None)
    assert (other.head_version, other.mode, other.params) == ("model-1a2b3c4d", "pull", {})
    assert read_tasks(store, 7) == []
    with store.read() as connection:
        assert not sa.inspect(connection).has_table("tallies")
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


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is no JSON"),
        ("[]", "its format is None"),
        (json.dumps({"labeled": 1}), "its format is None"),
        (json.dumps({"format": 99, "labeled": 1}), "its format is 99, this version reads"),
        (json.dumps({"format": FORMAT_VERSION}), "labeled: Field required"),
    ],
)
def test_reports_that_cannot_be_read_are_left_out(
    store: Store, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    store.register(1)
    for number in (1, 2):
        finish_round(store, 1, RoundReport(number, labeled=number), labels=0, tasks=0)
    assert [report.round for report in read_rounds(store, 1)] == [1, 2]
    with store.write() as connection:
        connection.execute(sa.text("UPDATE rounds SET report = :t WHERE round = 2"), {"t": text})
    assert [report.round for report in read_rounds(store, 1)] == [1]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the report of this round is left out: {reason}")
    assert last_round(store, 1) is None


def test_a_report_is_read_as_it_was_written(store: Store) -> None:
    store.register(1)
    control = ControlReport("c", 2, 1, Evaluation(labels=2))
    report = RoundReport(3, labeled=2, seconds={"fit": 0.5}, controls=(control,))
    finish_round(store, 1, report, labels=0, tasks=0)
    assert last_round(store, 1) == report


def test_a_report_of_one_control_is_read_as_that_of_the_control_that_is_asked_for(
    store: Store,
) -> None:
    """As versions wrote them that learned one control and did not name it."""
    report = RoundReport(3, labeled=2, head_version="head-3")
    body = report.to_json() | {"format": 1, "audit": 1, "evaluation": {"labels": 2}}
    del body["controls"]
    read = RoundReport.from_json(json.dumps(body), round=3, finished_at=report.finished_at)
    assert read.controls == (ControlReport("", 2, 1, Evaluation(labels=2)),)
    assert read.of("c") == read.of(None) == read.controls[0]
    two = dataclasses.replace(report, controls=(ControlReport("c", 2), ControlReport("d", 1)))
    assert [two.of(name).labeled for name in (None, "c", "d", "e")] == [2, 2, 1, 0]


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
