"""Contents that could not be loaded are recorded without keeping others from writing for long."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from active_learn_backend.errors import ContentError
from active_learn_backend.state import unreadable
from active_learn_backend.state.store import Store
from active_learn_backend.state.tasks import apply_changes
from state_rows import task

PROJECT, MANY = 3, 2_300
KEYS = [f"{n:032x}" for n in range(MANY)]
AWAY = ContentError("http://away/ does not answer", source="http://away")


@pytest.fixture
def known(tmp_path: Path) -> Iterator[Store]:
    """A store with a project of many tasks; in SQLite one write waits for the other."""
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.register(PROJECT, "<View/>")
    apply_changes(store, PROJECT, [task(n, key=key) for n, key in enumerate(KEYS)])
    yield store
    store.close()


@pytest.fixture
def changes(known: Store, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each transaction of the store deleted and inserted."""
    counts: list[int] = []
    write = known.write

    @contextmanager
    def counted() -> Iterator[sa.Connection]:
        with write() as connection:
            before = connection.connection.driver_connection.total_changes
            yield connection
            counts.append(connection.connection.driver_connection.total_changes - before)

    monkeypatch.setattr(known, "write", counted)
    return counts


def test_many_contents_are_recorded_in_many_short_writes(known: Store, changes: list[int]) -> None:
    """A write holds the lock of the state: leases and the web process wait for its end."""
    unreadable.record_loads(known, PROJECT, (), dict.fromkeys(KEYS, AWAY))
    assert unreadable.count_unreadable(known, PROJECT) == MANY
    unreadable.record_loads(known, PROJECT, KEYS[:10], dict.fromkeys(KEYS[:10], AWAY))
    assert unreadable.keys_to_retry(known, PROJECT, MANY) == []  # all wait, with those of the try
    unreadable.record_loads(known, PROJECT, KEYS, {})
    assert unreadable.count_unreadable(known, PROJECT) == 0
    assert max(changes) <= 1000
    assert len(changes) > 3 * MANY / 1000
