"""Tasks read as columns make the same queue as tasks read as records, after any changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from active_learn import LinearHead
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.selection.audit_set import served_as_audit
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.queue_size import QueueSize
from active_learn_backend.learning.selection.snapshot import Mask, Snapshot
from active_learn_backend.settings import RANDOM_STATE, load_settings
from active_learn_backend.state import task_table
from active_learn_backend.state.content_keys import ContentKeys, KeyedColumn
from active_learn_backend.state.queue import set_queue
from active_learn_backend.state.store import Project, Store, TaskRow
from active_learn_backend.state.task_table import TaskTable, read_task_table
from active_learn_backend.state.tasks import apply_changes, read_tasks, record_decisions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

HEAD = LinearHead(np.random.default_rng(0).normal(size=(3, 8)))
CONNECTED_AT = 100.0
KINDS = ("new", "labeled", "earlier", "other", "skipped", "by a run", "changed after a run", "gone")
DECISIONS = (None, "kept", "passed", "known")


@dataclass(frozen=True)
class Records(Snapshot):
    """The same tasks, each looked at as a record."""

    records: list[TaskRow]

    @property
    def labeled(self) -> Mask:  # type: ignore[override]
        return np.array([row.labels is not None for row in self.records], dtype=bool)

    @property
    def skipped(self) -> Mask:  # type: ignore[override]
        return np.array([row.skipped for row in self.records], dtype=bool)

    def decided(self, *decisions: str | None) -> Mask:
        return np.array([row.decision in decisions for row in self.records], dtype=bool)

    def places(self, seed: int) -> Any:
        return np.array([_place(row.content_key, seed) for row in self.records])


def _place(key: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}/{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _row(number: int, kind: str, version: int) -> TaskRow:
    labels = {"labeled": {"c": "a"}, "earlier": {"c": "b"}, "other": {"d": 1.0}}
    run = 3 if "run" in kind else None
    if kind == "changed after a run":
        labels[kind] = {"c": "a"}
    return TaskRow(
        number,
        {"text": f"{number}"},
        _key(number, version),
        labels.get(kind),
        kind == "skipped",
        labeled_at={"labeled": 200.0, "earlier": 50.0}.get(kind),
        annotations=int(kind != "new"),
        run=run,
    )


def _key(number: int, version: int) -> str:
    return hashlib.blake2b(f"{number % 37} {version}".encode(), digest_size=16).hexdigest()


def _of_records(store: Store, project: Project, share: float) -> Records:
    records = [row for row in read_tasks(store, 1, contents=False) if not row.automatic]
    measures = served_as_audit(records, project.connected_at)
    audit = [
        _place(row.content_key, RANDOM_STATE) < share if row.labels is None else measured
        for row, measured in zip(records, measures, strict=True)
    ]
    table = TaskTable.of(records)
    none = np.zeros(len(records), dtype=bool)
    return Records(table, _vectors(records), np.array(audit, dtype=bool), none, 1, records)


def _vectors(rows: Any) -> Any:
    seeds = [int(row.content_key[:8], 16) for row in rows]
    found = [np.random.default_rng(seed).normal(size=8) for seed in seeds]
    return np.array(found, dtype=np.float32).reshape(len(found), 8)


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()


changes = st.tuples(
    st.integers(1, 60), st.sampled_from(KINDS), st.integers(0, 1), st.sampled_from(DECISIONS)
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rounds=st.lists(st.lists(changes, max_size=25), min_size=1, max_size=3),
    budget=st.sampled_from([6, 0.5]),
)
def test_the_queue_is_that_of_records(
    store: Store,
    rounds: list[list[tuple[int, str, int, str | None]]],
    budget: int | float,
) -> None:
    store.forget(1)
    store.register(1, connected_at=CONNECTED_AT)
    project = store.known_project(1)
    values = load_settings(audit=0.3, budget=budget)
    apply_changes(store, 1, [_row(number, "new", 0) for number in range(1, 50)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_table, "AT_ONCE", 16)
        for some in rounds:
            _change(store, some)
            table = read_task_table(store, 1)
            assert list(table) == read_tasks(store, 1, contents=False)
            table = table.select(~table.where(lambda row: row.automatic))
            ours = Snapshot.take(project, table, _vectors(table), values)
            reference = _of_records(store, project, 0.3)
            queue = _queue(ours, values)
            assert queue == _queue(reference, values)
            set_queue(store, 1, "al-1", queue[1])  # which says what later labels measure
            both = ours.of("c"), reference.of("c")
            assert both[0].labels(both[0].training) == [
                row.labels["c"]
                for row, audit in zip(reference.records, reference.audit, strict=True)
                if row.labels and "c" in row.labels and not audit
            ]
            assert both[0].population == _population(reference.records)


def _change(store: Store, changes: list[tuple[int, str, int, str | None]]) -> None:
    rows = {number: _row(number, kind, of) for number, kind, of, _ in changes if kind != "gone"}
    gone = {number for number, kind, *_ in changes if kind == "gone"} - set(rows)
    apply_changes(store, 1, list(rows.values()), deleted=gone)
    record_decisions(store, 1, {number: decision for number, *_, decision in changes}, "")


def _queue(snapshot: Snapshot, values: Any) -> Any:
    size = QueueSize(8, 30)
    order, rows = choose(snapshot, "classification", HEAD, values, LocalEngine().rank, size, ["c"])
    return order.tolist(), rows


def _population(records: list[TaskRow]) -> int:
    return len(records) - sum(bool(row.labels) and "c" not in row.labels for row in records)


def test_a_table_is_a_sequence_of_records() -> None:
    rows = [_row(number, kind, 0) for number, kind in enumerate(KINDS)]
    table = TaskTable.of(rows)
    assert [row.task_id for row in table[2:4]] == [2, 3]
    assert table[-1].task_id == len(KINDS) - 1
    decided = table.with_decisions({0: "kept", 4: "passed"})
    assert [row.decision for row in decided] == ["kept", None, None, None, "passed", *[None] * 3]
    assert decided.decided("kept", None).tolist() == [at != 4 for at in range(len(KINDS))]


def test_no_table_of_tasks_is_sorted_or_searched_row_by_row(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    apply_changes(store, 1, [_row(number, KINDS[number % 7], 0) for number in range(50)])
    asked: list[tuple[str, Any]] = []

    def note(*told: Any) -> None:
        asked.append(told[2:4])

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert len(read_task_table(store, 1).marked) == 42
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    with store.read() as connection:
        plans = [
            [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
            for sql, values in asked
            if "tasks" in sql
        ]
    store.close()
    pages, marked = plans[:-1], plans[-1]
    assert len(pages) == 2
    assert not any("TEMP B-TREE" in step for plan in plans for step in plan)
    assert marked == ["SEARCH tasks USING INDEX tasks_marked (project_id=?)"]


def test_a_column_computes_only_what_changed() -> None:
    asked: list[int] = []

    def compute(keys: Any) -> Any:
        asked.append(len(keys))
        return np.array([int(key, 16) % 97 for key in ContentKeys(keys)], dtype=np.int64)

    column = KeyedColumn(compute, unknown=5)
    keys = [f"{at:032x}" for at in range(6, 50)]
    for changed in (keys, keys, [*keys, "f" * 32], ["e" * 32, *keys[1:]], keys[1:], []):
        found = column.of(ContentKeys.of(changed).array)
        assert found.tolist() == [int(key, 16) % 97 for key in changed]
    assert asked == [44, 1, 2 - 1, 43, 0]
    unknown = ContentKeys.of([f"{5:032x}"]).array
    for _ in range(2):
        assert column.of(unknown).tolist() == [5]
    assert asked[-2:] == [1, 1]
