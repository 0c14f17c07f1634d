"""Estimates of quality: do they tell the truth as often as they say?"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from active_learn.errors import DataError
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality.cross_validation import cross_validate
from active_learn_backend.learning.quality.evaluation import (
    audit_estimate,
    evaluate,
    importance_weighted_estimate,
)
from active_learn_backend.learning.quality.intervals import (
    binomial_interval,
    hypergeometric_interval,
)
from active_learn_backend.state.round_report import ControlReport, RoundReport
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

OFFERED = ("a", "b", "c")
ESTIMATES = ("audit", "importance_weighted", "cross_validation")
REPEATS = 600
NOISE = 3 * np.sqrt(0.05 * 0.95 / REPEATS)  # of a coverage measured by so many repetitions


def coverage(problem_type: Any, draw: Any, truth: float, n: int, population: Any = None) -> float:
    """Share of audits of size n whose interval holds the true mean loss."""
    rng, hits = np.random.default_rng(n), 0
    for _ in range(REPEATS):
        found = audit_estimate(problem_type, draw(rng, n), population)
        assert found is not None
        value = truth if problem_type == "regression" else 1 - truth
        hits += found.low - 1e-9 <= value <= found.high + 1e-9
    return hits / REPEATS


# -- the audit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [5, 30, 100])
@pytest.mark.parametrize("wrong", [0.5, 0.2, 0.05, 0.01])
def test_an_audit_of_accuracy_covers_the_truth(n: int, wrong: float) -> None:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return (rng.random(n) < wrong).astype(float)

    assert coverage("classification", draw, wrong, n) >= 0.95 - NOISE


@pytest.mark.parametrize("n", [20, 150, 195])
def test_a_drawn_share_of_few_tasks_covers_their_accuracy_and_not_much_more(n: int) -> None:
    tasks = np.repeat([0.0, 1.0], [170, 30])

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.permutation(tasks)[:n]

    assert coverage("classification", draw, 0.15, n, population=200) >= 0.95 - NOISE
    few = audit_estimate("classification", tasks[::-1][:n].copy(), 200)
    many = audit_estimate("classification", tasks[::-1][:n].copy())
    assert few is not None
    assert many is not None
    assert few.high - few.low < many.high - many.low
    assert 200 * few.low == pytest.approx(round(200 * few.low))


def test_all_tasks_audited_leave_no_doubt() -> None:
    found = audit_estimate("classification", np.array([0.0, 1, 0, 0]), 4)
    assert found is not None
    assert (found.low, found.value, found.high) == (0.75, 0.75, 0.75)


@settings(max_examples=200)
@example(n=1, wrong=0, more=119)  # a tie
@given(n=st.integers(1, 40), wrong=st.integers(0, 40), more=st.integers(0, 200))
def test_the_exact_intervals_are_those_of_their_definition(n: int, wrong: int, more: int) -> None:
    wrong, population = min(wrong, n), n + more
    low, high = binomial_interval(wrong, n)
    assert low == 0 or stats.binom.sf(wrong - 1, n, low) == pytest.approx(0.025, abs=1e-6)
    assert high == 1 or stats.binom.cdf(wrong, n, high) == pytest.approx(0.025, abs=1e-6)
    totals = np.arange(wrong, population - (n - wrong) + 1)
    tail = 0.025 - 1e-10  # ties are in
    likely = totals[
        (stats.hypergeom.sf(wrong - 1, population, totals, n) >= tail)
        & (stats.hypergeom.cdf(wrong, population, totals, n) >= tail)
    ]
    assert hypergeometric_interval(wrong, n, population) == (
        likely.min() / population,
        likely.max() / population,
    )


@pytest.mark.parametrize("n", [5, 30, 100])
@pytest.mark.parametrize("kind", ["even", "bursts", "all the same"])
def test_an_audit_of_labels_covers_the_truth(n: int, kind: str) -> None:
    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        if kind == "even":
            return rng.binomial(20, 0.05, n) / 20
        if kind == "bursts":
            return np.where(rng.random(n) < 0.05, rng.random(n), rng.binomial(20, 0.01, n) / 20)
        return np.full(n, 0.05)

    truth = {"even": 0.05, "bursts": 0.05 * 0.5 + 0.95 * 0.01, "all the same": 0.05}[kind]
    assert coverage("multilabel", draw, truth, n) >= 0.95 - NOISE


@pytest.mark.parametrize(("n", "least"), [(2, 0.93), (5, 0.91), (10, 0.91), (100, 0.93)])
def test_an_audit_of_errors_nearly_covers_the_truth(n: int, least: float) -> None:
    """Absolute errors are skewed: with few labels a little is missing, as the docs say."""

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return np.abs(rng.normal(size=n))

    assert coverage("regression", draw, np.sqrt(2 / np.pi), n) >= least - NOISE / 2


def test_too_few_labels_are_no_estimate() -> None:
    assert audit_estimate("classification", np.array([])) is None
    assert audit_estimate("regression", np.array([0.3])) is None
    assert audit_estimate("multilabel", np.array([])) is None
    one = audit_estimate("multilabel", np.array([0.0]))
    assert one is not None
    assert (one.low, one.value, one.high) == (pytest.approx(0.025), 1.0, 1.0)


@pytest.mark.parametrize("losses", [[np.nan], [np.inf], [-0.5]])
def test_losses_that_make_no_sense_are_refused(losses: list[float]) -> None:
    with pytest.raises(DataError):
        audit_estimate("regression", np.array(losses * 3))
    with pytest.raises(DataError):
        importance_weighted_estimate("regression", np.array(losses), np.array([0.1]), 10)


def test_more_audit_labels_than_tasks_are_refused() -> None:
    with pytest.raises(DataError, match="pass the number of all tasks"):
        audit_estimate("classification", np.zeros(5), 4)


# -- cross-validation and all together ----------------------------------------------------------


def blobs(n: int, noise: float = 1.0, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    places = rng.integers(0, 3, n)
    centers = np.random.default_rng(99).normal(size=(3, 8))
    rows = centers[places] + noise * rng.normal(size=(n, 8))
    return rows.astype(np.float32), [OFFERED[place] for place in places]


def trained(rows: np.ndarray, labels: list[Any]) -> TrainedHead:
    head = fit_head("classification", OFFERED, rows, labels, round=1)
    assert head is not None
    return head


def train_losses(head: TrainedHead, rows: np.ndarray, labels: list[Any]) -> np.ndarray:
    found = cross_validate(head, rows, labels)
    assert found is not None
    return found.losses


def test_held_out_losses_are_those_of_new_tasks_and_not_of_learned_ones() -> None:
    rows, labels = blobs(150, noise=2.0)
    new, truth = blobs(4000, noise=2.0, seed=1)
    head = trained(rows, labels)
    held_out = cross_validate(head, rows, labels)
    assert held_out is not None
    losses = held_out.losses
    assert losses.mean() == pytest.approx(head.losses(new, truth).mean(), abs=0.07)
    assert losses.mean() > head.losses(rows, labels).mean() + 0.02


def test_labels_drawn_at_random_are_guessed_no_better_than_by_chance() -> None:
    """No row may have seen itself: with 300 features any head repeats what it has seen."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(120, 300)).astype(np.float32)
    labels = [OFFERED[place] for place in rng.integers(0, 3, 120)]
    head = trained(rows, labels)
    assert head.losses(rows, labels).mean() < 0.15
    held_out = cross_validate(head, rows, labels)
    assert held_out is not None
    losses = held_out.losses
    assert losses.mean() > 0.5


