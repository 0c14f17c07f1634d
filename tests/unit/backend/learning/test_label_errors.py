"""Label errors: what is planted is found, what is right is left alone."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality.cross_validation import HeldOut, cross_validate
from active_learn_backend.learning.quality.label_errors import (
    contradicted,
    find_label_errors,
    unchanged_errors,
)
from active_learn_backend.state.round_report import ControlReport, LabelError, RoundReport
from hypothesis import given, settings
from hypothesis import strategies as st

OFFERED = ("a", "b", "c")


def blobs(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 3, n)
    centers = 3 * np.random.default_rng(99).normal(size=(3, 8))
    return (centers[places] + rng.normal(size=(n, 8))).astype(np.float32), places


def found_in(problem_type: Any, rows: np.ndarray, labels: list[Any]) -> list[LabelError]:
    offered = () if problem_type == "regression" else OFFERED
    head = fit_head(problem_type, offered, rows, labels, round=1)
    assert head is not None
    held_out = cross_validate(head, rows, labels)
    assert held_out is not None
    errors = find_label_errors(head, held_out, labels, list(range(1000, 1000 + len(labels))))
    report = RoundReport(
        1, len(labels), controls=(ControlReport("c", label_errors=tuple(errors)),), finished_at=1.0
    )
    text = json.dumps(report.to_json())
    assert RoundReport.from_json(text, round=1, finished_at=1.0) == report
    return errors


def test_wrong_classes_are_found_with_the_right_one() -> None:
    rows, places = blobs(300)
    labels = [OFFERED[place] for place in places]
    flipped = [7, 50, 123, 200, 299]
    for at in flipped:
        labels[at] = OFFERED[(places[at] + 1) % 3]
    errors = found_in("classification", rows, labels)
    assert {error.task_id for error in errors} == {1000 + at for at in flipped}
    for error in errors:
        at = error.task_id - 1000
        assert error.label == labels[at]
        assert error.suggested == OFFERED[places[at]]
        assert 0.5 < error.confidence <= 1


def test_wrong_bits_of_a_set_are_found() -> None:
    rows, places = blobs(300)
    labels: list[Any] = [[OFFERED[place]] for place in places]
    labels[10] = ["a", "b", "c"]
    labels[20] = [OFFERED[(places[20] + 1) % 3]]
    errors = {error.task_id: error for error in found_in("multilabel", rows, labels)}
    assert set(errors) == {1010, 1020}
    assert errors[1010].suggested == [OFFERED[places[10]]]
    assert errors[1020].suggested == [OFFERED[places[20]]]


def test_numbers_far_off_are_found() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 8)).astype(np.float32)
    labels = [float(value) for value in rows @ np.arange(8) + 0.1 * rng.normal(size=200)]
    labels[5] += 40.0
    errors = found_in("regression", rows, labels)
    assert errors[0].task_id == 1005
    assert errors[0].suggested == pytest.approx(labels[5] - 40, abs=3)
    assert errors[0].confidence is None
    assert len(errors) <= 4  # of 199 normal residuals, 0.05 % lie beyond 3.5 sigmas


def test_the_confident_joint_is_that_of_its_definition() -> None:
    shares = np.array([[0.9, 0.1], [0.7, 0.3], [0.8, 0.2], [0.35, 0.65], [0.4, 0.6]])
    wrong, suggested, margin = contradicted(shares, np.array([0, 0, 1, 1, 1]))
    # Thresholds: 0.8 for class 0, (0.2 + 0.65 + 0.6) / 3 = 0.483 for class 1.
    assert suggested.tolist() == [0, 0, 0, 1, 1]
    assert wrong.tolist() == [False, False, True, False, False]
    assert margin[2] == pytest.approx(0.6)


@settings(max_examples=50)
@given(n=st.integers(2, 60), n_classes=st.integers(2, 6), seed=st.integers(0, 1000))
def test_what_is_suggested_is_likelier_than_what_is_given(
    n: int, n_classes: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.ones(n_classes), n)
    given_ = rng.integers(0, n_classes, n)
    wrong, suggested, margin = contradicted(shares, given_)
    assert not wrong[shares.argmax(axis=1) == given_].any()
    assert (margin[wrong] > 0).all()
    assert (suggested[wrong] != given_[wrong]).all()


def test_few_labels_and_withdrawn_ones_are_not_judged() -> None:
    rows, places = blobs(120)
    labels = [OFFERED[place] for place in places]
    labels[3] = OFFERED[(places[3] + 1) % 3]
    assert found_in("classification", rows[:40], labels[:40]) == []
    head = fit_head("classification", OFFERED, rows, labels, round=1)
    assert isinstance(head, TrainedHead)
    held_out = cross_validate(head, rows, labels)
    assert isinstance(held_out, HeldOut)
    gone = ["z" if at == 9 else label for at, label in enumerate(labels)]  # offered no more
    assert [e.task_id for e in find_label_errors(head, held_out, gone, range(120))] == [3]


def test_at_most_fifty_are_listed_the_surest_first() -> None:
    rows, places = blobs(600)
    labels = [OFFERED[place] for place in places]
    for at in range(0, 600, 8):
        labels[at] = OFFERED[(places[at] + 1) % 3]
    errors = found_in("classification", rows, labels)
    assert len(errors) == 50
    assert {(error.task_id - 1000) % 8 for error in errors} == {0}


def test_a_corrected_label_leaves_the_list() -> None:
    found = [
        LabelError(1, "a", "b", 0.9),
        LabelError(2, "a", "b", 0.8),
        LabelError(3, "a", "b", 0.7),
    ]
    assert unchanged_errors(found, {1: "b", 2: "a"}) == [found[1]]
