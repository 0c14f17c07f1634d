"""The F1 of regions with its interval, and how much it rose between two heads."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn_backend.learning.quality.region_comparison import count_regions, f1_gain
from active_learn_backend.learning.quality.region_report import f1_estimate
from active_learn_backend.learning.quality.stopping import advise
from active_learn_backend.state.round_report import (
    AuditGain,
    ControlReport,
    HeadAgreement,
    RoundReport,
    Stability,
)

NAME = "entity F1"
Counts = tuple[np.ndarray, np.ndarray]


def drawn(n: int, right: float, seed: int) -> Counts:
    """Counts of n tasks with two regions on average, of which a share is found."""
    draw = np.random.default_rng(seed)
    there = draw.poisson(2, n)
    found = draw.binomial(there, right)
    wrong = draw.poisson(2 * (1 - right), n)
    return 2.0 * found, (there + found + wrong).astype(float)


def test_regions_are_counted_task_by_task() -> None:
    truth = [[[0, 2, "A"], [3, 5, "B"]], [], [[0, 2, "A"]]]
    found = [[[0, 2, "A", 0.9], [3, 5, "A", 0.9]], [[7, 9, "B", 0.8]], []]
    right, both = count_regions(truth, found)
    assert right.tolist() == [2, 0, 0]
    assert both.tolist() == [4, 1, 1]
    estimate = f1_estimate(right, both, NAME)
    assert estimate is not None
    assert (estimate.metric, estimate.value, estimate.n) == (NAME, pytest.approx(2 / 6), 3)


def test_nothing_is_said_of_tasks_without_a_region() -> None:
    assert f1_estimate(np.zeros(5), np.zeros(5), NAME) is None
    assert f1_gain((np.zeros(5), np.zeros(5)), drawn(5, 0.5, 0), step=50) is None
    assert f1_gain(drawn(4, 0.5, 0), drawn(4, 0.5, 0), step=50) is None


def test_few_tasks_without_an_error_promise_little() -> None:
    both = np.full(10, 4.0)
    few = f1_estimate(both, both, NAME)
    many = f1_estimate(np.full(200, 4.0), np.full(200, 4.0), NAME)
    assert few is not None
    assert many is not None
    assert few.value == few.high == 1
    assert few.low < 0.8 < many.low < 1


@pytest.mark.parametrize("n", [10, 50])
def test_the_interval_covers_the_truth(n: int) -> None:
    right, both = drawn(200_000, 0.6, 1)
    truth = right.sum() / both.sum()
    estimates = [f1_estimate(*drawn(n, 0.6, seed), NAME) for seed in range(2, 102)]
    covered = [one is not None and one.low <= truth <= one.high for one in estimates]
    assert np.mean(covered) >= 0.9


def test_a_gain_is_seen_on_the_same_tasks() -> None:
    before, after = drawn(200, 0.4, 3), drawn(200, 0.8, 3)
    gain = f1_gain(before, after, step=60)
    assert gain is not None
    assert 0 < gain.low < gain.gain < gain.high < 1
    assert (gain.n, gain.step) == (200, 60)
    same = f1_gain(after, after, step=60)
    assert same is not None
    assert same.gain == 0
    assert same.low < 0 < same.high


def test_the_advice_speaks_of_f1() -> None:
    gain = AuditGain(gain=0.2, low=0.1, high=0.3, n=40, loss=0.3, step=50)
    stability = Stability(100, HeadAgreement(0.9, 50, 30), gain)
    control = ControlReport("label", 100, 40, stability=stability, regions=True)
    found = advise([RoundReport(1, 140, controls=(control,))])
    assert found[1].says_stop is False
    assert "the F1 rose by 40.0 points per 100 labels" in found[1].words
