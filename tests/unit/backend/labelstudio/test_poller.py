"""Whatever is committed late, imported in bulk, missed or deleted: polls end with the truth."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio import poller
from active_learn_backend.labelstudio.poller import COMPARE_EVERY, FEW, poll, task_row
from active_learn_backend.labelstudio.task_filters import Filter
from active_learn_backend.labelstudio.task_filters import stamp as written_stamp
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.tasks import read_tasks
from hypothesis import given, settings
from hypothesis import strategies as st

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Studio:
    """Stands for the client: tasks with stamps, each change visible only once it is committed."""

    def __init__(self) -> None:
        self.now = 0.0
        self.label_config = CONFIG
        self._changes: list[tuple[float, float, int, str | None, bool]] = []
        self._unstamped: dict[int, str | None] = {}
        self.reads_in_full = 0
        self.reads = 0

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def annotate_without_stamp(self, task: int, label: str | None) -> None:
        """Change the annotation of a task, as a Label Studio that is killed right after it."""
        self._unstamped[task] = label

    def change(
        self, stamp: float, task: int, label: str | None, late: float = 0.0, gone: bool = False
    ) -> None:
        self._changes.append((stamp, stamp + late, task, label, gone))

    def _tasks(self) -> dict[int, tuple[float, str | None]]:
        visible: dict[int, tuple[float, str | None]] = {}
        for stamp, committed, task, label, gone in sorted(self._changes, key=lambda c: c[1]):
            if committed > self.now:
                continue
            if gone:
                visible.pop(task, None)
            else:
                visible[task] = (stamp, label)
        for task, label in self._unstamped.items():
            visible[task] = (visible[task][0], label)
        return visible

    @property
    def truth(self) -> dict[int, str | None]:
        return {task: label for task, (_, label) in self._tasks().items()}

    # -- what the poller calls ----------------------------------------------------------------

    @property
    def clock(self) -> datetime:
        return at(self.now).replace(microsecond=0)

    def project(self, _project: int) -> dict[str, Any]:
        tasks = self._tasks()
        return {
            "label_config": self.label_config,
            "task_number": len(tasks),
            "total_annotations_number": sum(label is not None for _, label in tasks.values()),
            "skipped_annotations_number": 0,
        }

    def few_tasks(
        self, _project: int, filters: Sequence[Filter], most: int
    ) -> list[dict[str, Any]] | None:
        reads = self.reads
        found = [item for page in self.task_pages(1, filters=filters) for item in page]
        self.reads = reads + min(len(found), most)
        return found if len(found) <= most else None

    def count_tasks(self, _project: int, filters: Sequence[Filter]) -> int:
        reads = self.reads
        count = sum(len(page) for page in self.task_pages(1, include="id", filters=filters))
        self.reads = reads  # it answers with one of them
        return count

    def changed_tasks(
        self,
        project: int,
        since: datetime,
        *,
        include: str | None = None,
        filters: Sequence[Filter] = (),
    ) -> Iterator[list[dict[str, Any]]]:
        after = Filter("updated_at", "greater", "Datetime", written_stamp(since))
        yield from self.task_pages(project, include=include, filters=[after, *filters])

    def task_pages(
        self, _project: int, *, include: str | None = None, filters: Sequence[Filter] = ()
    ) -> Iterator[list[dict[str, Any]]]:
        items = []
        for task, (stamp, label) in self._tasks().items():
            written = at(stamp).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"
            values = {"updated_at": written, "annotations_ids": int(label is not None)}
            if all(values[one.column] > one.value for one in filters):
                item: dict[str, Any] = {
                    "id": task,
                    "data": {"text": f"t{task}"},
                    "updated_at": written,
                }
                if include is None:
                    self.reads_in_full += 1
                    result = [{"from_name": "c", "value": {"choices": [label]}}]
                    item["annotations"] = [{"id": 1, "result": result}] if label else []
                items.append(item)
        self.reads += len(items)
        yield items


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(f"sqlite:///{tmp_path_factory.mktemp('poller') / 'state.sqlite3'}")


def look(studio: Studio, store: Store) -> None:
    store.register(1)
    poll(studio, store, store.known_project(1), studio.wait)  # type: ignore[arg-type]


def look_twice(studio: Studio, store: Store) -> None:
    """A difference counts from the second poll: somebody may have annotated during the first."""
    for _ in range(2):
        studio.now += 10.0
        look(studio, store)


def labels_of(store: Store) -> dict[int, str | None]:
    return {row.task_id: (row.labels or {}).get("c") for row in read_tasks(store, 1)}


changes = st.tuples(
    st.floats(0, 60),
    st.integers(1, 12),
    st.sampled_from(["A", "B", None]),
    st.floats(0, 3.9),
    st.booleans(),
)


@settings(max_examples=60)
@given(
    events=st.lists(changes, max_size=25),
    gaps=st.lists(st.floats(0.2, 15), max_size=12),
    few=st.sampled_from([FEW, 0]),
)
def test_late_commits_are_never_lost(
    store: Store,
    events: list[tuple[float, int, str | None, float, bool]],
    gaps: list[float],
    few: int,
) -> None:
    """Also where a poll waits before it reads, as after many changes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(poller, "FEW", few)
        patch.setattr(poller, "MANY", few and poller.MANY)
        _check_late_commits(store, events, gaps)


def _check_late_commits(
    store: Store, events: list[tuple[float, int, str | None, float, bool]], gaps: list[float]
) -> None:
    store.forget(1)
    studio = Studio()
    for task in range(1, 13):
        studio.change(-100.0 + task, task, None)
    for stamp, task, label, late, gone in events:
        studio.change(stamp, task, label, late, gone and task > 8)
    for gap in gaps:
        studio.now += gap
        look(studio, store)
    for _ in range(2):
        studio.now = max(studio.now, 70.0) + 10.0
        look(studio, store)
    assert labels_of(store) == studio.truth


