"""The tasks of a project without their contents, as columns: a million of them take 25 MB.

Nearly all tasks of a large project have no annotation: only their id, their key and what a stream
decided are known. The others, the marked ones, are kept as records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from .content_keys import ContentKeys, read_keys
from .schema import MARKED, OF_UNMARKED, TaskRow
from .schema import tasks as _tasks
from .store import Store

__all__ = ["TaskTable", "read_task_table"]

AT_ONCE = 2**16  # tasks of a piece that is read at once
DECISIONS = (None, "kept", "passed", "known")  # by their code
_CODES = {decision: code for code, decision in enumerate(DECISIONS)}

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
    names = [one.name for one in fields(TaskRow) if one.name != "content"]
    of_marked = sa.select(*(_tasks.c[name] for name in names)).where(
        _tasks.c.project_id == project_id, MARKED
    )
    with store.read() as connection:
        pages = [TaskTable.of([]), *_read_pages(connection, project_id)]
        rows = [TaskRow(row[0], {}, *row[1:]) for row in connection.execute(of_marked)]
    ids = np.concatenate([one.ids for one in pages])
    keys = ContentKeys(np.concatenate([one.keys.array for one in pages]))
    decisions = np.concatenate([one.decisions for one in pages])
    return TaskTable(ids, keys, decisions, _by_position(ids, rows))


def _read_pages(connection: sa.Connection, project_id: int) -> Iterator[TaskTable]:
    """Yield the tasks of a project by id, `AT_ONCE` at a time, without what is known of some only.

    The database joins a column of them to one long text: made to a record each, a million tasks
    take five times as long.
    """
    last: sa.BindParameter[int] = sa.bindparam("last")
    page = (
        sa.select(*(_tasks.c[name] for name in ("task_id", "content_key", "decision")))
        .where(_tasks.c.project_id == project_id, _tasks.c.task_id > last)
        .order_by(_tasks.c.task_id)
        .limit(AT_ONCE)
        .subquery()
    )
    coded = ((page.c.decision == name, str(code)) for name, code in _CODES.items() if name)
    texts = (
        (sa.cast(page.c.task_id, sa.Text), ","),
        (page.c.content_key, ""),
        (sa.case(*coded, else_=str(_CODES[None])), ""),
    )
    joined = sa.select(*(sa.func.aggregate_strings(column, comma) for column, comma in texts))
    end = -1
    while (found := connection.execute(joined, {"last": end}).one())[0]:
        one = _read_page(found[0], found[1], found[2])
        end = int(one.ids[-1])
        yield one


def _read_page(ids_text: str, keys_text: str, decisions_text: str) -> TaskTable:
    """Return tasks from what the database joined, in whichever order."""
    ids = np.fromstring(ids_text, np.int64, sep=",")
    keys = read_keys(bytes.fromhex(keys_text))
    decisions = np.frombuffer(decisions_text.encode(), np.int8) - ord("0")
    order = np.argsort(ids, kind="stable")  # of sorted numbers this takes no time
    return TaskTable(ids[order], ContentKeys(keys[order]), decisions[order], {})


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


def _is_marked(row: TaskRow) -> bool:
    return any(getattr(row, name) != value for name, value in OF_UNMARKED.items())
