"""Heads of one label and of several labels hold the contract of heads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from active_learn.heads import (
    fit_head,
    hyperparameters,
)
from active_learn.heads.hyperparameters import choose_hyperparameters
from active_learn.heads.logistic import Link, LogisticProblem
from head_contract import OFFERED, HeadContract, blobs
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression


class TestMultinomial(HeadContract):
    problem_type = "classification"

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rows, places = blobs(n, seed=seed)
        return rows, [OFFERED[place] for place in places]

    def nothing_to_tell_apart(self) -> list[Any]:
        return ["red", "red", "red"]

    @pytest.mark.parametrize(("n", "d"), [(20, 40), (90, 12), (40, 12)])
    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_it_is_the_penalized_optimum(self, n: int, d: int, class_weight: Any) -> None:
        """In fewer coordinates than features or not, and weighted, as scikit-learn finds it."""
        rows, places = blobs(n, d)
        keep = np.flatnonzero((places > 0) | (np.arange(n) % 2 == 0))
        rows, labels = rows[keep], [OFFERED[place] for place in places[keep]]
        head = fit_head("classification", OFFERED, rows, labels, round=1, class_weight=class_weight)
        assert head is not None
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        model = LogisticRegression(
            C=head.metadata.hyperparameters.inverse_penalty / spread,
            class_weight=None if class_weight == "none" else "balanced",
            max_iter=5000,
            tol=1e-8,
        ).fit(rows, labels)
        columns = [list(model.classes_).index(name) for name in head.classes]
        logits = (rows @ head.weight.T + head.bias).astype(np.float64)
        expected = model.decision_function(rows)[:, columns]
        centered = [values - values.mean(axis=1, keepdims=True) for values in (logits, expected)]
        np.testing.assert_allclose(*centered, atol=0.03)

    def test_two_classes_are_two_rows(self) -> None:
        rows, labels = self.data(30)
        pair = [at for at, label in enumerate(labels) if label != "blue"]
        head = fit_head("classification", OFFERED, rows[pair], [labels[at] for at in pair], round=1)
        assert head is not None
        assert head.classes == ("red", "green")
        np.testing.assert_allclose(head.weight[0], -head.weight[1], atol=1e-4)

    def test_classes_are_those_seen_as_offered_and_labels_not_offered_are_left_out(self) -> None:
        rows, labels = self.data(30)
        head = fit_head("classification", ("blue", "red"), rows, labels, round=1)
        assert head is not None
        assert head.classes == ("blue", "red")
        kept = [at for at, label in enumerate(labels) if label != "green"]
        alone = fit_head(
            "classification", ("blue", "red"), rows[kept], [labels[at] for at in kept], round=1
        )
        assert alone is not None
        np.testing.assert_array_equal(head.weight, alone.weight)

    def test_classes_may_grow(self) -> None:
        rows, labels = self.data(60)
        pair = [at for at, label in enumerate(labels) if label != "blue"]
        former = fit_head(
            "classification", OFFERED, rows[pair], [labels[at] for at in pair], round=1
        )
        assert former is not None
        grown = fit_head("classification", OFFERED, rows, labels, round=2, former=former)
        assert grown is not None
        assert grown.classes == ("red", "green", "blue")
        assert grown.losses(rows, labels).mean() < 0.2

    def test_losses_are_errors(self) -> None:
        rows, labels = self.data(30)
        head = self.fit(90)
        expected = [
            float(answer.label != label)
            for answer, label in zip(head.predict(rows), labels, strict=True)
        ]
        assert head.losses(rows, labels).tolist() == expected
        assert head.losses(rows, ["never heard of"] * 30).tolist() == [1.0] * 30

    @pytest.mark.parametrize("n", [60, 150, 400])
    def test_calibration_makes_the_score_the_share_of_right_answers(self, n: int) -> None:
        images, truth = load_digits(return_X_y=True)
        order = np.random.default_rng(1).permutation(len(truth))
        images, names = images[order].astype(np.float32), [str(digit) for digit in truth[order]]
        offered = [str(digit) for digit in range(10)]
        head = fit_head("classification", offered, images[:n], names[:n], round=1)
        assert head is not None
        answers = head.predict(images[n:])
        right = 1 - head.losses(images[n:], names[n:])
        after = np.mean([answer.score for answer in answers])
        assert after == pytest.approx(right.mean(), abs=0.06)
        raw = images[n:] @ head.weight.T + head.bias
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
        before = (raw.max(axis=1) / raw.sum(axis=1)).mean()
        assert abs(after - right.mean()) < max(abs(before - right.mean()), 0.02)

    def test_scores_are_probabilities_and_the_temperature_changes_no_answer(self) -> None:
        rows, _ = self.data(60, seed=4)
        head = self.fit()
        answers = head.predict(rows)
        assert all(1 / 3 <= answer.score <= 1 for answer in answers if answer.score is not None)
        raw = (rows @ head.weight.T + head.bias).argmax(axis=1)
        assert [answer.label for answer in answers] == [head.classes[k] for k in raw]

    def test_few_labels_are_left_at_the_defaults(self) -> None:
        assert self.fit(11).metadata.hyperparameters.n_labels == 0
        assert self.fit(12).metadata.hyperparameters.n_labels == 12

    def test_labels_drawn_at_random_make_a_head_that_knows_it(self) -> None:
        """Without anything to learn the score falls to about what guessing gives."""
        rng = np.random.default_rng(0)
        rows = rng.normal(size=(200, 12)).astype(np.float32)
        names = [OFFERED[place] for place in rng.integers(0, 4, 200)]
        head = fit_head("classification", OFFERED, rows[:100], names[:100], round=1)
        assert head is not None
        assert np.mean([answer.score for answer in head.predict(rows[100:])]) < 0.4


class TestOneVsRest(HeadContract):
    problem_type = "multilabel"

    def data(self, n: int, seed: int = 0) -> tuple[np.ndarray, list[Any]]:
        rows, places = blobs(n, seed=seed)
        sets = (["red"], ["red", "green"], [])
        return rows, [sets[place] for place in places]

    def nothing_to_tell_apart(self) -> list[Any]:
        return [["red", "blue"], ["blue", "red"], ["red", "blue"]]

    def test_an_answer_is_the_labels_that_are_more_likely_than_not(self) -> None:
        head, (rows, _) = self.fit(), self.data(40, seed=2)
        shares = head.label_probabilities(rows)
        assert shares.shape == (40, len(OFFERED))
        for answer, row in zip(head.predict(rows), shares, strict=True):
            assert answer.label == [one for one, p in zip(OFFERED, row, strict=True) if p >= 0.5]
            assert answer.score == pytest.approx(np.maximum(row, 1 - row).min())

    @pytest.mark.parametrize("class_weight", ["none", "balanced"])
    def test_each_label_is_its_own_penalized_optimum(self, class_weight: Any) -> None:
        rows, labels = self.data(50)
        head = self.fit(50, class_weight=class_weight)
        spread = np.square(rows - rows.mean(axis=0)).sum(axis=1).mean()
        model = LogisticRegression(
            C=head.metadata.hyperparameters.inverse_penalty / spread,
            class_weight=None if class_weight == "none" else "balanced",
            max_iter=5000,
            tol=1e-8,
        )
        for column, name in enumerate(("red", "green")):
            model.fit(rows, [name in label for label in labels])
            logits = rows @ head.weight[column] + head.bias[column]
            np.testing.assert_allclose(logits, model.decision_function(rows), atol=0.03)

    def test_a_label_that_no_task_has_is_improbable_and_one_that_all_have_is_sure(self) -> None:
        rows, labels = self.data(30)
        head = fit_head(
            "multilabel", OFFERED, rows, [[*label, "blue"] for label in labels], round=1
        )
        assert head is not None
        assert not head.weight[2:].any()
        odds = 1 / (1 + np.exp(-head.bias[2:]))
        np.testing.assert_allclose(odds, [31 / 32, 1 / 32], rtol=1e-4)
        assert all("blue" in answer.label for answer in head.predict(rows))

    def test_answers_are_in_the_order_of_the_config(self) -> None:
        rows, labels = self.data(60)
        head = fit_head("multilabel", ("green", "red"), rows, labels, round=1)
        assert head is not None
        assert ["green", "red"] in [answer.label for answer in head.predict(rows)]

    def test_the_score_is_that_of_the_least_certain_label(self) -> None:
        rows, _ = self.data(20, seed=5)
        head = self.fit()
        odds = 1 / (1 + np.exp(-head.outputs(rows)))
        expected = np.maximum(odds, 1 - odds).min(axis=1)
        np.testing.assert_allclose(
            [answer.score for answer in head.predict(rows)], expected, rtol=1e-5
        )

    def test_losses_are_shares_of_wrong_labels(self) -> None:
        rows, _ = self.data(3)
        head = self.fit(90)
        answers = [answer.label for answer in head.predict(rows)]
        assert answers == [["red"], ["red", "green"], []]
        truth = [["blue"], ["red", "green"], ["green", "not offered"]]
        assert head.losses(rows, truth).tolist() == [0.5, 0.0, 0.25]


def test_overconfidence_does_not_decide_on_the_penalty() -> None:
    """The penalty follows the likelihood at the best temperature, by scikit-learn's logits too."""
    rows, places = blobs(120)
    targets = np.eye(3, dtype=np.float32)[places]
    chosen = choose_hyperparameters(LogisticProblem(rows, targets, "softmax"), 0)
    assert chosen.inverse_penalty in (1.0, 10.0, 100.0)
    flipped = places.copy()
    flipped[::4] = (flipped[::4] + 1) % 3  # a quarter of the labels wrong: shrink more, not less
    noisy = choose_hyperparameters(
        LogisticProblem(rows, np.eye(3, dtype=np.float32)[flipped], "softmax"), 0
    )
    assert noisy.inverse_penalty <= chosen.inverse_penalty
    assert noisy.temperature > chosen.temperature


