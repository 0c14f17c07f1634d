"""`active-learn label` where spans of texts are labeled: a task is right if all its spans are."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.labeling.annotations import run_of
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.quality.right_answers import is_right
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.state.verification import open_sample
from click.testing import CliRunner, Result
from fake_server import KEY
from worker_backend import Backend

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="person"/><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
PEOPLE = ("Anna Berg", "Bo Dahl", "Cleo Ek", "Dan Falk")
CITIES = ("Oslo", "Bergen", "Turku", "Malmo")
CONTROL = parse_label_config(CONFIG).controls[0]
AUDIT = 0.5
SETTINGS = {"budget": 300, "reserve": 0, "audit": AUDIT}


def spans(text: str) -> list[list[Any]]:
    """The right answer of a text."""
    named = [(name, "person") for name in PEOPLE] + [(name, "city") for name in CITIES]
    return sorted(
        [text.index(name), text.index(name) + len(name), label]
        for name, label in named
        if name in text
    )


def text_of(backend: Backend, task: int) -> str:
    return str(backend.studio.tasks[task]["data"]["text"])


def command(backend: Backend, name: str, project: int, *options: str) -> Result:
    """Run a command in this process, with the settings of the project's rounds."""
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY, "AUDIT": str(AUDIT),
    }  # fmt: skip
    return CliRunner().invoke(main, [name, "--project", str(project), *options], env=environment)


def answer(backend: Backend, tasks: list[int]) -> None:
    for task in tasks:
        backend.studio.submit(task, CONTROL.write(spans(text_of(backend, task))))


@pytest.fixture
def project(backend: Backend) -> int:
    return labeled_project(backend, 80)


