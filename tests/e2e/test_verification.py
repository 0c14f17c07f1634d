"""`active-learn label` on a real Label Studio: three people verify a sample of the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import wait_until
from active_learn_backend.settings import load_settings
from active_learn_backend.state.verification import open_sample
from harness import PATIENCE, Harness

KINDS = {
    "apple": "apple tart with cinnamon, warm from the oven, a slice for every child at the table",
    "pear": "pear sorbet on crushed ice, mint leaves around it, served when nights were long",
}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="apple"/><Choice value="pear"/></Choices></View>'
)
COUNT, FIRST = 110, 33


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 12, "reserve": 12, "retrain_every": 6, "audit": 0.25}


def truth(task: dict[str, Any]) -> list[dict[str, Any]]:
    return choice(task["data"]["text"].split()[0], "label", "text")


def test_three_people_verify_a_sample_and_the_rest_is_written_and_taken_back(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    make_user: Callable[[], User],
    tmp_path: Path,
) -> None:
    body = {"title": "Verified", "label_config": CONFIG}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    texts = [{"text": f"{text} {n}"} for n in range(COUNT // 2) for text in KINDS.values()]
    label_studio.api("POST", f"/api/projects/{project}/import", texts)
    harness.connect(project)
    people = [make_annotator(project, truth, make_user()) for _ in range(3)]
    for person in people:
        assert len(list(person.label(FIRST // 3))) == FIRST // 3
    wait_until(
        lambda: harness.rounds(project)[-1].labeled >= FIRST - 5, timeout=PATIENCE, what="a head"
    )
    harness.wait_annotated(project)  # else the sample may hold what was labeled just now

    def label(*options: str) -> str:
        return harness.backend.run(
            "label", "--project", str(project), "--accuracy", "0.7", *options
        )

    round_before = int(harness.version(project)[3:])
    said = re.search(r"a verification is begun: (\d+) tasks are served first", label("--verify"))
    assert said is not None
    size = int(said[1])
    settings = load_settings(model_dir=harness.backend.model_dir)
    sample = open_sample(settings, project)
    assert len(sample) == size
    harness.wait_queue(project, after=round_before)
    wait_until(
        lambda: harness.queue(project)[: min(size, 20)] == list(sample)[: min(size, 20)],
        timeout=PATIENCE,
        what="the sample at the head of the queue",
    )
    queued = harness.rows(project, harness.version(project))
    assert all(not row["result"] for row in queued if row["task"] in sample)

    while set(sample) - set(harness.annotated(project)):
        for person in people:
            list(person.label(1))
    harness.wait_annotated(project)
    path = tmp_path / "answers.jsonl"
    done = label("--write", "annotations", "--export", str(path))
    assert "run 1" in done
    assert "tasks are certified to be 70.0% right with 95% confidence" in done
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    listed = harness.api("GET", f"/api/tasks/?project={project}&page_size={COUNT}")["tasks"]
    truths = {task["id"]: task["data"]["text"].split()[0] for task in listed}
    wrong = [one for one in answers if one["labels"]["label"] != truths[one["task"]]]
    assert len(wrong) <= 0.3 * len(answers)
    assert set(harness.annotated(project)) >= {one["task"] for one in answers}
    back = harness.backend.run("unlabel", "--project", str(project), "--run", "1")
    assert f"{len(answers)} annotations" in back
    assert not {one["task"] for one in answers} & set(harness.annotated(project))
