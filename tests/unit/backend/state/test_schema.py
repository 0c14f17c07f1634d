"""Another version of the schema: the connections are carried over, the rest is read again."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from active_learn_backend.state.looks import record_look
from active_learn_backend.state.schema import SCHEMA_VERSION
from active_learn_backend.state.store import Store
from active_learn_backend.state.tasks import read_tasks


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
