"""Two Choices of one task on a real Label Studio, labeled by three people: both are learned."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.state.tasks import read_tasks
from harness import Harness

PEOPLE = 3
KINDS = {"fruit": ("apple", "pear", "plum"), "vehicle": ("car", "lorry", "bus")}
COLORS = {"red": ("red", "crimson"), "blue": ("blue", "navy")}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="kind" toName="text">'
    '<Choice value="fruit"/><Choice value="vehicle"/></Choices>'
    '<Choices name="color" toName="text"><Choice value="red"/><Choice value="blue"/></Choices>'
    '<TextArea name="remark" toName="text"/></View>'
)
TEXTS = {
    f"a {shade} {thing}, number {number}": {"kind": kind, "color": color}
    for kind, things in KINDS.items()
    for thing in things
    for color, shades in COLORS.items()
    for shade in shades
    for number in range(4)
}
TASK = parse_label_config(CONFIG)


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 6, "reserve": 6, "retrain_every": 6, "audit": 0.2}


@pytest.fixture(scope="module")
def users(label_studio: LabelStudioServer) -> list[User]:
    return [label_studio.create_user(f"painter{n}@example.com") for n in range(PEOPLE)]


def answer(data: dict[str, Any], *names: str) -> list[dict[str, Any]]:
    """The right answers of some controls."""
    wanted = [control for control in TASK.controls if control.from_name in names]
    return [item for one in wanted for item in one.write(TEXTS[data["text"]][one.from_name])]


def answers_of(row: dict[str, Any]) -> dict[str, str]:
    return {item["from_name"]: item["value"]["choices"][0] for item in row["result"]}


def test_three_people_label_two_choices_and_both_are_learned(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    users: list[User],
    params: dict[str, Any],
) -> None:
    body = {"title": "Two choices", "label_config": CONFIG}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    tasks = [{"text": text} for text in TEXTS]
    label_studio.api("POST", f"/api/projects/{project}/import", tasks)
    harness.connect(project, prelabel="head")
    served = harness.queue(project)
    # The third person always leaves the color out.
    names = (("kind", "color"), ("kind", "color"), ("kind",))
    people = [
        make_annotator(project, lambda task, name=name: answer(task["data"], *name), user)
        for user, name in zip(users, names, strict=True)
    ]
    opened = [person.next_task() for person in people]
    assert [task["id"] for task in opened if task] == served[:PEOPLE]
    for person, task, name in zip(people, opened, names, strict=True):
        assert task is not None
        person.submit(task, answer(task["data"], *name))
    for _ in range(9):
        for person in people:
            assert len(list(person.label(1))) == 1

    def learned() -> Any:
        rounds = harness.rounds(project)
        return rounds[-1] if rounds and rounds[-1].labeled >= 24 else None

    report = wait_until(learned, timeout=120, what="a round that knows the labels")
    labeled = {one.control: one.labeled for one in report.controls}
    assert labeled["kind"] == report.labeled
    assert 0.5 * report.labeled < labeled["color"] < report.labeled
    for one in report.controls:
        assert one.evaluation.audit is not None, one.control
    with closing(harness.store) as store:
        stored = [row.labels for row in read_tasks(store, project) if row.labels]
    assert {tuple(sorted(labels)) for labels in stored} == {("color", "kind"), ("kind",)}

    # The queue and the live answers show both, and are right on most tasks.
    data = {
        task["id"]: task["data"]["text"]
        for task in harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    }
    rows = [row for row in harness.rows(project, report.queue_version) if row["result"]]
    assert len(rows) >= 6
    assert all(list(answers_of(row)) == ["kind", "color"] for row in rows)
    right = [
        answers_of(row)[name] == TEXTS[data[row["task"]]][name]
        for row in rows
        for name in ("kind", "color")
    ]
    assert sum(right) >= 0.7 * len(right)
    live = harness.ask("/predict", predict_body(harness, project, "a navy plum, number 9"))
    (found,) = live["results"]
    assert list(answers_of(found)) == ["kind", "color"]
    assert found["model_version"] in {one.head_version for one in harness.rounds(project)}

    # A person chooses what is learned: the other control has no answers any more.
    own = json.dumps({**params, "controls": "color"})
    said = harness.backend.run("connect", "--project", str(project), "--params", own)
    assert "Choices 'kind' is not in CONTROLS" in said
    harness.wait_queue(project, after=report.round)
    live = harness.ask("/predict", predict_body(harness, project, "a red car, number 9"))
    assert list(answers_of(live["results"][0])) == ["color"]


def predict_body(harness: Harness, project: int, text: str) -> dict[str, Any]:
    return {
        "project": f"{project}.1",
        "label_config": harness.project(project)["label_config"],
        "tasks": [{"id": 1, "data": {"text": text}}],
    }
