"""`ActiveSampler` on tasks that are made of parts: what it picks, in what forms it takes them."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from active_learn import (
    ActiveSampler,
    DataError,
    ModelError,
    ParameterError,
    PooledTasks,
    RaggedArray,
    pool_parts,
    rank_partitioned,
)
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn.models import tagging_model
from active_learn.strategies import two_stage
from parts_reference import order_tasks, pooled

LABELED, POOL = 12, 48


def tasks(n: int = LABELED + POOL, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(1 + rng.normal(size=(rng.integers(1, 9), 5))).astype(np.float32) for _ in range(n)]


def likely(parts: list[np.ndarray]) -> list[np.ndarray]:
    """Class probabilities of parts, which are a function of them."""
    shares = [np.exp(2 * one[:, :3]) for one in parts]
    return [one / one.sum(axis=1, keepdims=True) for one in shares]


def shares_of(center: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Class probabilities of parts (P, 3) by a head that is another one in each round."""
    shares = np.exp(np.asarray(rows) @ center.T)
    return shares / shares.sum(axis=1, keepdims=True)


def sampler(**options: Any) -> ActiveSampler:
    defaults = {"model": likely, "budget": 10, "random_state": 0, "seed_fisher": True}
    options = defaults | {"labeled_data": tasks()[:LABELED]} | options
    return ActiveSampler("tagging", **options)


