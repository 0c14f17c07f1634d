"""Answers that the config does not list and that come again: its classes are those answers."""

from __future__ import annotations

import pytest
from active_learn.heads import load_heads
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.quality.backtest import LabeledSet
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.state.rounds import read_rounds
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.web.status.project import project_status
from worker_backend import Backend

CONFIG = (
    '<View><Text name="text" value="$text"/>'
    '<TextArea name="brand" toName="text" model_learn="true"/></View>'
)
CHOICES = (
    '<View><Text name="text" value="$text"/>'
    '<Choices name="brand" toName="text" value="$options" model_learn="true"/></View>'
)
ANSWERS = ["Acme", "Bosch", "Acme", "Bosch", "once only", "Acme"]


@pytest.mark.parametrize(
    ("config", "kind", "strategy"),
    [
        (CONFIG, "TextArea", "auto"),
        (CONFIG, "TextArea", "margin"),
        (CONFIG, "TextArea", "badge"),
        (CHOICES, "Choices", "auto"),
    ],
)
def test_answers_that_come_again_are_learned(
    backend: Backend, config: str, kind: str, strategy: str
) -> None:
    project = backend.add_project(30, config=config)
    assert parse_label_config(config).description == f"learned: {kind} 'brand' (classification)"
    value = "text" if kind == "TextArea" else "choices"
    backend.turn(project, strategy=strategy)  # nothing is known yet
    first = backend.store.known_project(project).queue_version
    queue = [row["task"] for row in backend.studio.rows.values()]
    assert len(queue) == 7
    for task, answer in zip(queue, ANSWERS, strict=False):
        item = {"from_name": "brand", "to_name": "text", "type": kind.lower()}
        backend.studio.submit(task, [item | {"value": {value: [answer]}}])
    backend.turn(project, strategy=strategy, prelabel="head")
    version = backend.store.known_project(project).queue_version
    assert version != first
    settings = backend.settings()
    number = read_rounds(backend.store, project)[-1].round
    head = load_heads(heads_folder(settings, project), number)["brand"]
    assert head.classes == ("Acme", "Bosch")
    shown = {
        row["result"][0]["value"][value][0]
        for row in backend.studio.rows.values()
        if row["model_version"] == version
    }
    assert shown
    assert shown <= {"Acme", "Bosch"}
    status = project_status(settings, backend.store, backend.store.known_project(project))
    assert status.errors == []
    assert status.summary.counts.labeled == 6


def test_a_backtest_knows_the_answers_that_came_again(backend: Backend) -> None:
    project = backend.add_project(8, config=CONFIG)
    for task, answer in zip(sorted(backend.studio.tasks), [*ANSWERS, "Acme"], strict=False):
        item = {"from_name": "brand", "to_name": "text", "type": "textarea"}
        backend.studio.submit(task, [item | {"value": {"text": [answer]}}])
    backend.turn(project)
    rows = read_tasks(backend.store, project)
    task = parse_label_config(CONFIG)
    data = LabeledSet.embed(backend.settings(), project, task, rows, lambda _: b"")
    assert sorted(data.y) == ["Acme"] * 4 + ["Bosch"] * 2
    assert data.head_config is not None
    assert data.head_config.labels_offered == ("Acme", "Bosch")
