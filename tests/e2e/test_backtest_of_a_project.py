"""Backtest, advice and label errors on a real Label Studio."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo import digits
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.digits import Digits
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from harness import Harness

WRONG = 5  # of the labels, planted


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 20, "reserve": 10, "retrain_every": 20, "audit": 0}


def import_labeled(label_studio: LabelStudioServer, digit_images: Digits) -> tuple[int, set[int]]:
    """Return a project of 260 digits, 240 of them labeled, and the ids of those labeled wrong."""
    project = digits.create_project(label_studio, "Labeled digits")
    wrong = range(0, 240, 240 // WRONG)
    tasks: list[dict[str, Any]] = []
    for at, index in enumerate(digit_images.pool[:260].tolist()):
        image = base64.b64encode(digit_images.png[index]).decode()
        truth = int(digit_images.truth[index])
        given = (truth + 5) % 10 if at in wrong else truth
        tasks.append({"data": {"image": f"data:image/png;base64,{image}"}})
        if at < 240:
            tasks[-1]["annotations"] = [{"result": choice(str(given))}]
    made = label_studio.api("POST", f"/api/projects/{project}/import?return_task_ids=true", tasks)[
        "task_ids"
    ]
    return project, {made[at] for at in wrong}


def test_a_labeled_project_is_replayed_advised_on_and_checked(
    harness: Harness,
    digit_images: Digits,
    label_studio: LabelStudioServer,
    tmp_path: Path,
) -> None:
    project, planted = import_labeled(label_studio, digit_images)

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