class TestReference:
    @pytest.mark.parametrize("strategy", ["aopt", "auto"])
    def test_picks_are_those_of_the_dense_design(self, strategy: str) -> None:
        every = tasks()
        ranking = sampler(strategy=strategy).rank(every[LABELED:], 10)
        e, doubts = pooled(every, likely(every))
        sizes = np.array([len(one) for one in every])
        picked, gains = order_tasks(
            e, doubts, sizes, np.arange(LABELED, len(every)), np.arange(LABELED), 10
        )
        assert (ranking.indices + LABELED).tolist() == picked
        assert np.allclose(ranking.scores, gains, rtol=1e-3)
        assert np.allclose(ranking.uncertainty, doubts[picked], atol=1e-5)

    def test_before_any_label_all_parts_weigh_the_same(self) -> None:
        pool = tasks(40)
        ranking = sampler(model=None, labeled_data=None).rank(pool, 10)
        e, ones = pooled(pool, None)
        sizes = np.array([len(one) for one in pool])
        picked, _ = order_tasks(e, ones, sizes, np.arange(40), np.arange(0), 10)
        assert ranking.indices.tolist() == picked

    def test_costs_count_in_place_of_the_number_of_parts(self) -> None:
        every = tasks()
        costs = np.random.default_rng(1).uniform(1, 50, len(every))
        whole = RaggedArray.of(every)
        ragged = RaggedArray(whole.rows, whole.offsets, costs).take(np.arange(LABELED, len(every)))
        ranking = sampler().rank(ragged, 10)
        e, doubts = pooled(every, likely(every))
        picked, _ = order_tasks(
            e, doubts, costs, np.arange(LABELED, len(every)), np.arange(LABELED), 10
        )
        assert (ranking.indices + LABELED).tolist() == picked

    def test_of_a_large_pool_a_sample_goes_the_same_way(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A sample that holds all is the whole design; behind a smaller one the others follow."""
        expected = sampler().rank(tasks()[LABELED:], 10).indices
        monkeypatch.setattr(two_stage, "WHOLE_POOL", 20)
        assert np.array_equal(sampler().rank(tasks()[LABELED:], 10).indices, expected)
        monkeypatch.setattr(two_stage, "SAMPLE", 10)
        whole = sampler().rank(tasks()[LABELED:])
        assert sorted(whole.indices.tolist()) == list(range(len(tasks()) - LABELED))
        assert np.isfinite(whole.scores).all()


class TestForms:
    def test_lists_ragged_arrays_and_pooled_tasks_are_the_same(self) -> None:
        pool = tasks()[LABELED:]
        expected = sampler().rank(pool)
        ragged = RaggedArray.of(pool)
        half = RaggedArray(ragged.rows.astype(np.float16).astype(np.float64), ragged.offsets)
        done = pool_parts(ragged, lambda some: np.concatenate(likely(some.split(some.rows))))
        assert np.array_equal(sampler().rank(ragged).indices, expected.indices)
        assert np.array_equal(sampler().rank(done).indices, expected.indices)
        assert len(sampler().rank(half)) == POOL

    def test_tasks_of_equal_size_may_be_one_array(self) -> None:
        grid = np.random.default_rng(0).normal(size=(30, 4, 5)).astype(np.float32)
        expected = sampler().rank(list(grid), 8).indices
        assert np.array_equal(sampler().rank(grid, 8).indices, expected)

    def test_select_returns_tasks_in_the_form_they_came_in(self) -> None:
        pool = tasks()[LABELED:]
        chosen, at = sampler().select(pool, return_indices=True)
        assert isinstance(chosen, list)
        assert chosen[0] is pool[at[0]]
        ragged = sampler().select(RaggedArray.of(pool))
        assert isinstance(ragged, RaggedArray)
        assert np.array_equal(ragged[3], pool[at[3]])
        done = sampler(labeled_data=None).select(pool_parts(pool))
        assert isinstance(done, PooledTasks)
        assert len(done) == 10

    def test_a_head_and_its_probabilities_are_the_same_model(self) -> None:
        pool = tasks()[LABELED:]
        tags = [one[:, :2].argmax(axis=1) for one in tasks()[:LABELED]]
        head = fit_tagging_head(["name"], tasks()[:LABELED], tags, round=1)
        assert isinstance(head, TaggingHead)
        expected = sampler(model=head.probabilities).rank(pool).indices
        assert np.array_equal(sampler(model=head).rank(pool).indices, expected)

    def test_tasks_without_parts_come_last(self) -> None:
        pool = [*tasks()[LABELED:], np.zeros((0, 5), np.float32), np.zeros((0, 5), np.float32)]
        ranking = sampler().rank(pool)
        assert np.isfinite(ranking.scores).all()
        assert (ranking.uncertainty[ranking.indices >= POOL] == 0).all()

    def test_blocks_change_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = sampler().rank(tasks()[LABELED:])
        monkeypatch.setattr("active_learn.models.pooled_tasks.BLOCK_PARTS", 6)
        monkeypatch.setattr("active_learn.inputs.model_runner.MODEL_ROWS", 7)
        found = sampler().rank(tasks()[LABELED:])
        assert np.array_equal(found.indices, expected.indices)


class TestSampler:
    def test_labels_that_come_later_count_like_those_from_the_start(self) -> None:
        expected = sampler().rank(tasks()[LABELED:], 10).indices
        later = sampler(labeled_data=tasks()[:5])
        later.update(tasks()[5:LABELED])
        assert np.array_equal(later.rank(tasks()[LABELED:], 10).indices, expected)

    def test_parts_of_a_pool_share_its_center(self) -> None:
        """A pool of two halves that differ: no part of it has a center of its own."""
        left, right = tasks(40, seed=3), [one + 5 for one in tasks(40, seed=4)]
        pool = [*left, *right]
        found = rank_partitioned(sampler(), RaggedArray.of(pool), 10, partitions=4).indices
        whole = sampler().rank(pool, 10).indices
        assert len(set(found.tolist()) & set(whole.tolist())) >= 7

    def test_a_stream_keeps_its_rate_and_can_be_saved(self, tmp_path: Path) -> None:
        many = tasks(600, seed=5)
        whole = sampler(budget=0.2, labeled_data=None)
        expected = [at for _, at in whole.select(iter(many), return_indices=True)]
        assert 90 <= len(expected) <= 150
        first = sampler(budget=0.2, labeled_data=None)
        kept = [at for _, at in first.select(iter(many[:300]), return_indices=True)]
        first.save(tmp_path / "stream.npz")
        again = ActiveSampler.load(tmp_path / "stream.npz", likely)
        kept += [at for _, at in again.select(iter(many[300:]), return_indices=True)]
        assert kept == expected

    def test_a_stream_prefers_tasks_that_teach_more(self) -> None:
        """Of tasks of one size, those of which the head is sure are kept more rarely."""
        rng = np.random.default_rng(6)
        many = [rng.normal(size=(4, 5)).astype(np.float32) for _ in range(800)]
        for one in many[::2]:
            one[:, 0] = 9  # sure of the first class
        stream = sampler(budget=0.2, labeled_data=None)
        kept = np.array([at for _, at in stream.select(iter(many), return_indices=True)])
        late = kept[kept >= 200]
        assert (late % 2 == 1).mean() > 0.6

    def test_a_stream_goes_on_under_another_head(self) -> None:
        """Round after round: all vectors are those of the present head, the rate goes on."""
        every, rng = tasks(900), np.random.default_rng(0)
        seen, kept = 0, [*range(5)]
        for number in range(9):
            center = rng.normal(size=(3, 5))
            head = partial(shares_of, center)
            pooled = pool_parts(every, lambda some, head=head: head(some.rows))
            stream = sampler(model=None, budget=0.2, labeled_data=pooled[kept])
            stream.resume(pooled[5 : 5 + seen], seen=seen, kept=len(kept) - 5)
            assert (stream.seen, stream.kept) == (seen, len(kept) - 5)
            new = stream.select(iter(pooled[5 + seen : 100 * (number + 1)]), return_indices=True)
            tasks_kept, positions = zip(*new, strict=True)
            for one, at in zip(tasks_kept, positions, strict=True):
                assert np.array_equal(one.vectors, pooled.vectors[[5 + at]])
            kept += [5 + at for at in positions]
            seen = 100 * (number + 1) - 5
        assert 0.17 < (len(kept) - 5) / seen < 0.23

    def test_a_stream_that_goes_on_prefers_what_teaches_more(self) -> None:
        """At once: it needs no 64 samples to begin with, and knows what was kept before."""
        rng = np.random.default_rng(0)
        near, far = rng.normal(size=(2, 600, 8)) * 0.05
        near[:, 0] += 1
        far[:, 1] += 1
        vectors = np.where(rng.random(600)[:, None] < 0.5, near, far).astype(np.float32)
        every = PooledTasks(vectors, np.ones(600, np.float32), np.ones(600, np.float32))
        is_far = vectors[:, 1] > 0.5
        known = np.concatenate([np.flatnonzero(~is_far)[:40], np.flatnonzero(is_far)[:4]])
        chosen: list[int] = []
        for seed in range(5):
            stream = sampler(model=None, budget=0.2, labeled_data=every[known], random_state=seed)
            stream.resume(every[:300], seen=300, kept=60)
            found = stream.select(iter(every[300:350]), return_indices=True)
            chosen += [at for _, at in found]
        assert len(chosen) >= 10
        assert is_far[chosen].mean() > 0.9

    def test_it_is_pickled_and_cloned(self) -> None:
        expected = sampler().rank(tasks()[LABELED:], 10).indices
        again = pickle.loads(pickle.dumps(sampler()))
        assert np.array_equal(again.rank(tasks()[LABELED:], 10).indices, expected)
        assert "tagging" in repr(again)


class TestErrors:
    def test_what_does_not_tag(self) -> None:
        with pytest.raises(ModelError, match="does not tag parts; expected a TaggingHead"):
            sampler(model=3)
        with pytest.raises(ParameterError, match="give PooledTasks"):
            ActiveSampler([("classification", 3), ("tagging", 1)], None, 5)
        with pytest.raises(ParameterError, match="cannot be tuned"):
            sampler().hyperparameter_tune(tasks(), np.zeros(60))

    def test_what_are_no_parts(self) -> None:
        with pytest.raises(DataError, match="task 1 has parts of shape"):
            sampler(labeled_data=None).rank([tasks()[0], np.zeros((2, 4), np.float32)])
        with pytest.raises(DataError, match=r"list of arrays of shape \(parts, features\)"):
            sampler(labeled_data=None).rank(np.zeros((9, 4), np.float32))
        with pytest.raises(DataError, match="candidate 2 holds NaN"):
            sampler(labeled_data=None).rank(
                [tasks()[at] * (np.nan if at == 2 else 1) for at in range(20)]
            )

    def test_probabilities_that_do_not_fit(self) -> None:
        with pytest.raises(DataError, match=r"expected an array of shape \(parts, classes\)"):
            sampler(model=lambda parts: likely(parts)[1:]).rank(tasks())
        with pytest.raises(ModelError, match="the callable failed: broken"):
            sampler(model=broken).rank(tasks())

    def test_streams_that_cannot_go_on(self) -> None:
        pooled = pool_parts(tasks(30))
        stream = sampler(model=None, budget=0.2, labeled_data=None)
        with pytest.raises(DataError, match="30 past samples cannot stand for the 4000"):
            stream.resume(pooled, seen=4000, kept=400)
        with pytest.raises(ParameterError, match="of 3 samples 4 cannot have been kept"):
            sampler(model=None, budget=0.2).resume(pooled, seen=3, kept=4)
        with pytest.raises(ParameterError, match="has a fraction, such as"):
            sampler(model=None).resume(pooled, seen=30, kept=4)
        with pytest.raises(DataError, match="0 past samples"):
            sampler(model=None, budget=0.2).resume([], seen=30, kept=4)
        stream = sampler(model=None, budget=0.2, labeled_data=None)
        stream.resume([], seen=0, kept=0)
        assert list(stream.select(iter(tasks(10))))
        with pytest.raises(ParameterError, match="a stream is in progress"):
            stream.resume(pooled, seen=30, kept=4)

    def test_costs_that_do_not_fit(self) -> None:
        whole = RaggedArray.of(tasks())
        with pytest.raises(DataError, match=r"costs of tasks have shape \(2,\)"):
            RaggedArray(whole.rows, whole.offsets, [1, 2])
        with pytest.raises(DataError, match="not above 0 and finite"):
            sampler().rank(RaggedArray(whole.rows, whole.offsets, np.zeros(len(whole))))
        with pytest.raises(DataError, match="pooled tasks have vectors of shape"):
            PooledTasks(np.zeros((3, 2)), np.zeros(3), np.zeros(2))


def broken(parts: list[np.ndarray]) -> list[np.ndarray]:
    raise ValueError("broken")


def test_the_model_gives_a_vector_a_doubt_and_a_cost() -> None:
    parts = tasks(3)
    output = tagging_model.TaggingModel(None)(parts)
    assert torch.allclose(output.embedding[1], torch.from_numpy(parts[1].mean(axis=0)), atol=1e-6)
    assert output.logits.tolist() == [[1.0]] * 3
    assert output.costs is not None
    assert output.costs.tolist() == [len(one) for one in parts]
