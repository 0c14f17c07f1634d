"""The head that replays train is the one that rounds train on the same labels."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn.errors import DataError
from active_learn.evaluation.replay import Candidate, replay
from active_learn.evaluation.replayed_head import ReplayedHead
from active_learn.heads import HeadConfig, fit_head
from active_learn.heads.folds import folds
from replays import NAMES, FirstInPool, blobs, small_digits


@pytest.fixture(autouse=True)
def _forget_calls():
    FirstInPool.calls = []


def chain_of_rounds(problem_type, offered, X, labels, counts, **options):
    """Train heads as rounds do: on more and more labels, each from the former head."""
    head = None
    for number, count in enumerate(counts, start=1):
        trained = fit_head(
            problem_type, offered, X[:count], labels[:count], round=number, former=head, **options
        )
        head = head if trained is None else trained
    return head


class TestReplayedHead:
    """Strategies are judged on the heads that rounds train."""

    def test_it_is_the_head_that_rounds_train_on_the_same_labels(self):
        X, digits = small_digits(400)
        replayed = ReplayedHead(digits, X.shape[1], "classification")
        for count in (30, 34, 90, 100):
            replayed.fit(X[:count], digits[:count])
        offered = tuple(str(digit) for digit in range(10))
        names = [str(digit) for digit in digits]
        head = chain_of_rounds("classification", offered, X, names, (30, 34, 90, 100))
        (own,) = replayed.heads
        assert own.metadata == head.metadata
        np.testing.assert_array_equal(own.weight, head.weight)
        assert own.predict(X) == head.predict(X)
        model = head.sampler_model()
        np.testing.assert_array_equal(replayed.sampler_model().weight, model.weight)
        np.testing.assert_array_equal(replayed.sampler_model().bias, model.bias)
        share_right = 1 - head.losses(X[100:], names[100:]).mean()
        assert replayed.score(X[100:], digits[100:]) == pytest.approx(share_right)

    def test_each_step_of_a_replay_trains_from_the_former_head(self):
        X, digits = small_digits(300)
        (split,) = folds(digits, 4, [0])[:1]
        curves = replay(FirstInPool, X, digits, [Candidate("x")], [split], batch=15, rounds=6)
        order = np.random.default_rng(0).permutation(split[0])
        names = [str(digit) for digit in digits[order]]
        truth = [str(digit) for digit in digits[split[1]]]
        offered = tuple(str(digit) for digit in range(10))
        for step, count in enumerate(curves.labels):
            counts = curves.labels[: step + 1]
            head = chain_of_rounds("classification", offered, X[order], names, counts)
            share_right = 1 - head.losses(X[split[1]], truth).mean()
            assert curves.scores["x"][0, step] == pytest.approx(share_right)
            assert count == counts[-1]

    def test_a_config_offers_labels_in_its_order_and_weighs_classes(self):
        X, y = blobs(60)
        keep = np.flatnonzero((y > 0) | (np.arange(60) < 15))
        X, names = X[keep], np.array(NAMES)[y[keep]]
        offered = ("cat", "dog", "ant", "bee")
        config = HeadConfig(labels_offered=offered, class_weight="balanced")
        replayed = ReplayedHead(names, X.shape[1], "classification", config)
        assert replayed.sampler_model().weight.shape[0] == 4
        replayed.fit(X, names)
        head = chain_of_rounds(
            "classification", offered, X, names.tolist(), (len(X),), class_weight="balanced"
        )
        assert replayed.heads[0].classes == ("cat", "ant", "bee")
        np.testing.assert_array_equal(replayed.heads[0].weight, head.weight)

    def test_labels_that_the_config_does_not_offer_are_refused(self):
        _, y = blobs()
        config = HeadConfig(labels_offered=("0", "1"))
        with pytest.raises(DataError, match="does not offer"):
            ReplayedHead(y, 5, "classification", config)
        with pytest.raises(DataError, match="3 columns, but the config of the heads offers 2"):
            ReplayedHead(np.zeros((4, 3)), 5, "multilabel", config)

    def test_it_does_not_depend_on_the_scale_of_the_embeddings(self):
        X, y = blobs()
        small, large = (ReplayedHead(y, X.shape[1], "classification") for _ in range(2))
        small.fit(X * 1e-4, y)
        large.fit(X, y)
        np.testing.assert_allclose(
            small.sampler_model().weight * 1e-4,
            large.sampler_model().weight,
            rtol=1e-2,
            atol=1e-3,
        )

    @pytest.mark.parametrize("n_classes", [2, 3])
    def test_it_knows_the_classes_that_were_seen(self, n_classes):
        X, y = blobs(n_classes=n_classes)
        names = np.array(NAMES)[y]
        head = ReplayedHead(np.array([*NAMES, "dog"]), X.shape[1], "classification")
        head.fit(X, names)
        assert head.sampler_model().weight.shape[0] == len(head.heads[0].classes) == n_classes
        assert head.score(X, names) > 0.9
        assert head.score(X, np.full(len(X), "dog")) == 0

    def test_one_class_so_far_is_the_answer_and_strategies_read_an_untrained_head(self):
        X, y = blobs()
        head = ReplayedHead(y, X.shape[1], "classification")
        head.fit(X[:4], np.ones(4, dtype=int))
        assert not head.heads
        assert head.score(X, y) == pytest.approx(1 / 3)
        assert head.sampler_model().weight.shape == (3, 5)
        assert not head.sampler_model().weight.any()
        head.fit(X, y)
        assert head.score(X, y) > 0.9
        head.reset()
        assert not head.sampler_model().weight.any()

    def test_one_set_of_labels_so_far_is_the_answer(self):
        X, _ = blobs()
        y = np.tile([1.0, 0.0, 0.0], (len(X), 1))
        head = ReplayedHead(y, X.shape[1], "multilabel")
        head.fit(X[:5], y[:5])
        assert head.score(X, y) == 1
        assert head.score(X, 1 - y) == 0

    def test_one_number_so_far_is_the_answer(self):
        X, _ = blobs()
        head = ReplayedHead(X[:, :2], X.shape[1], "regression")
        head.fit(X[:1], X[:1, :2])
        truth = X[:, :2].astype(np.float64)
        residual = np.square(truth - truth[0]).sum()
        spread = np.square(truth - truth.mean(axis=0)).sum()
        assert head.score(X, truth) == pytest.approx(1 - residual / spread)
        assert head.sampler_model().weight.shape == (2, 5)

    def test_a_label_that_nobody_has_or_all_have(self):
        X, _ = blobs()
        y = np.stack([np.zeros(len(X)), np.ones(len(X)), X[:, 0] > 0], axis=1)
        head = ReplayedHead(y, X.shape[1], "multilabel")
        head.fit(X, y)
        assert head.score(X, y) > 0.95

    def test_multilabel_answers_are_those_of_the_rounds_head(self):
        X, _ = blobs()
        y = (X[:, :3] > np.array([0.0, 1.0, -1.0])).astype(np.float64)
        head = ReplayedHead(y, X.shape[1], "multilabel")
        head.fit(X[:40], y[:40])
        sets = [[str(at) for at in np.flatnonzero(row)] for row in y]
        own = chain_of_rounds("multilabel", ("0", "1", "2"), X, sets, (40,))
        answers = [set(answer.label) for answer in own.predict(X)]
        both = sum(len(answer & set(truth)) for answer, truth in zip(answers, sets, strict=True))
        n_set = sum(map(len, answers)) + sum(map(len, sets))
        assert head.score(X, y) == pytest.approx(2 * both / n_set)

    def test_several_outputs_are_one_ridge_head_each(self):
        X, _ = blobs()
        y = np.stack([X[:, 0] + X[:, 1], X[:, 2] ** 2], axis=1).astype(np.float64)
        head = ReplayedHead(y, X.shape[1], "regression")
        for count in (20, 60):
            head.fit(X[:count], y[:count])
        alone = [chain_of_rounds("regression", (), X, column, (20, 60)) for column in y.T]
        assert [one.cosines is None for one in alone] == [True, False]  # the second is bent
        stacked = np.concatenate([one.sampler_model()(X).logits for one in alone], axis=1)
        np.testing.assert_array_equal(head.sampler_model()(X).logits, stacked)
        predicted = np.array([[answer.label for answer in one.predict(X)] for one in alone]).T
        residual = np.square(y - predicted).sum()
        spread = np.square(y - y.mean(axis=0)).sum()
        assert head.score(X, y) == pytest.approx(1 - residual / spread)

    def test_answers_stay_within_the_bounds_of_the_config(self):
        X, _ = blobs()
        y = np.clip(X[:, 0], 0, 1).astype(np.float64)
        config = HeadConfig(labels_offered=(), bounds=(0.0, 1.0))
        free, bounded = (ReplayedHead(y, X.shape[1], "regression", one) for one in (None, config))
        free.fit(X, y)
        bounded.fit(X, y)
        assert bounded.score(X, y) > free.score(X, y)

    def test_constant_embeddings(self):
        y = np.array([0, 1, 1, 1])
        head = ReplayedHead(y, 3, "classification")
        head.fit(np.zeros((4, 3)), y)
        assert head.score(np.zeros((4, 3)), y) == 0.75