def test_the_cost_is_bounded_and_every_label_gets_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, labels = blobs(300)
    head = trained(rows, labels)
    monkeypatch.setattr(
        "active_learn_backend.learning.quality.cross_validation.MOST_TRAINED_ON", 50
    )
    seen: list[int] = []
    refit = TrainedHead.refit

    def count(self: TrainedHead, embeddings: Any, labels: Any) -> Any:
        seen.append(len(labels))
        return refit(self, embeddings, labels)

    monkeypatch.setattr(TrainedHead, "refit", count)
    held_out = cross_validate(head, rows, labels)
    assert held_out is not None
    losses = held_out.losses
    assert losses.shape == (300,)
    assert np.isfinite(losses).all()
    assert len(seen) == 5
    assert sum(seen) == 4 * 50


def test_folds_that_leave_nothing_to_tell_apart_are_no_estimate() -> None:
    rows, _ = blobs(6)
    head = trained(rows, ["a", "b", "a", "a", "a", "a"])
    assert cross_validate(head, rows, ["a", "b", "a", "a", "a", "a"]) is None
    assert cross_validate(head, rows[:3], ["a", "b", "a"]) is None


def test_a_round_is_told_in_three_ways_that_json_can_hold() -> None:
    rows, labels = blobs(200, noise=1.5)
    head = trained(rows[:100], labels[:100])
    left = 2000 - np.arange(150)
    probabilities = np.concatenate([0.9 + 0.1 / left[:100], 0.1 / left[100:]])
    probabilities[:10] = np.nan
    order = np.random.default_rng(0).permutation(150)
    told = evaluate(
        head,
        train_losses(head, rows[:100], labels[:100]),
        head.losses(rows[100:150], labels[100:150]),
        selection_probabilities=probabilities,
        order=order,
        n_tasks=2000,
    )
    report = RoundReport(1, 150, controls=(ControlReport("c", 150, 50, told),), finished_at=1.0)
    text = json.dumps(report.to_json())
    assert RoundReport.from_json(text, round=1, finished_at=1.0) == report
    estimates = {name: getattr(told, name) for name in ESTIMATES}
    counts = {name: estimate and estimate.n for name, estimate in estimates.items()}
    assert counts == {"audit": 50, "importance_weighted": 140, "cross_validation": 100}
    for name, estimate in estimates.items():
        assert estimate is not None
        assert estimate.name == name
        assert estimate.metric == "accuracy"
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


