"""Labeling runs: what `active-learn label` wrote, and what it has to finish after a crash.

A run is a row of the state, and a file of its answers in the project's folder. The file is written
first, then the row, then the answers go to Label Studio. So a run that was broken off anywhere is
either unknown, or can be finished or undone.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa

from ..errors import StoreError
from ..labeling.annotations import version_of_run
from ..settings import Settings
from .answer_files import Answer, read_answer_file, write_answer_file
from .columns import insert_if_new
from .folders import labeling_folder, make_private_folder
from .schema import AUTOMATIC, LabelingRun
from .schema import labeling_runs as _runs
from .schema import tasks as _tasks
from .store import Store

__all__ = [
    "LabelingRun",
    "begin",
    "count_automatic",
    "describe_runs",
    "finish",
    "list_runs",
    "one_at_a_time",
    "read_answers",
    "record_removal",
    "tasks_of_run",
    "unfinished",
]

Kind = Literal["predictions", "annotations"]


def begin(
    store: Store,
    settings: Settings,
    project_id: int,
    kind: Kind,
    answers: Collection[Answer],
    *,
    accuracy: float,
    confidence: float,
    taken: Iterable[int] = (),
) -> LabelingRun:
    """Record a new run with its answers; nothing is in Label Studio yet.

    Parameters
    ----------
    taken : iterable of int
        Numbers that Label Studio holds traces of: a state that was lost may have used them.

    Raises
    ------
    StoreError
        While another run is unfinished, or when the answers cannot be stored.
    """
    if (left := unfinished(store, project_id)) is not None:
        raise StoreError(
            f"run {left.run} of project {project_id} was begun and is not finished; finish it, or "
            f"take it back by `active-learn unlabel --project {project_id} --run {left.run}`"
        )
    number = 1 + max([*_known_numbers(store, project_id), *taken], default=0)
    run = LabelingRun(number, kind, accuracy, confidence, granted=len(answers))
    write_answer_file(_file(settings, project_id, number), asdict(run), answers)
    with store.write() as connection:
        row = {"project_id": project_id, **asdict(run)}
        if not connection.execute(insert_if_new(connection, _runs, row)).rowcount:
            raise StoreError(f"run {number} of project {project_id} was begun elsewhere; try again")
    return run


def finish(store: Store, project_id: int, number: int, written: int) -> None:
    """Record that all answers of a run are written, and how many Label Studio stored."""
    _update(store, project_id, number, status="done", written=written)


def record_removal(store: Store, project_id: int, number: int, removed: int) -> None:
    """Record that a run was taken back; `removed` is added to what was taken back before."""
    _update(store, project_id, number, status="removed", removed=_runs.c.removed + removed)


def unfinished(store: Store, project_id: int) -> LabelingRun | None:
    """Return the run that was begun and is neither finished nor removed; None without one."""
    return next((one for one in list_runs(store, project_id) if one.status == "begun"), None)


def list_runs(store: Store, project_id: int) -> list[LabelingRun]:
    """List the recorded runs of a project, oldest first.

    Runs of a state that was lost are not among them, see `count_automatic`.
    """
    columns = [column for column in _runs.columns if column.name != "project_id"]
    query = sa.select(*columns).where(_runs.c.project_id == project_id).order_by(_runs.c.run)
    with store.read() as connection:
        return [LabelingRun(**row) for row in connection.execute(query).mappings()]


def count_automatic(store: Store, project_id: int) -> dict[int, int]:
    """Count the tasks that a run labeled and no person, by the run's number."""
    query = (
        sa.select(_tasks.c.run, sa.func.count().label("tasks"))
        .where(_tasks.c.project_id == project_id, AUTOMATIC)
        .group_by(_tasks.c.run)
        .order_by(_tasks.c.run)
    )
    with store.read() as connection:
        return {row.run: row.tasks for row in connection.execute(query)}


def tasks_of_run(store: Store, project_id: int, number: int) -> set[int]:
    """Return the ids of the known tasks that bear the mark of a run."""
    query = sa.select(_tasks.c.task_id)
    mine = (_tasks.c.project_id == project_id) & (_tasks.c.run == number)
    with store.read() as connection:
        return set(connection.scalars(query.where(mine)))


def describe_runs(store: Store, project_id: int) -> list[str]:
    """Describe the runs of a project, one line each, oldest first.

    Of a run that only Label Studio remembers, no more is known than what it labeled.
    """
    recorded = {one.run: one for one in list_runs(store, project_id)}
    automatic = count_automatic(store, project_id)
    lines = []
    for number in sorted({*recorded, *automatic}):
        words = [version_of_run(number)]
        if (run := recorded.get(number)) is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.begun_at))
            words += [when, f"{run.written:,} {run.kind} of {run.granted:,} answers"]
            words += [f"at least {run.accuracy:.1%} right with {run.confidence:.0%} confidence"]
            words += {"begun": ["(not finished)"], "removed": ["(taken back)"]}.get(run.status, [])
        if number in automatic:
            words.append(f"{automatic[number]:,} labeled automatically by run {number}")
        lines.append("  ".join(words))
    return lines


def read_answers(settings: Settings, project_id: int, number: int) -> list[Answer]:
    """Return the answers of a run.

    Raises
    ------
    StoreError
        When their file is missing or damaged.
    """
    path = _file(settings, project_id, number)
    try:
        head, answers = read_answer_file(path)
        if len(answers) != head["granted"]:
            raise ValueError(f"{len(answers)} answers, not {head['granted']}")
        return answers
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"the answers of run {number} cannot be read from {path} ({error}); take the run back "
            f"by `active-learn unlabel --project {project_id} --run {number}`"
        ) from error


@contextmanager
def one_at_a_time(settings: Settings, project_id: int) -> Iterator[None]:
    """Hold a project's labeling runs for this process; a killed process lets go of them.

    Raises
    ------
    StoreError
        When another process holds them.
    """
    import fcntl  # not on Windows, where only this command needs it

    folder = labeling_folder(settings, project_id)
    make_private_folder(folder)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"another `active-learn label` or `unlabel` is at work on project {project_id}; "
                "wait until it ends"
            ) from error
        yield


def _known_numbers(store: Store, project_id: int) -> set[int]:
    """Return the numbers of all recorded runs, and of those that labeled a known task."""
    with store.read() as connection:
        marked = _tasks.c.run.is_not(None)
        return {
            *connection.scalars(sa.select(_runs.c.run).where(_runs.c.project_id == project_id)),
            *connection.scalars(
                sa.select(_tasks.c.run).where(_tasks.c.project_id == project_id, marked).distinct()
            ),
        }


def _update(store: Store, project_id: int, number: int, **values: Any) -> None:
    mine = (_runs.c.project_id == project_id) & (_runs.c.run == number)
    with store.write() as connection:
        connection.execute(_runs.update().where(mine).values(**values))


def _file(settings: Settings, project_id: int, number: int) -> Path:
    return labeling_folder(settings, project_id) / f"run-{number}.jsonl"
