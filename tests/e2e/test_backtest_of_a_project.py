"""Backtest, advice and label errors on a real Label Studio."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.digits import Digits, digit_index
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from harness import Harness

WRONG = 5  # of the labels, planted


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 20, "reserve": 10, "retrain_every": 20, "audit": 0}


def test_a_labeled_project_is_replayed_advised_on_and_checked(
    harness: Harness,
    make_digits_project: Callable[..., int],
    digit_images: Digits,
    label_studio: LabelStudioServer,
    tmp_path: Path,
) -> None:
    project = make_digits_project(260)
    tasks = label_studio.api("GET", f"/api/tasks?project={project}&page_size=260")["tasks"][:240]
    planted = {task["id"] for task in tasks[:: len(tasks) // WRONG][:WRONG]}
    for task in tasks:
        truth = digit_images.truth[digit_index(task)]
        given = str((int(truth) + 5) % 10) if task["id"] in planted else truth
        body = {"result": choice(given)}
        label_studio.api("POST", f"/api/tasks/{task['id']}/annotations/", body)

    # Not connected yet: the backtest reads the project itself.
    told = harness.backend.run(
        "backtest", "--project", str(project), "--strategies", "margin", "--quick",
        "--output", str(tmp_path),
    )  # fmt: skip
    assert "| margin |" in told
    assert "240 labels, 3 seeds" in told
    with (tmp_path / "backtest.csv").open(newline="") as file:
        assert {row["strategy"] for row in csv.DictReader(file)} == {"margin", "random"}

    harness.connect(project)
    wait_until(lambda: harness.rounds(project), timeout=90, what="the first round")
    report = harness.rounds(project)[-1]
    assert report.labeled == 240
    found = report.of(None)
    assert found.stability is not None
    assert found.stability.trained == 240
    assert report.strategy is not None
    assert report.strategy.labels == 240  # enough to compare strategies
    assert report.strategy.reason
    listed = found.label_errors[:10]
    assert len(planted & {error.task_id for error in listed}) >= WRONG - 1
    assert "advice: go on labeling" in harness.backend.run("advise", "--project", str(project))
