"""`active-learn label` on a real Label Studio where spans are labeled: written, and taken back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from harness import PATIENCE, Harness

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="person"/><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]
NAMES = {"Anna Berg": "person", "Bo Dahl": "person", "Oslo": "city", "Turku": "city"}
TEXTS = [
    f"no news \U0001f600 today, {n} mm of rain"
    if n % 8 == 7
    else "\U0001f600 in {} we met {} again, day {}".format(
        ("Oslo", "Turku")[n % 2], ("Anna Berg", "Bo Dahl")[n // 2 % 2], n
    )
    for n in range(110)
]
ANSWERED = 60


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": ANSWERED, "reserve": 0, "retrain_every": ANSWERED, "audit": 0.5}


def spans(text: str) -> list[list[Any]]:
    return sorted(
        [text.index(name), text.index(name) + len(name), label]
        for name, label in NAMES.items()
        if name in text
    )


def test_spans_are_certified_written_and_taken_back(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]], tmp_path: Path
) -> None:
    project, tasks = make_text_project(TEXTS, config=CONFIG)
    harness.connect(project)
    text_of = dict(zip(tasks, TEXTS, strict=True))
    queue = harness.queue(project)
    assert len(queue) == ANSWERED
    for task in queue:
        harness.annotate(task, CONTROL.write(spans(text_of[task])))
    wait_until(lambda: len(harness.labels(project)) == ANSWERED, timeout=PATIENCE, what="labels")
    harness.api("POST", f"/api/ml/{harness.state(project).backend_id}/train")
    wait_until(
        lambda: harness.rounds(project)[-1].labeled == ANSWERED, timeout=PATIENCE, what="a head"
    )
    path = tmp_path / "answers.jsonl"
    said = harness.backend.run(
        "label", "--project", str(project), "--accuracy", "0.75", "--export", str(path),
        "--write", "annotations",
    )  # fmt: skip
    certified = re.search(r"(\d+) tasks \(\d+%\) are certified to be 75.0% right", said)
    assert certified is not None, said
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(answers) == int(certified[1]) > 20
    right = empty = 0
    for one in answers:
        task = harness.api("GET", f"/api/tasks/{one['task']}/")
        (annotation,) = task["annotations"]
        text = text_of[one["task"]]
        assert CONTROL.read(annotation["result"]) == one["labels"]["label"]
        empty += not annotation["result"]
        for item in annotation["result"]:
            value = item["value"]
            assert value["text"] == text[value["start"] : value["end"]]
            assert item["meta"] == {"active_learn": "label-1"}
        right += one["labels"]["label"] == spans(text)
    assert right >= 0.75 * len(answers)
    assert empty > 0
    # A state that knows nothing of the run tells by the parent prediction what it wrote.
    harness.backend.run("disconnect", "--project", str(project))
    harness.connect(project)
    wait_until(lambda: harness.rounds(project), timeout=PATIENCE, what="a round")
    assert len(harness.labels(project)) == ANSWERED

    back = harness.backend.run("unlabel", "--project", str(project), "--run", "1")
    assert f"{len(answers)} annotations" in back
    assert not {one["task"] for one in answers} & set(harness.annotated(project))
