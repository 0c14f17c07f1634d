"""The tasks of a project without their contents, as columns: a million of them take 25 MB.

Nearly all tasks of a large project have no annotation: only their id, their key and what a stream
decided are known. The others, the marked ones, are kept as records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from .content_keys import KEY_BYTES, ContentKeys, read_keys
from .schema import TaskRow
from .schema import tasks as _tasks
from .store import Store

__all__ = ["TaskTable", "read_task_table"]

AT_ONCE = 8192  # ids of a piece that is read at once
DECISIONS = (None, "kept", "passed", "known")  # by their code
_CODES = {decision: code for code, decision in enumerate(DECISIONS)}
_OF_ALL = ("task_id", "content", "content_key", "decision")

# A task as a text of fixed width.
_ID_OFFSET = 10**18  # makes each id a number of 19 digits
_RECORD = np.dtype([("id", "S19"), ("key", f"S{2 * KEY_BYTES}"), ("decision", "S1")])
_FIXED_WIDTH = (
    sa.cast(_tasks.c.task_id + sa.literal_column(str(_ID_OFFSET)), sa.Text)
    + _tasks.c.content_key
    + sa.case(
        *((_tasks.c.decision == decision, str(_CODES[decision])) for decision in DECISIONS[1:]),
        else_=str(_CODES[None]),
    )
)

IdArray = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class TaskTable(Sequence[TaskRow]):
    """Tasks by id, which are read as records without contents.

    Attributes
    ----------
    ids : array of shape (n,), int64
        Ascending.
    keys : ContentKeys of length n
    decisions : array of shape (n,), int8
        Places in `DECISIONS`.
    marked : mapping
        By position, the tasks of which more is known.
    """

    ids: IdArray
    keys: ContentKeys
    decisions: npt.NDArray[np.int8]
    marked: Mapping[int, TaskRow]

    @classmethod
    def of(cls, rows: Sequence[TaskRow]) -> TaskTable:
        """Return records, by id, as a table."""
        if isinstance(rows, cls):
            return rows
        return cls(
            np.array([row.task_id for row in rows], np.int64),
            ContentKeys.of(row.content_key for row in rows),
            _codes(row.decision for row in rows),
            {at: row for at, row in enumerate(rows) if _is_marked(row)},
        )

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, at: int) -> TaskRow: ...
    @overload
    def __getitem__(self, at: slice) -> TaskTable: ...
    def __getitem__(self, at: int | slice) -> TaskRow | TaskTable:
        if isinstance(at, slice):
            chosen = np.zeros(len(self), dtype=bool)
            chosen[at] = True
            return self.select(chosen)
        at = range(len(self))[at]
        row = self.marked.get(at)
        if row is not None:
            return row
        decision = DECISIONS[self.decisions[at]]
        return TaskRow(int(self.ids[at]), {}, self.keys[at], None, False, decision)

    def where(self, holds: Callable[[TaskRow], bool]) -> Mask:
        """Return for which tasks something holds that holds for no task without annotations."""
        found = np.zeros(len(self), dtype=bool)
        found[[at for at, row in self.marked.items() if holds(row)]] = True
        return found

    def decided(self, *decisions: str | None) -> Mask:
        """Return for which tasks the stream made one of these decisions (None: none yet)."""
        return np.isin(self.decisions, [_CODES[one] for one in decisions])

    def select(self, chosen: Mask) -> TaskTable:
        """Return some of the tasks."""
        if chosen.all():
            return self
        place = np.cumsum(chosen) - 1
        marked = {int(place[at]): row for at, row in self.marked.items() if chosen[at]}
        keys = ContentKeys(self.keys.array[chosen])
        return TaskTable(self.ids[chosen], keys, self.decisions[chosen], marked)

    def with_decisions(self, decisions: Mapping[int, str | None]) -> TaskTable:
        """Return the same tasks after a stream decided on some, by task id."""
        changed = self.decisions.copy()
        at = np.searchsorted(self.ids, np.fromiter(decisions, np.int64, len(decisions)))
        changed[at] = _codes(decisions.values())
        marked = {
            at: replace(row, decision=DECISIONS[changed[at]]) for at, row in self.marked.items()
        }
        return TaskTable(self.ids, self.keys, changed, marked)


def read_task_table(store: Store, project_id: int) -> TaskTable:
    """Return the tasks of a project as a table."""
    mine = _tasks.c.project_id == project_id
    page = _tasks.c.task_id.op("/")(sa.literal_column(str(AT_ONCE)))
    # The database joins what is known of all tasks to long texts: made to a record each, a million
    # of them takes four times as long.
    joined = sa.func.aggregate_strings(_FIXED_WIDTH, "")
    of_all = sa.select(joined).where(mine).group_by(page).order_by(page)
    names = [one.name for one in fields(TaskRow) if one.name != "content"]
    of_marked = sa.select(*(_tasks.c[name] for name in names)).where(mine, _MARKED)
    with store.read() as connection:
        texts = connection.scalars(of_all.execution_options(yield_per=1))
        pages = [TaskTable.of([]), *map(_read_page, texts)]
        rows = [TaskRow(row[0], {}, *row[1:]) for row in connection.execute(of_marked)]
    ids = np.concatenate([one.ids for one in pages])
    keys = ContentKeys(np.concatenate([one.keys.array for one in pages]))
    decisions = np.concatenate([one.decisions for one in pages])
    return TaskTable(ids, keys, decisions, _by_position(ids, rows))


def _read_page(text: str) -> TaskTable:
    """Return the tasks of some consecutive ids from texts of fixed width."""
    records = np.frombuffer(text.encode(), _RECORD)
    records = records[np.argsort(records["id"])]
    keys = ContentKeys(read_keys(bytes.fromhex(records["key"].tobytes().decode())))
    ids = records["id"].astype(np.int64) - _ID_OFFSET
    return TaskTable(ids, keys, records["decision"].astype(np.int8), {})


def _by_position(ids: IdArray, rows: Sequence[TaskRow]) -> dict[int, TaskRow]:
    """Return rows by their position; without those that came after the ids were read."""
    places = np.searchsorted(ids, [row.task_id for row in rows]).tolist()
    return {
        at: row
        for at, row in zip(places, rows, strict=True)
        if at < len(ids) and ids[at] == row.task_id
    }


def _codes(decisions: Any) -> npt.NDArray[np.int8]:
    return np.fromiter(map(_CODES.__getitem__, decisions), np.int8)


# Of a task that is not marked, these columns have the values of a new one.
_NEW = TaskRow(0, {}, "", None, False)


def _differs(name: str) -> sa.ColumnElement[bool]:
    column, value = _tasks.c[name], getattr(_NEW, name)
    return column.is_not(None) if value is None else column != value


_NAMES = [one.name for one in fields(TaskRow) if one.name not in _OF_ALL]
_MARKED = sa.or_(*(_differs(name) for name in _NAMES))


def _is_marked(row: TaskRow) -> bool:
    return any(getattr(row, name) != getattr(_NEW, name) for name in _NAMES)
