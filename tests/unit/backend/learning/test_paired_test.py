"""Whether a model is worse than another one: exact numbers at few tasks, and chance at many."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn_backend.learning.quality.paired_test import LEVEL, p_worse


def losses(worse: int, better: int, same: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return the losses of two models, of which the first fails alone on `worse` tasks."""
    new = np.repeat([1.0, 0.0, 1.0], [worse, better, same])
    former = np.repeat([0.0, 1.0, 1.0], [worse, better, same])
    return new, former


@pytest.mark.parametrize(
    ("worse", "better", "expected"),
    [(0, 0, 1.0), (1, 0, 1 / 2), (2, 0, 1 / 4), (3, 0, 1 / 8), (4, 1, 6 / 32), (3, 3, 42 / 64),
     (0, 4, 1.0), (5, 0, 1 / 32)],
)  # fmt: skip
def test_few_right_or_wrong_answers_are_counted_exactly(
    worse: int, better: int, expected: float
) -> None:
    assert p_worse(*losses(worse, better)) == pytest.approx(expected)
    assert (p_worse(*losses(worse, better)) < LEVEL) is ((worse, better) == (5, 0))


def test_other_losses_are_compared_by_their_size() -> None:
    rng = np.random.default_rng(0)
    former = rng.exponential(size=200)
    assert p_worse(former + rng.normal(0.5, 0.5, 200), former) < 0.001
    assert p_worse(former + rng.normal(-0.5, 0.5, 200), former) > 0.999
    few = np.array([0.1, 0.2, 0.4])  # only one of the eight choices of signs is as large
    assert p_worse(few, np.zeros(3)) == pytest.approx(1 / 8, abs=0.015)


def test_a_model_that_is_as_good_is_found_worse_as_rarely_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    found = [p_worse(*rng.random((2, 30))) < LEVEL for _ in range(100)]
    assert np.mean(found) < 0.115  # three standard errors above the level
