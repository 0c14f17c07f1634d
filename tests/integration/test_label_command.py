"""`active-learn label` on a project: what is certified, what is said, what is exported."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.labelstudio.automatic_labels import AutomaticLabels
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.tasks import read_tasks
from click.testing import CliRunner, Result
from fake_server import KEY
from worker_backend import Backend

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="fruit" toName="text">'
    '<Choice value="apple"/><Choice value="pear"/></Choices></View>'
)
NUMBERS = CONFIG.replace(
    "</View>", '<Number name="size" toName="text" min="0" max="9"/></View>'
)  # fmt: skip
CAPTIONS = '<View><Text name="text" value="$text"/><TextArea name="note" toName="text"/></View>'
AUDIT = 0.5


def label(backend: Backend, project: int, *options: str) -> Result:
    """Run the command in this process, with the settings of the project's rounds."""
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY, "AUDIT": str(AUDIT),
    }  # fmt: skip
    command = ["label", "--project", str(project), *options]
    return CliRunner().invoke(main, command, env=environment)


@pytest.fixture
def project(backend: Backend) -> int:
    """Return a project of 400 texts whose heads have learned from 20 and are measured by 120."""
    studio = backend.studio
    kinds = ("apple tart with cinnamon", "pear sorbet on ice")
    texts = [f"{kinds[n % 2]} {n}" for n in range(400)]
    project = studio.add_project(texts, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    settings = {"budget": 200, "reserve": 0, "audit": AUDIT}
    backend.turn(project, **settings)
    queue = read_queue(backend.store, project)
    audit = [row.task_id for row in queue if row.audit]
    others = [row.task_id for row in queue if not row.audit]
    for task in others[:20] + audit[:90]:
        fruit = studio.tasks[task]["data"]["text"].split()[0]
        item = {"from_name": "fruit", "to_name": "text", "type": "choices"}
        studio.submit(task, [{**item, "value": {"choices": [fruit]}}])
    backend.turn(project, **settings)
    return project


def test_what_is_certified_is_said_and_exported(
    backend: Backend, project: int, tmp_path: Path
) -> None:
    path = tmp_path / "answers.jsonl"
    done = label(backend, project, "--accuracy", "0.95", "--export", str(path))
    assert done.exit_code == 0, done.output
    assert "head-2 answers for 290 unlabeled tasks, and 90 audit labels measure it" in done.output
    said = re.search(
        r"(\d+) tasks \(\d+%\) are certified to be 95.0% right with 95% confidence: those with a "
        r"score of 0\.\d{3} or more, of which 0 of \d+ audit tasks are wrong",
        done.output,
    )
    assert said is not None, done.output
    assert f"{290 - int(said[1])} tasks are left for people" in done.output
    assert re.search(r"  apple: \d+ tasks, \d+\.\d probably wrong; 0 of \d+ audit", done.output)
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    left = {row.task_id for row in read_tasks(backend.store, project) if row.labels is None}
    assert len(answers) == int(said[1]) > 250
    assert {answer["task"] for answer in answers} <= left
    for answer in answers:
        fruit = backend.studio.tasks[answer["task"]]["data"]["text"].split()[0]
        assert answer["labels"] == {"fruit": fruit}
        assert answer["result"][0]["value"] == {"choices": [fruit]}
        assert answer["origin"] == "head-2"
        assert 0.5 < answer["score"] <= 1
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 110


def test_what_is_not_certified_is_planned_or_refused_in_words(
    backend: Backend, project: int
) -> None:
    done = label(backend, project, "--accuracy", "0.99")
    assert "no set of answers is certified to be 99.0% right with 95% confidence" in done.output
    assert "label on: " in done.output or "a sample of " in done.output


def test_each_other_look_makes_the_next_one_stricter(backend: Backend, project: int) -> None:
    """The first look may use a half of 5 %, the second a sixth; the same look again is no other."""
    for accuracy in ("0.95", "0.95", "0.94"):
        label(backend, project, "--accuracy", accuracy)
    looks = backend.store.known_project(project).looks
    assert looks == [["head-2", 90, 0.95, 0.0], ["head-2", 90, 0.94, 0.0]]


def test_what_cannot_be_labeled_is_one_line(backend: Backend) -> None:
    unknown = label(backend, 77, "--accuracy", "0.9")
    assert (unknown.exit_code, "Traceback" in unknown.output) == (1, False)
    project = backend.add_project(30)
    backend.turn(project)
    done = label(backend, project, "--accuracy", "0.9")
    assert done.exit_code == 1
    assert "has no head yet, so it has no answers; label on" in done.output
    numbers = backend.add_project(30, config=NUMBERS)
    backend.turn(numbers)
    done = label(backend, numbers, "--accuracy", "0.9")
    assert "say by --tolerance how far an answer may be off" in done.output
    captions = backend.add_project(30, config=CAPTIONS)
    backend.turn(captions)
    done = label(backend, captions, "--accuracy", "0.9")
    assert "nothing is learned in it, so nothing can be labeled automatically" in done.output
    for accuracy in ("1", "0.5", "nan", "95", "high"):
        assert label(backend, project, "--accuracy", accuracy).exit_code == 2


def test_answers_are_written_as_annotations_and_taken_back(backend: Backend, project: int) -> None:
    done = label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert done.exit_code == 0, done.output
    said = re.search(r"run 1 is done: (\d+) of (\d+) answers are annotations", done.output)
    assert said is not None, done.output
    assert said[1] == said[2]
    assert int(said[1]) > 250
    annotated = sum(bool(task["annotations"]) for task in backend.studio.tasks.values())
    assert annotated == 110 + int(said[1])
    backend.turn(project, audit=AUDIT)
    labeled = [row for row in read_tasks(backend.store, project) if row.labels is not None]
    assert len(labeled) == 110  # they do not train
    again = label(backend, project, "--accuracy", "0.95")
    assert f"answers for {290 - int(said[1])} unlabeled tasks" in again.output
    environment = {"LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
                   "LABEL_STUDIO_API_KEY": KEY}  # fmt: skip
    back = CliRunner().invoke(
        main, ["unlabel", "--project", str(project), "--run", "1"], env=environment
    )
    assert back.exit_code == 0, back.output
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 110


def test_a_run_that_was_broken_off_is_finished_by_the_next_call(
    backend: Backend, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AutomaticLabels, "_annotate", killed)
        label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert sum(bool(task["annotations"]) for task in backend.studio.tasks.values()) == 110
    done = label(backend, project, "--accuracy", "0.95", "--write", "annotations")
    assert "run 1 was broken off; it is finished first" in done.output
    said = re.search(r"run 1 is done: (\d+) of (\d+) answers are annotations", done.output)
    assert said is not None, done.output
    assert said[1] == said[2]