@pytest.mark.parametrize("problem_type", ["multilabel", "regression"])
def test_a_round_of_any_problem_type_is_told(problem_type: Any) -> None:
    rows, names = blobs(80)
    labels: list[Any] = [[name] for name in names]
    if problem_type == "regression":
        labels = [float(OFFERED.index(name)) for name in names]
    offered = OFFERED if problem_type == "multilabel" else ()
    head = fit_head(problem_type, offered, rows[:50], labels[:50], round=1)
    assert head is not None
    told = evaluate(
        head, train_losses(head, rows[:50], labels[:50]), head.losses(rows[50:], labels[50:]),
        selection_probabilities=1 / (5000.0 - np.arange(80)), order=np.arange(80), n_tasks=5000,
    )  # fmt: skip
    metric = {"multilabel": "label accuracy", "regression": "mean absolute error"}[problem_type]
    for estimate in (getattr(told, name) for name in ESTIMATES):
        assert estimate is not None
        assert estimate.metric == metric
        assert estimate.low < estimate.value < estimate.high


def test_without_an_audit_or_far_on_there_is_no_weighted_estimate() -> None:
    rows, labels = blobs(60)
    head = trained(rows, labels)
    losses = train_losses(head, rows, labels)
    options: dict[str, Any] = {"selection_probabilities": np.full(60, 0.9), "order": np.arange(60)}
    told = evaluate(head, losses, np.empty(0), n_tasks=1000, **options)
    assert (told.audit, told.importance_weighted) == (None, None)
    assert told.cross_validation is not None
    options["selection_probabilities"] = 1 / (100.0 - np.arange(60))
    told = evaluate(head, losses, np.empty(0), n_tasks=100, **options)
    assert told.importance_weighted is None


def test_a_head_of_fewer_classes_than_are_labeled_now_is_cross_validated() -> None:
    """A person went back to it; the class that it does not know has no column."""
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    rows[np.arange(30), np.arange(30) % 3] += 4
    labels = ["abc"[n % 3] for n in range(30)]
    known = [n for n in range(30) if labels[n] != "c"]
    head = fit_head("classification", list("abc"), rows[known], [labels[n] for n in known], round=1)
    assert head is not None
    found = cross_validate(head, rows, labels)
    assert found is not None
    assert found.outputs.shape == (30, 2)
    assert (found.outputs.sum(axis=1) < 1).all()  # the rest is what other heads give to c
    assert found.outputs[0::3, 0].min() > 0.5
    assert found.outputs[2::3].max() < 0.5