@pytest.mark.parametrize("link", ["softmax", "sigmoid"])
def test_a_fold_without_the_rare_class_leaves_no_nan(link: Link) -> None:
    """One label of a class among 20: the fold that holds it out is trained on the other alone."""
    rows = np.random.default_rng(3).normal(size=(20, 6)).astype(np.float32)
    targets = np.zeros((20, 2), np.float32)
    targets[:, 0], targets[0] = 1, (0, 1)
    with np.errstate(all="raise"):
        chosen = choose_hyperparameters(LogisticProblem(rows, targets, link), 0)
    assert np.isfinite(chosen.temperature)
    weight, bias = LogisticProblem(rows, targets, link).solve(1.0, rows=np.arange(1, 20))
    assert (weight == 0).all()
    assert bias[0] > bias[1]
    assert np.isfinite(bias[0])


def test_with_enough_rows_held_out_the_other_folds_are_saved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, places = blobs(600)
    problem = LogisticProblem(rows, np.eye(3, dtype=np.float32)[places], "softmax")
    full = choose_hyperparameters(problem, 0)
    trained: list[int] = []
    solve = LogisticProblem.solve

    def counted(self: LogisticProblem, *arguments: Any, **options: Any) -> Any:
        trained.append(len(options["rows"]))
        return solve(self, *arguments, **options)

    monkeypatch.setattr(LogisticProblem, "solve", counted)
    monkeypatch.setattr(hyperparameters, "ENOUGH_ROWS", 200)
    saved = choose_hyperparameters(problem, 0)
    assert trained == [400] * 3
    assert saved.n_labels == 600
    assert saved.temperature == pytest.approx(full.temperature, rel=0.3)
