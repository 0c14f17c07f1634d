"""`active-learn label --by label`: each label of a task is certified by itself."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from active_learn.heads import OneVsRestHead
from active_learn.heads.base import Answer as HeadAnswer
from active_learn_backend.cli.main import main
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.verification import read_open
from click.testing import CliRunner, Result
from fake_server import KEY
from worker_backend import Backend

FRUIT = {
    "apple": "apple tart with cinnamon, warm from the oven",
    "pear": "pear sorbet on crushed ice with mint leaves",
    "plum": "plum dumplings rolled in breadcrumbs and butter",
}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="in" toName="text" choice="multiple">'
    '<Choice value="apple"/><Choice value="pear"/><Choice value="plum"/><Choice value="liked"/>'
    "</Choices></View>"
)
SINGLE = CONFIG.replace(' choice="multiple"', "")
AUDIT = 0.5
SETTINGS = {"budget": 320, "reserve": 0, "audit": AUDIT}


def label(backend: Backend, project: int, *options: str) -> Result:
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY, "AUDIT": str(AUDIT),
    }  # fmt: skip
    command = ["label", "--project", str(project), "--by", "label", *options]
    return CliRunner().invoke(main, command, env=environment)


class Dishes:
    """400 texts on fruit; whether somebody likes them is said by nothing in them."""

    def __init__(self, backend: Backend, n_audit: int, likes: float) -> None:
        draw = random.Random(3)
        kinds = [["apple"], ["pear"], ["plum"], ["apple", "pear"], ["pear", "plum"]]
        self.backend, self.truth = backend, {}
        chosen = [draw.choice(kinds) for _ in range(400)]
        texts = [
            f"{', and '.join(FRUIT[one] for one in kind)} {n}" for n, kind in enumerate(chosen)
        ]
        self.project = backend.studio.add_project(texts, CONFIG)
        of_project = [
            one for one, task in backend.studio.tasks.items() if task["project"] == self.project
        ]
        for task, kind in zip(of_project, chosen, strict=True):
            self.truth[task] = kind + ["liked"] * (draw.random() < likes)
        backend.store.register(self.project)
        backend.store.update(self.project, mode="pull")
        backend.turn(self.project, **SETTINGS)
        queue = read_queue(backend.store, self.project)
        audit = [row.task_id for row in queue if row.audit]
        self.annotate([row.task_id for row in queue if not row.audit][:80] + audit[:n_audit])
        backend.turn(self.project, **SETTINGS)

    def annotate(self, tasks: list[int], *wrong: str) -> None:
        for task in tasks:
            labels = sorted(set(self.truth[task]) ^ set(wrong))
            item = {"from_name": "in", "to_name": "text", "type": "choices"}
            self.backend.studio.submit(task, [{**item, "value": {"choices": labels}}])

    def labels_of(self, answer: dict[str, object]) -> list[str]:
        return self.truth[int(str(answer["task"]))]


def test_labels_that_are_certain_are_granted_beside_one_that_is_not(
    backend: Backend, tmp_path: Path
) -> None:
    dishes, path = Dishes(backend, 150, likes=0.4), tmp_path / "answers.jsonl"
    said = label(backend, dishes.project, "--accuracy", "0.9", "--export", str(path)).output
    assert "by label, each set is certified to be 90.0% right, all together with 95%" in said
    assert re.search(
        r"  in: apple: \d+ tasks \(\d+%\): \d+ yes, \d+\.\d probably wrong \(0 of \d+ audit tasks "
        r"are\), \d+ no, \d+\.\d probably wrong \(0 of \d+ audit tasks are\); at most \d\.\d%",
        said,
    ), said
    assert "  in: liked: no set of decisions is certified" in said
    assert "no set of answers is certified to be 90.0% right with 95% confidence in each label" in (
        said
    )
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(answers) > 100
    for answer in answers:
        assert not answer["complete"]
        decided = answer["decided"]["in"]
        assert "liked" not in decided
        assert decided == {one: one in dishes.labels_of(answer) for one in decided}
    assert f"{len(answers)} answers are written to {path}" in said
    # It is another question than that for whole answers, so it counts as another look.
    (look,) = backend.store.known_project(dishes.project).looks
    assert look[0] == "head-2 by label"


def test_tasks_with_all_labels_certified_are_written(backend: Backend, tmp_path: Path) -> None:
    dishes, path = Dishes(backend, 150, likes=0.0), tmp_path / "answers.jsonl"
    options = ("--accuracy", "0.95", "--export", str(path), "--write", "annotations")
    said = label(backend, dishes.project, *options).output
    whole = re.search(
        r"(\d+) tasks \(\d+%\) are certified with all of their labels, each to be 95.0% right with "
        r"95% confidence: .* of which at most 0 of \d+ audit tasks are wrong in one label",
        said,
    )
    assert whole is not None, said
    assert f"run 1 is done: {whole[1]} of {whole[1]} answers are annotations" in said
    complete = [
        answer for answer in map(json.loads, path.read_text().splitlines()) if answer["complete"]
    ]
    assert len(complete) == int(whole[1]) > 100
    for answer in complete:
        (annotation,) = backend.studio.tasks[answer["task"]]["annotations"]
        (item,) = annotation["result"]
        assert sorted(item["value"]["choices"]) == sorted(dishes.labels_of(answer))


def test_a_verification_counts_the_errors_of_each_label(backend: Backend) -> None:
    dishes = Dishes(backend, 20, likes=0.0)
    done = label(backend, dishes.project, "--accuracy", "0.85", "--verify")
    begun = re.search(r"a verification is begun: (\d+) tasks .* at most (\d+) answers", done.output)
    assert begun is not None, done.output
    backend.turn(dishes.project, **SETTINGS)
    opened = read_open(backend.settings(), dishes.project)
    assert opened is not None
    verification, answers = opened
    sample = list(verification.sample)
    assert len(sample) == int(begun[1])
    # The sample is drawn anew each time, and none of its answers is to be wrong by itself.
    dishes.truth.update({one.task_id: list(one.labels["in"]) for one in answers})
    # Who takes away the only label leaves no annotation, which is wrong in every label.
    sample.sort(key=lambda task: dishes.truth[task] == ["plum"])
    wrong = int(begun[2]) + 1
    # Too many errors together, but not in one label.
    dishes.annotate(sample[:wrong], "liked")
    dishes.annotate(sample[wrong : 2 * wrong - 1], "plum")
    dishes.annotate(sample[2 * wrong - 1 : -1])
    backend.turn(dishes.project, **SETTINGS)
    done = label(backend, dishes.project, "--accuracy", "0.85")
    assert (
        f"not certified: {wrong} of {len(sample) - 1} answers of the sample are wrong in the label "
        f"that is wrong most often, at most {wrong - 1} may be" in done.output
    ), done.output


def test_an_answer_that_is_one_decision_has_no_labels_to_take_apart(backend: Backend) -> None:
    project = backend.add_project(30, config=SINGLE)
    backend.turn(project)
    done = label(backend, project, "--accuracy", "0.9")
    assert done.exit_code == 1
    assert f"an answer of project {project} is a single decision; --by label is for controls" in (
        done.output
    )


@pytest.mark.parametrize("by", ["task", "label"])
def test_no_label_is_no_answer(backend: Backend, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label Studio takes a choice of nothing for no choice, so such an answer cannot be written."""
    dishes = Dishes(backend, 150, likes=0.0)
    answered = OneVsRestHead.predict

    def emptied(head: OneVsRestHead, vectors: np.ndarray) -> list[HeadAnswer]:
        return [HeadAnswer([], 1.0) if at < 5 else one
                for at, one in enumerate(answered(head, vectors))]  # fmt: skip

    monkeypatch.setattr(OneVsRestHead, "predict", emptied)
    options = ("--accuracy", "0.9", "--by", by, "--write", "predictions")
    done = label(backend, dishes.project, *options)
    assert "5 more are left out: none of the labels is set in them" in done.output
    assert "run 1 is done" in done.output, done.output
