"""Certified sets of answers: exact against enumeration, and right as often as they promise."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn_backend.learning.quality.certification import (
    certify,
    most_wrong,
    plan_sample,
    significance_of_look,
    upper_bound,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

RUNS = 120
NO_SAMPLE = np.empty(0), np.empty(0, dtype=bool)


def worst_probability(n: int, rest: int, allowed: int, accuracy: float) -> float:
    """Enumerate all numbers of wrong answers: how likely does a set pass that breaks the bound?"""
    worst = 0.0
    for total in range(n + rest + 1):
        drawn = np.arange(min(total, n) + 1)
        broken = (drawn <= allowed) & (total - drawn > (1 - accuracy) * rest + 1e-9)
        chances = stats.hypergeom.pmf(drawn, n + rest, total, n)
        worst = max(worst, float(chances[broken].sum()))
    return worst


@given(
    n=st.integers(1, 40),
    rest=st.integers(1, 60),
    accuracy=st.sampled_from([0.6, 0.8, 0.9, 0.95]),
    significance=st.sampled_from([0.3, 0.1, 0.05]),
)
@settings(max_examples=80, deadline=None)
def test_a_sample_may_have_as_many_errors_as_the_bound_allows_and_no_more(
    n: int, rest: int, accuracy: float, significance: float
) -> None:
    allowed = most_wrong(n, rest, accuracy, significance)
    assert -1 <= allowed < n
    if allowed >= 0:
        assert worst_probability(n, rest, allowed, accuracy) <= significance + 1e-9
    if allowed + 1 < min(n, int(2 * (1 - accuracy) * n) + 10):
        assert worst_probability(n, rest, allowed + 1, accuracy) > significance


def test_a_large_pool_needs_the_known_numbers_of_faultless_tasks() -> None:
    for accuracy, needed in ((0.95, 59), (0.98, 149), (0.99, 299)):
        assert most_wrong(needed, 10**7, accuracy, 0.05) == 0
        assert most_wrong(needed - 1, 10**7, accuracy, 0.05) == -1


def test_without_a_sample_or_without_a_rest_nothing_passes() -> None:
    none, wrong = np.empty(0), np.empty(0, dtype=bool)
    assert most_wrong(0, 100, 0.9, 0.05) == -1
    assert most_wrong(100, 0, 0.9, 0.05) == -1
    assert certify(none, wrong, np.full(100, 0.9), 0.9, 0.05) is None
    assert certify(np.full(100, 0.9), np.zeros(100, dtype=bool), none, 0.9, 0.05) is None
    assert plan_sample(none, wrong, none, 0.9, 0.05) is None


@given(wrong=st.integers(0, 10), n=st.integers(10, 60), rest=st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_the_upper_bound_is_the_least_accuracy_that_passes(wrong: int, n: int, rest: int) -> None:
    bound = upper_bound(wrong, n, rest, 0.05)
    assert 0 <= bound <= 1
    if bound < 1:
        assert most_wrong(n, rest, 1 - bound, 0.05) >= min(wrong, int(2 * bound * n) + 9)
    if bound > 0:
        assert most_wrong(n, rest, 1 - bound + 1 / rest, 0.05) < wrong


def test_all_looks_together_use_what_the_confidence_leaves() -> None:
    spent = [significance_of_look(0.95, look) for look in range(1, 2000)]
    assert spent[0] == pytest.approx(0.025)
    assert 0.0499 < sum(spent) < 0.05


@pytest.mark.parametrize("calibration", [0.7, 1.0, 1.5], ids=["under-", "well", "over-confident"])
def test_the_bound_is_broken_no_more_often_than_promised(calibration: float) -> None:
    random = np.random.default_rng(5)
    broken, granted = 0, 0.0
    for _ in range(RUNS):
        scores = random.beta(6, 0.5, 1500)
        wrong = random.random(1500) < np.minimum((1 - scores) * calibration, 1)
        found = certify(scores[:300], wrong[:300], scores[300:], 0.95, 0.05)
        if found is None:
            continue
        chosen = scores[300:] >= found.threshold
        assert (found.tasks, found.wrong) == (
            chosen.sum(), wrong[:300][scores[:300] >= found.threshold].sum()
        )  # fmt: skip
        granted += chosen.mean() / RUNS
        broken += wrong[300:][chosen].mean() > 0.05
    assert stats.binom.sf(broken - 1, RUNS, 0.05) > 0.01
    assert granted > 0.2


def test_the_planned_sample_passes_if_the_scores_are_right() -> None:
    random = np.random.default_rng(6)
    scores = random.beta(6, 0.3, 4000)
    plan = plan_sample(*NO_SAMPLE, scores, 0.95, 0.05)
    assert plan is not None
    assert plan.tasks == (scores >= plan.threshold).sum()
    inside = np.flatnonzero(scores >= plan.threshold)
    passed = [
        (random.random(plan.sample) > scores[random.choice(inside, plan.sample, replace=False)])
        .sum() <= plan.most_wrong
        for _ in range(400)
    ]  # fmt: skip
    assert np.mean(passed) > 0.85


def test_no_sample_is_planned_where_the_scores_are_too_low() -> None:
    scores = np.full(1000, 0.9)
    assert plan_sample(*NO_SAMPLE, scores, 0.95, 0.05) is None
    # Audit labels that are all right say that the scores are too low.
    right = np.full(60, 0.9), np.zeros(60, dtype=bool)
    assert plan_sample(*right, scores, 0.95, 0.05) is not None
