"""How much of a pool could be labeled automatically: the plan of a round, and what it promises."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.heads import ControlHeads
from active_learn_backend.learning.quality.automation import (
    automation_history,
    expected_automation,
    plan_automation,
)
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import load_settings
from active_learn_backend.state.round_report import AutomaticShare, Automation, RoundReport
from active_learn_backend.state.store import Project, TaskRow
from sklearn.datasets import load_digits

CONTROL = "digit"
CHOICES = "".join(f'<Choice value="{digit}"/>' for digit in range(10))
TASK = parse_label_config(
    f'<View><Text name="t" value="$t"/><Choices name="{CONTROL}" toName="t">{CHOICES}'
    "</Choices></View>"
)
EMBEDDER: Any = SimpleNamespace(features=lambda _control, vectors: vectors)


def digits_after(n_train: int, n_audit: int) -> tuple[Snapshot, ControlHeads, np.ndarray]:
    """Return a project of digits with some labels, its head, and which answers are right."""
    data = load_digits()
    vectors, truth = (data.data / 16).astype(np.float32), data.target.astype(str)
    rows = [
        TaskRow(
            at, {}, f"{at * 7919:032x}",
            {CONTROL: truth[at]} if at < n_train + n_audit else None, False,
            labeled_at=float(at + 1), served="audit" if at >= n_train else "queue",
        )
        for at in range(len(truth))
    ]  # fmt: skip
    snapshot = Snapshot.take(Project(1, "s", connected_at=0.0), rows, vectors, load_settings())
    head = fit_head(
        "classification", TASK.controls[0].labels, vectors[:n_train], list(truth[:n_train]), round=1
    )
    assert isinstance(head, TrainedHead)
    right = np.array([answer.label for answer in head.predict(vectors)]) == truth
    return snapshot, ControlHeads(TASK, {CONTROL: head}, EMBEDDER), right


def test_what_is_planned_holds_on_the_tasks_that_are_left() -> None:
    snapshot, heads, right = digits_after(300, 40)
    found = plan_automation(snapshot, heads, None)
    assert found is not None
    assert (found.labels, found.unlabeled) == (340, 1797 - 340)
    shares = {one.accuracy: one for one in found.shares}
    assert list(shares) == [0.9, 0.95, 0.98, 0.99]
    tasks = [one.tasks for one in found.shares]
    assert tasks == sorted(tasks, reverse=True)
    assert tasks[0] > 1000
    # The surest answers, as many as are planned to be left to the head, are as right as is said.
    scores = np.array(
        [one.score for one in heads.of(TASK.controls[0]).predict(snapshot.embeddings)]
    )
    surest = np.argsort(-scores[340:])[: shares[0.95].tasks]
    assert right[340:][surest].mean() >= 0.95
    assert 0 < shares[0.95].sample < 400


def test_a_plan_is_kept_until_there_are_more_labels() -> None:
    snapshot, heads, _ = digits_after(300, 40)
    last = RoundReport(1, 339, automation=Automation(339, 1458))
    assert plan_automation(snapshot, heads, last) is last.automation
    old = RoundReport(1, 300, automation=Automation(300, 1497))
    assert plan_automation(snapshot, heads, old) is not old.automation


def test_without_answers_nothing_is_planned() -> None:
    snapshot = digits_after(300, 40)[0]
    assert plan_automation(snapshot, ControlHeads(TASK, {}, EMBEDDER), None) is None


def history(points: Sequence[tuple[int, int]]) -> list[Automation]:
    reports = [
        RoundReport(n, labels, automation=Automation(labels, 1000, (AutomaticShare(0.95, tasks),)))
        for n, (labels, tasks) in enumerate(points)
    ]
    return automation_history([*reports, RoundReport(99, 0)])


def test_what_more_labels_buy_is_the_line_of_the_last_half() -> None:
    """On an exact line the interval is a point."""
    rising = [(100 * 2**n, 300 + 50 * n) for n in range(5)]
    words = expected_automation(history(rising), 0.95)
    assert words == "1,600 more labels: 55 % of the rest at 95 %, if it goes on as it did."
    flat_at_last = [(10, 0), (20, 0), (40, 0), *[(100 * 2**n, 800) for n in range(5)]]
    assert ": 80 % of" in expected_automation(history(flat_at_last), 0.95)


def test_a_forecast_that_may_be_nearly_anything_is_too_early() -> None:
    points = [(225, 0), (270, 500), (315, 240), (360, 350), (405, 570)]
    words = expected_automation(history(points), 0.95)
    assert re.fullmatch(
        r"Too early to tell what more labels would buy at 95 %: 405 more mean \d+ to \d+ % of the "
        r"rest, if it goes on as it did\.",
        words,
    ), words


@pytest.mark.parametrize("points", [[], [(100, 300)], [(100 + n, 300) for n in range(9)]])
def test_too_little_is_known_to_look_ahead(points: list[tuple[int, int]]) -> None:
    words = expected_automation(history(points), 0.95)
    assert words == "Too early to tell what more labels would buy at 95 %."


def test_a_plan_before_the_first_label_is_left_out_of_the_line() -> None:
    """A model of the team's own answers without any label."""
    points = [(100, 20), (200, 20), (400, 20), (800, 20)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        words = expected_automation(history([(0, 20), *points]), 0.95)
    assert words == expected_automation(history(points), 0.95)