def test_a_bulk_import_is_read_slim_and_not_again_and_again(store: Store) -> None:
    store.forget(1)
    studio = Studio()
    for task in range(2000):
        studio.change(task / 1000, task + 1, "A" if task < 5 else None)
    studio.now = 2.0
    look(studio, store)
    assert len(labels_of(store)) == 2000
    assert studio.reads_in_full == 5
    studio.now = 10.0
    look(studio, store)  # the import was young at the last look: once more
    studio.now = 11.0
    before = studio.reads_in_full
    for _ in range(10):
        studio.now += 1.0
        look(studio, store)
    assert studio.reads_in_full - before <= 10 * FEW
    studio.change(30.0, 7, "B")
    studio.now = 40.0
    look(studio, store)
    assert labels_of(store)[7] == "B"


def test_a_large_import_is_read_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stamps are young at the first look, so it waits; so does a look right after more."""
    monkeypatch.setattr(poller, "MANY", 500)
    store.forget(1)
    studio = Studio()
    for task in range(600):
        studio.change(task / 1000, task + 1, None)
    studio.now = 0.9
    look(studio, store)
    for _ in range(3):
        studio.now += 1.0
        look(studio, store)
    assert studio.reads == 600
    more = studio.now
    for task in range(600):
        studio.change(more + task / 1000, 601 + task, None)
    studio.now += 0.9
    for _ in range(4):
        look(studio, store)
        studio.now += 1.0
    assert len(labels_of(store)) == 1200
    assert studio.reads == 600 + FEW + 600


def test_a_missed_task_is_found_by_the_count(store: Store) -> None:
    store.forget(1)
    studio = Studio()
    studio.change(0.0, 1, None)
    studio.now = 100.0
    look(studio, store)
    studio.change(101.0, 2, "A")
    studio.now = 102.0
    look(studio, store)
    studio.change(50.0, 3, None, late=55.0)  # committed far later than any cursor allows for
    studio.now = 120.0
    look(studio, store)
    assert labels_of(store) == {1: None, 2: "A", 3: None}


@pytest.mark.parametrize("label", ["B", None])
def test_an_annotation_that_moves_no_stamp_is_found_by_the_count(
    label: str | None, store: Store
) -> None:
    """Label Studio was killed in between, or committed an import long after its stamp."""
    store.forget(1)
    studio = Studio()
    for task in range(1, 5):
        studio.change(task, task, "A" if task == 1 else None)
    studio.now = 100.0
    look(studio, store)
    studio.annotate_without_stamp(1 if label is None else 3, label)
    look_twice(studio, store)
    assert labels_of(store) == studio.truth
    before = studio.reads_in_full
    for _ in range(5):
        studio.now += 10.0
        look(studio, store)
    assert studio.reads_in_full == before  # what is found is not read again and again


def test_a_count_that_never_fits_is_compared_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.forget(1)
    studio = Studio()
    studio.change(0.0, 1, "A")
    project = studio.project
    monkeypatch.setattr(
        studio, "project", lambda number: project(number) | {"skipped_annotations_number": 7}
    )
    for _ in range(4):
        studio.now += 100.0
        look(studio, store)
    before = studio.reads_in_full
    for _ in range(4):
        studio.now += 100.0
        look(studio, store)
    assert studio.reads_in_full == before


def test_a_difference_is_found_again_after_the_counts_agreed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was left alone says nothing about a later one of the same size."""
    store.forget(1)
    studio = Studio()
    for task in (1, 2):
        studio.change(task, task, None)
    studio.now = 100.0
    look(studio, store)
    project, surplus = studio.project, 1
    monkeypatch.setattr(
        studio, "project", lambda number: project(number) | {"skipped_annotations_number": surplus}
    )
    look_twice(studio, store)
    surplus = 0
    look_twice(studio, store)
    studio.annotate_without_stamp(2, "B")
    look_twice(studio, store)
    assert labels_of(store) == studio.truth


def test_all_annotations_are_compared_now_and_then(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed answer whose task bears no new stamp leaves the count as it was."""
    store.forget(1)
    studio = Studio()
    studio.change(0.0, 1, "A")
    studio.now = 100.0
    look(studio, store)
    studio.annotate_without_stamp(1, "B")
    look(studio, store)
    assert labels_of(store) == {1: "A"}
    later = time.time() + COMPARE_EVERY
    monkeypatch.setattr(time, "time", lambda: later)
    look(studio, store)
    assert labels_of(store) == {1: "B"}


def test_a_new_config_reads_everything_again(store: Store) -> None:
    store.forget(1)
    studio = Studio()
    studio.change(0.0, 1, "B")
    studio.now = 100.0
    look(studio, store)
    finish_round(store, 1, RoundReport(1, labeled=0), labels=9, tasks=9)
    studio.label_config = CONFIG.replace('value="B"', 'value="C"')
    look(studio, store)
    assert labels_of(store) == {1: None}
    assert store.known_project(1).round_requested


def test_the_row_of_a_task_says_how_far_annotators_disagree() -> None:
    task = parse_label_config(CONFIG)
    control = task.controls[0]
    name = control.from_name

    def row(*labels: str) -> TaskRow:
        votes = [{"id": n, "result": control.write(one, None)} for n, one in enumerate(labels)]
        data = {"id": 1, "data": dict.fromkeys(task.content({}), "x"), "annotations": votes}
        return task_row(task, data)

    first, second = control.labels[:2]
    assert row(first).votes is None
    assert row(first, first).votes == {name: [2, 0]}
    assert row(first, second, first).votes == {name: [3, 1]}
    assert row(first, second, first).labels == {name: first}
