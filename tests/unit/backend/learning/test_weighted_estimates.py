"""Estimates from labels that were not drawn by chance alone: weights undo the choice."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn.errors import DataError
from active_learn_backend.learning.quality.evaluation import (
    audit_estimate,
    importance_weighted_estimate,
)

# -- importance weights -------------------------------------------------------------------------


def difficult_first(
    rng: np.random.Generator, n_tasks: int, drawn: int, share: float, *, up_front: bool
) -> tuple[np.ndarray, np.ndarray, float]:
    """Losses and probabilities of a queue that mixes chance into picks of the hardest tasks.

    The tasks drawn by chance are drawn when they come, or once, up front, from all tasks.
    Returns the true accuracy too.
    """
    difficulty = rng.beta(0.6, 3, n_tasks)
    losses = (rng.random(n_tasks) < 1.2 * difficulty).astype(float)
    order = np.argsort(-difficulty)
    audit = rng.permutation(n_tasks)[: round(share * n_tasks)]
    in_audit = np.zeros(n_tasks, dtype=bool)
    in_audit[audit] = up_front
    free = np.ones(n_tasks, dtype=bool)
    rows, probabilities = [], []
    for left in range(n_tasks, n_tasks - drawn, -1):
        best = order[(free & ~in_audit)[order].argmax()]
        if rng.random() < share:
            row = audit[free[audit].argmax()] if up_front else rng.choice(np.flatnonzero(free))
        else:
            row = best
        free[row] = False
        rows.append(row)
        probabilities.append((1 - share) * (row == best) + share / left)
    return losses[rows], np.array(probabilities), 1 - losses.mean()


@pytest.mark.parametrize("drawn", [60, 250])
def test_weights_undo_the_choice(drawn: int) -> None:
    """Unbiased within noise, and covered, where the plain mean of the same labels is far off."""
    errors, plain, hits = [], [], 0
    for seed in range(300):
        losses, probabilities, truth = difficult_first(
            np.random.default_rng(seed), 300, drawn, 0.2, up_front=False
        )
        found = importance_weighted_estimate("classification", losses, probabilities, 300)
        assert found is not None
        assert found.n == drawn
        assert found.n_effective <= 2 * drawn
        # The estimator itself, which is cut off at 0 and 1 where it is shown.
        left = 300 - np.arange(drawn)
        weights = 1 + (300 - drawn) / (left - 1) * (1 / (left * probabilities) - 1)
        errors.append(1 - weights @ losses / drawn - truth)
        assert found.value == pytest.approx(np.clip(errors[-1] + truth, 0, 1))
        plain.append(1 - losses.mean() - truth)
        hits += found.low <= truth <= found.high
    noise = np.std(errors) / np.sqrt(len(errors))
    assert abs(np.mean(errors)) < 3 * noise
    assert np.mean(plain) < -4 * noise
    assert np.mean(plain) < -0.03
    assert hits / 300 > 0.91


def test_an_audit_set_drawn_up_front_costs_little_while_few_tasks_are_labeled() -> None:
    """The approximation that `evaluate` makes, up to the share of labels at which it stops."""
    errors, plain, hits = [], [], 0
    for seed in range(300):
        losses, probabilities, truth = difficult_first(
            np.random.default_rng(seed), 1000, 100, 0.1, up_front=True
        )
        found = importance_weighted_estimate("classification", losses, probabilities, 1000)
        if found is None:
            continue
        errors.append(found.value - truth)
        plain.append(1 - losses.mean() - truth)
        hits += found.low <= truth <= found.high
    assert len(errors) > 290
    assert abs(np.mean(errors)) < 0.05
    assert np.mean(plain) < -0.2
    assert hits / len(errors) > 0.9


def test_draws_by_chance_alone_are_the_plain_mean() -> None:
    losses = np.random.default_rng(0).exponential(size=40)
    probabilities = 1 / (500 - np.arange(40))
    found = importance_weighted_estimate("regression", losses, probabilities, 500)
    plain = audit_estimate("regression", losses)
    assert found is not None
    assert plain is not None
    assert found.value == pytest.approx(plain.value)
    assert found.n_effective == pytest.approx(40)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), rel=0.02)


def test_all_tasks_labeled_are_the_plain_mean() -> None:
    losses = np.array([0.0, 1, 1, 0, 0])
    found = importance_weighted_estimate("classification", losses, np.full(5, 0.2), 5)
    assert found is not None
    assert found.value == pytest.approx(0.6)


def test_picks_without_chance_among_them_are_no_estimate() -> None:
    assert importance_weighted_estimate("classification", np.ones(9), np.ones(9), 100) is None


@pytest.mark.parametrize("probabilities", [[0.0, 0.1], [0.1, 1.1], [0.1, np.nan], [0.1]])
def test_selection_probabilities_out_of_range_are_refused(
    probabilities: list[float],
) -> None:
    with pytest.raises(DataError, match="probabilities"):
        importance_weighted_estimate("classification", np.zeros(2), np.array(probabilities), 100)