def labeled_project(backend: Backend, n_audit: int) -> int:
    """300 texts, every tenth without a name, whose head has learned from 40 and is measured."""
    draw = random.Random(1)
    texts = [
        f"no news today, {n} mm of rain"
        if n % 10 == 9
        else f"in {draw.choice(CITIES)} we met {draw.choice(PEOPLE)} again, number {n}"
        for n in range(300)
    ]
    project = backend.studio.add_project(texts, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    backend.turn(project, **SETTINGS)
    queue = read_queue(backend.store, project)
    audit = [row.task_id for row in queue if row.audit]
    answer(backend, [row.task_id for row in queue if not row.audit][:40] + audit[:n_audit])
    backend.turn(project, **SETTINGS)
    return project


def test_texts_are_certified_written_and_taken_back(
    backend: Backend, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "answers.jsonl"
    said = command(
        backend, "label", project, "--accuracy", "0.9", "--export", str(path),
        "--write", "annotations",
    ).output  # fmt: skip
    certified = re.search(r"(\d+) tasks \(\d+%\) are certified to be 90.0% right", said)
    assert certified is not None, said
    assert re.search(r"  city and person: \d+ tasks, \d+\.\d probably wrong; 0 of \d+ audit", said)
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(answers) == int(certified[1]) > 100
    right = sum(
        one["labels"]["label"] == spans(text_of(backend, one["task"])) != [] for one in answers
    )
    assert right >= 0.9 * len(answers)
    for one in answers:
        (annotation,) = backend.studio.tasks[one["task"]]["annotations"]
        assert run_of(annotation) == (1 if annotation["result"] else None)
        assert CONTROL.read(annotation["result"]) == one["labels"]["label"]
        for item in annotation["result"]:
            value = item["value"]
            text = text_of(backend, one["task"])
            assert value["text"] == text[value["start"] : value["end"]]

    backend.turn(project, **SETTINGS)
    rows = {row.task_id: row for row in read_tasks(backend.store, project)}
    assert all(rows[one["task"]].labels is None for one in answers)  # they train nothing
    back = command(backend, "unlabel", project, "--run", "1").output
    assert f"{len(answers)} annotations" in back


def test_texts_in_which_nothing_is_found_are_written_and_taken_back(
    backend: Backend, project: int
) -> None:
    """An annotation without a region bears no mark, but it was made of the run's prediction."""
    said = command(backend, "label", project, "--accuracy", "0.9", "--write", "annotations").output
    assert "answers for 180 unlabeled tasks" in said
    written = {row["task"] for row in backend.studio.rows.values()
               if row["model_version"] == "label-1"}  # fmt: skip
    empty = sorted(
        task for task in written if not backend.studio.tasks[task]["annotations"][0]["result"]
    )
    assert len(empty) > 5
    assert all(spans(text_of(backend, task)) == [] for task in empty)
    # A person confirms one, and changes another one.
    for task, result in ((empty[0], []), (empty[1], CONTROL.write([[0, 2, "city"]]))):
        (annotation,) = backend.studio.tasks[task]["annotations"]
        backend.studio.edit(annotation["id"], result=result)
    backend.turn(project, **SETTINGS)
    for state in ("the state knows the run", "the state is new"):
        rows = {row.task_id: row for row in read_tasks(backend.store, project)}
        assert [rows[task].labels for task in empty[:2]] == [
            {"label": []}, {"label": [[0, 2, "city"]]}
        ], state  # fmt: skip
        assert all(rows[task].automatic and rows[task].run == 1 for task in empty[2:]), state
        backend.store.forget(project)
        backend.store.register(project)
        backend.store.update(project, mode="pull")
        backend.turn(project, **SETTINGS)
    back = command(backend, "unlabel", project, "--run", "1").output
    assert (
        f"{len(written) - 2} annotations and {len(written)} predictions removed; 2 of its" in back
    )
    left = {task for task in written if backend.studio.tasks[task]["annotations"]}
    assert left == set(empty[:2])


def test_a_sample_of_texts_is_verified_blind(backend: Backend) -> None:
    project = labeled_project(backend, 15)
    said = command(backend, "label", project, "--accuracy", "0.85", "--verify").output
    begun = re.search(r"a verification is begun: (\d+) tasks are served first", said)
    assert begun is not None, said
    sample = list(open_sample(backend.settings(**SETTINGS), project))
    assert len(sample) == int(begun[1])
    backend.turn(project, **SETTINGS, prelabel="head")
    queued = [row.task_id for row in read_queue(backend.store, project)]
    assert set(queued[: len(sample)]) == set(sample)
    shown = {row["task"]: row["result"] for row in backend.studio.rows.values()}
    assert all(shown[task] == [] for task in sample)
    answer(backend, sample)
    backend.turn(project, **SETTINGS)
    said = command(backend, "label", project, "--accuracy", "0.85").output
    assert "are certified to be 85.0% right" in said or "not certified: " in said


def test_the_page_plans_what_can_be_labeled(backend: Backend, project: int) -> None:
    report = last_round(backend.store, project)
    assert report is not None
    assert report.automation is not None
    assert max(share.tasks for share in report.automation.shares) > 0
    assert report.automation.unlabeled == 180


@pytest.mark.parametrize(
    ("found", "right"),
    [
        ([[3, 5, "a"]], True),
        ([[3, 5, "b"]], False),
        ([], False),
        ([[3, 5, "a"], [7, 9, "a"]], False),
        ([[3, 6, "a"]], False),
    ],
)
def test_a_text_is_right_if_exactly_its_spans_are_found(found: list[Any], right: bool) -> None:
    assert is_right({"x": found}, {"x": [[3, 5, "a"]]}, 0.0) is right


def test_an_image_is_right_if_each_box_is_found_and_no_other() -> None:
    given = {"x": [[[10.0, 10.0], [20.0, 20.0], "a"]]}
    assert is_right({"x": [[[10.0, 10.0], [20.0, 18.0], "a"]]}, given, 0.0)
    assert not is_right({"x": [[[10.0, 10.0], [20.0, 14.0], "a"]]}, given, 0.0)
    assert not is_right({"x": given["x"] + [[[50.0, 50.0], [60.0, 60.0], "a"]]}, given, 0.0)
    assert is_right({"x": []}, {"x": []}, 0.0)
