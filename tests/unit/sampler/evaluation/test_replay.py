"""The replay engine: pairing, curves, what random needs, tuning and its refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler
from active_learn import strategies as strategies_package
from active_learn.errors import DataError, ParameterError
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate, replay
from active_learn.evaluation.replayed_head import ReplayedHead
from active_learn.evaluation.tuning import pick_best, tune
from active_learn.heads import fit_head
from active_learn.heads.folds import folds
from hypothesis import given, settings
from hypothesis import strategies as st
from replays import NAMES, FirstInPool, blobs, small_digits


@pytest.fixture(autouse=True)
def _forget_calls():
    FirstInPool.calls = []


class TestFolds:
    @settings(max_examples=50)
    @given(
        st.lists(st.integers(0, 4), min_size=6, max_size=60), st.integers(2, 5), st.integers(1, 3)
    )
    def test_every_sample_is_held_out_once_a_seed_and_classes_are_spread(self, y, n_folds, n_seeds):
        y = np.array(y)
        splits = folds(y, n_folds, range(n_seeds))
        assert len(splits) == n_folds * n_seeds
        for seed in range(n_seeds):
            tests = [test for _, test in splits[seed * n_folds : (seed + 1) * n_folds]]
            assert sorted(np.concatenate(tests)) == list(range(len(y)))
            for k in np.unique(y):
                counts = [np.sum(y[test] == k) for test in tests]
                assert max(counts) - min(counts) <= 1
        for pool, test in splits:
            assert sorted([*pool, *test]) == list(range(len(y)))

    def test_seeds_differ_and_repeat(self):
        y = np.arange(40) % 4
        first, second = folds(y, 2, [0]), folds(y, 2, [1])
        assert not np.array_equal(first[0][1], second[0][1])
        assert np.array_equal(first[0][1], folds(y, 2, [0])[0][1])

    def test_multilabel_is_dealt_at_random(self):
        splits = folds(np.zeros((10, 3)), 3, [0])
        assert sorted(len(test) for _, test in splits) == [3, 3, 4]


class TestReplay:
    def test_candidates_share_pools_starts_and_seeds(self):
        X, y = blobs()
        candidates = [Candidate("margin"), Candidate("bait", {"ridge": 0.5})]
        replay(FirstInPool, X, y, candidates, folds(y, 3, [0]), batch=10, rounds=2, start=6)
        assert len(FirstInPool.calls) == 3 * 2 * 2
        for replicate in range(3):
            of_margin, _, of_bait, _ = FirstInPool.calls[4 * replicate : 4 * replicate + 4]
            assert (of_margin.strategy, of_bait.strategy) == ("margin", "bait")
            assert of_bait.ridge == 0.5
            np.testing.assert_array_equal(of_margin.pool, of_bait.pool)
            np.testing.assert_array_equal(of_margin.labeled_data, of_bait.labeled_data)
            assert of_margin.random_state == of_bait.random_state
            assert len(of_margin.labeled_data) == 6

    def test_the_pool_shrinks_by_what_was_chosen(self):
        X, y = blobs()
        replay(FirstInPool, X, y, [Candidate("x")], folds(y, 3, [0])[:1], batch=10, rounds=3)
        first, second, third = FirstInPool.calls
        assert first.labeled_data is None
        np.testing.assert_array_equal(second.labeled_data, first.pool[:10])
        np.testing.assert_array_equal(second.pool, first.pool[10:])
        np.testing.assert_array_equal(third.pool, second.pool[10:])
        assert [call.budget for call in FirstInPool.calls] == [10, 10, 10]

    def test_the_score_is_that_of_a_head_on_what_was_chosen(self):
        X, y = blobs()
        (split,) = folds(y, 3, [0])[:1]
        curves = replay(FirstInPool, X, y, [Candidate("x")], [split], batch=15, rounds=2)
        chosen = FirstInPool.calls[-1].labeled_data
        labels = np.array([y[np.flatnonzero((row == X).all(axis=1))[0]] for row in chosen])
        head = fit_head("classification", NAMES, chosen, [NAMES[k] for k in labels], round=1)
        losses = head.losses(X[split[1]], [NAMES[k] for k in y[split[1]]])
        assert curves.scores["x"][0, 0] == pytest.approx(1 - losses.mean())

    def test_the_order_of_the_pool_is_random(self):
        """Or ties would be broken by the order of the file, which often is that of the classes."""
        X, y = blobs()
        order = np.argsort(y, kind="stable")
        X, y = X[order], y[order]
        replay(FirstInPool, X, y, [Candidate("x")], folds(y, 3, [0])[:1], batch=12, rounds=2)
        assert FirstInPool.calls[-1].model.weight.shape[0] == 3

    def test_rounds_end_with_the_pool(self):
        X, y = blobs(60)
        splits = folds(y, 3, [0])
        curves = replay(FirstInPool, X, y, [Candidate("x")], splits, batch=15, rounds=100)
        assert curves.labels.tolist() == [15, 30]

    def test_random_goes_on_to_its_reach(self):
        X, y = blobs()
        splits = folds(y, 3, [0])
        curves = replay(
            FirstInPool, X, y, [Candidate("random")], splits, batch=10, rounds=2, reach=3.0
        )
        assert curves.further_labels[0] > 20
        assert curves.further_labels[-1] == 60
        assert curves.further_scores.shape == (3, len(curves.further_labels))
        assert (curves.further_scores > 0.5).all()

    def test_real_strategies_repeat_exactly(self):
        X, y = small_digits(200)
        arguments = ([Candidate("auto"), Candidate("random")], folds(y, 2, [0]))
        first, second = (
            replay(ActiveSampler, X, y, *arguments, batch=10, rounds=3) for _ in range(2)
        )
        for name in ("auto", "random"):
            np.testing.assert_array_equal(first.scores[name], second.scores[name])

    def test_regression_and_multilabel(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(90, 6))
        weight = rng.normal(size=(6, 2))
        several = X @ weight + 0.01 * rng.normal(size=(90, 2))
        for y, problem_type in (
            (several[:, 0], "regression"),
            (several, "regression"),
            ((several > 0).astype(int), "multilabel"),
        ):
            curves = replay(
                FirstInPool, X, y, [Candidate("x")], folds(y, 3, [0]),
                problem_type=problem_type, batch=20, rounds=2,
            )  # fmt: skip
            assert (curves.scores["x"][:, -1] > 0.8).all()

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"batch": 0}, "batch=0"),
            ({"start": 79}, "do not fit pools of 80 samples"),
            ({"reach": 0.5}, "reach is 0.5"),
            ({"candidates": []}, "at least one"),
            ({"candidates": [Candidate("random"), Candidate("random")]}, "all different"),
        ],
    )
    def test_numbers_of_no_sense(self, changes, message):
        X, y = blobs()
        arguments = {
            "candidates": [Candidate("random")],
            "splits": folds(y, 3, [0]),
            "batch": 10,
            "rounds": 2,
            **changes,
        }
        with pytest.raises(ParameterError, match=message):
            replay(FirstInPool, X, y, **arguments)

    def test_data_of_no_use(self):
        X, y = blobs()
        splits = folds(y, 3, [0])

        def run(X, y, problem_type="classification"):
            options = {"problem_type": problem_type, "batch": 10, "rounds": 2}
            return replay(FirstInPool, X, y, [Candidate("x")], splits, **options)

        with_nan = X.copy()
        with_nan[17, 2] = np.nan
        with pytest.raises(DataError, match="embedding 17 holds NaN"):
            run(with_nan, y)
        with pytest.raises(DataError, match=r"expected numbers of shape \(n, d\)"):
            run(X[:, 0], y)
        with pytest.raises(DataError, match="120 embeddings came with 119 labels"):
            run(X, y[:-1])
        with pytest.raises(DataError, match="finite numbers"):
            run(X, np.where(y == 0, np.inf, y), "regression")
        with pytest.raises(DataError, match="other numbers than 0 and 1"):
            run(X, np.stack([y, y], axis=1), "multilabel")


def curves_of(random, own, further=(), labels=(10, 20)):
    """Build curves of two strategies; further scores of random at 40, 80, ... labels."""
    random, own = np.atleast_2d(random), np.atleast_2d(own)
    further = np.atleast_2d(further).reshape(len(random), -1)
    return Curves(
        np.array(labels), {"random": random, "own": own}, {"random": 0.0, "own": 0.0},
        labels[-1] * 2 ** np.arange(1, further.shape[1] + 1), further,
    )  # fmt: skip


class TestCurves:
    def test_area_and_paired_difference(self):
        curves = curves_of([[0.5, 0.7], [0.3, 0.5]], [[0.6, 0.9], [0.4, 0.8]])
        np.testing.assert_allclose(curves.area("own"), [0.75, 0.6])
        gain, error = curves.difference("own")
        assert gain == pytest.approx(0.175)
        assert error == pytest.approx(0.025)

    def test_labels_of_random_are_interpolated(self):
        curves = curves_of([0.5, 0.6], [0.6, 0.75], further=[0.7, 0.8])
        ratio, error = curves.labels_of_random("own")
        assert ratio == pytest.approx(60 / 20)
        assert np.isnan(error)

    def test_random_may_never_get_there(self):
        curves = curves_of([0.5, 0.6], [0.6, 0.9], further=[0.7, 0.8])
        assert curves.labels_of_random("own")[0] == np.inf
        assert "> 4.0×" in curves.table()

    def test_a_worse_strategy_needs_more_than_random(self):
        curves = curves_of([[0.5, 0.7], [0.5, 0.7]], [[0.5, 0.6], [0.4, 0.6]])
        ratio, error = curves.labels_of_random("own")
        assert ratio == pytest.approx(0.75)
        assert error == pytest.approx(0.0)

    def test_the_table_and_the_rows_hold_every_score(self):
        curves = curves_of([0.5, 0.6], [0.6, 0.75], further=[0.7, 0.8])
        lines = curves.table().splitlines()
        assert lines[2].startswith("| own | 75.0 | 67.5 | +12.5 | 3.0×")
        assert lines[3].startswith("| random | 60.0 | 55.0 | - | -")
        rows = list(curves.rows())
        assert {"strategy": "random", "replicate": 0, "labels": 80, "score": 0.8} in rows
        assert len(rows) == 6

    def test_an_unknown_candidate(self):
        with pytest.raises(ParameterError, match="'best' was not replayed; there are random, own"):
            curves_of([0.5, 0.6], [0.6, 0.7]).area("best")


class TestTune:
    def test_a_clearly_better_strategy_is_chosen(self):
        X, y = small_digits()
        current = Candidate("entropy")
        tuning = tune(
            ActiveSampler, X, y, current=current, candidates=[Candidate("aopt")], n_repeats=1
        )
        assert tuning.best == Candidate("aopt")
        assert set(tuning.curves.scores) == {"entropy", "aopt", "margin", "random"}
        assert "aopt did better by" in str(tuning)

    def test_noise_changes_nothing(self):
        curves = curves_of([[0.5, 0.6], [0.7, 0.6]], [[0.6, 0.7], [0.65, 0.6]])
        own, random = Candidate("own"), Candidate("random")
        assert pick_best(random, [own, random], curves).best == random
        assert "which is noise" in pick_best(random, [own, random], curves).reason
        assert "nothing did better" in pick_best(own, [own, random], curves).reason

    def test_margin_means_nothing_in_regression(self):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(80, 4))
        tuning = tune(
            ActiveSampler, X, X[:, 0], problem_type="regression", n_repeats=1,
            candidates=[Candidate("medoids")],
        )  # fmt: skip
        assert set(tuning.curves.scores) == {"auto", "medoids", "random"}

    @pytest.mark.parametrize(
        ("y", "message"),
        [
            (np.arange(40) % 2, "40 labels are too few .* at least 50 for 2 classes"),
            (np.arange(90) % 30, "90 labels are too few .* at least 150 for 30 classes"),
            (np.zeros(90), "all labels are of one class"),
        ],
    )
    def test_too_few_labels_to_tell(self, y, message):
        with pytest.raises(DataError, match=message):
            tune(FirstInPool, np.ones((len(y), 3)), y)
        assert not FirstInPool.calls

    def test_folds_of_no_sense(self):
        X, y = blobs()
        with pytest.raises(ParameterError, match="n_folds=1"):
            tune(FirstInPool, X, y, n_folds=1)


class TestHyperparameterTune:
    def sampler(self, **options):
        X, y = small_digits()
        head = ReplayedHead(y, X.shape[1], "classification")
        head.fit(X, y)
        model = head.sampler_model()
        return ActiveSampler("classification", model, 10, seed_fisher=True, **options), X, y

    def test_the_sampler_goes_on_with_the_best(self):
        sampler, X, y = self.sampler(strategy="entropy")
        tuning = sampler.hyperparameter_tune(
            X, y, candidates=[Candidate("aopt", {"gamma": 2.0})], n_repeats=1
        )
        assert set(tuning.curves.scores) == {"entropy", "aopt(gamma=2.0)", "margin", "random"}
        assert tuning.best.label == "aopt(gamma=2.0)"
        expected, _, _ = self.sampler(strategy="aopt", gamma=2.0)
        np.testing.assert_array_equal(sampler.rank(X, 10).indices, expected.rank(X, 10).indices)

    def test_raw_samples_go_through_the_model(self):
        _, X, y = self.sampler()
        module = torch.nn.Linear(X.shape[1], 10)
        sampler = ActiveSampler("classification", module, 10, strategy="margin")
        tuning = sampler.hyperparameter_tune(list(X), y, candidates=[], n_repeats=1)
        assert set(tuning.curves.scores) == {"margin", "random"}

    def test_not_while_a_stream_is_in_progress(self):
        sampler, X, y = self.sampler(strategy="margin")
        list(sampler.select(iter(X), total=len(X)))
        with pytest.raises(ParameterError, match="tune before it starts"):
            sampler.hyperparameter_tune(X, y)

    def test_parameters_of_no_meaning_are_refused(self):
        sampler, X, y = self.sampler()
        with pytest.raises(ParameterError, match="'gamma' means nothing to strategy 'margin'"):
            sampler.hyperparameter_tune(X, y, candidates=[Candidate("margin", {"gamma": 1.0})])


def test_the_guide_names_every_strategy():
    page = Path(__file__).parents[4] / "sampler" / "docs" / "strategies.md"
    guide = page.read_text(encoding="utf-8")
    missing = [name for name in strategies_package.strategies() if f"`{name}`" not in guide]
    assert not missing
