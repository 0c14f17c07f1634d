"""What a person asks for while a round runs is done by the next one."""

from __future__ import annotations

import pytest
from active_learn_backend.learning.quality.head_versions import roll_back
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import read_rounds
from active_learn_backend.worker.heads_stage import HeadsStage
from active_learn_backend.worker.round import Round
from worker_backend import Backend


def label(backend: Backend, project: int, count: int) -> None:
    for row in read_queue(backend.store, project)[:count]:
        backend.studio.annotate(row.task_id, "even" if row.task_id % 2 else "odd")


@pytest.fixture
def project(backend: Backend) -> int:
    """Two heads were trained, and labels for a third one are there."""
    project = backend.add_project(40)
    for _ in range(3):
        backend.turn(project)
        label(backend, project, 4)
    return project


@pytest.mark.parametrize(
    ("stage", "method"),
    [(HeadsStage, "_heads"), (Round, "_answers"), (Round, "_report")],
    ids=["before its heads are recorded", "before its queue is served", "at its end"],
)
def test_going_back_while_a_round_runs_is_not_overruled(
    backend: Backend, project: int, stage: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = next(one.head_version for one in read_rounds(backend.store, project) if one.labeled)
    done = getattr(stage, method)

    def with_a_person(*arguments: object) -> object:
        found = done(*arguments)
        monkeypatch.setattr(stage, method, done)
        roll_back(backend.settings(), backend.store, project, first)
        return found

    monkeypatch.setattr(stage, method, with_a_person)
    backend.turn(project)
    (*_, trained) = read_rounds(backend.store, project)
    assert trained.head_version != first
    assert backend.store.known_project(project).head_version == first
    backend.turn(project)
    (*_, last) = read_rounds(backend.store, project)
    assert (last.round, last.head_version) == (trained.round + 1, first)
    assert not backend.store.known_project(project).round_requested
