"""One contract for every strategy: add one, and add a class here that names it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, LinearHead, ParameterError, rank_partitioned, reasons
from active_learn.inputs import model_runner
from active_learn.inputs import pool as pool_module
from active_learn.models import pool_parts
from active_learn.posterior import incremental as tracked
from active_learn.posterior import posterior as gram
from active_learn.ragged import RaggedArray
from active_learn.selectors import a_optimal as design
from active_learn.selectors import volume_sampling as volume
from active_learn.strategies import Strategy, build_strategy, strategies

RNG = np.random.default_rng(7)
POOL = RNG.normal(size=(90, 6)).astype(np.float32)
LABELED = RNG.normal(size=(25, 6)).astype(np.float32)
PARTS = [RNG.normal(size=(1 + at % 5, 6)).astype(np.float32) for at in range(90)]
BUDGET = 12


def flat_probabilities(rows: np.ndarray) -> np.ndarray:
    """Class probabilities of parts, from their first three features."""
    shares = np.exp(rows[:, :3])
    return shares / shares.sum(axis=1, keepdims=True)


def probabilities_of_parts(tasks: list[np.ndarray]) -> list[np.ndarray]:
    return [flat_probabilities(rows) for rows in tasks]


def head(outputs: int, size: int = 6) -> LinearHead:
    rng = np.random.default_rng(outputs)
    return LinearHead(rng.normal(size=(outputs, size)), rng.normal(size=outputs))


class StrategyContract:
    """What every strategy promises."""

    name: str
    problem_types: tuple[str, ...] = ("classification", "multilabel", "regression")
    seeded = True  # conditions on labeled data
    parameters: dict[str, Any] = {}

    def sampler(self, problem: str = "classification", **arguments: Any) -> ActiveSampler:
        defaults = {"budget": BUDGET, "random_state": 0, "strategy": self.name, **self.parameters}
        outputs = 1 if problem == "regression" else 4
        model = arguments.pop("model", head(outputs))
        return ActiveSampler(problem, model, **{**defaults, **arguments})

    def indices(self, pool: Any = POOL, **arguments: Any) -> np.ndarray:
        return self.sampler(**arguments).select(pool, return_indices=True)[1]

    def test_gives_distinct_candidates_of_each_problem_type(self) -> None:
        for problem in self.problem_types:
            indices = self.indices(problem=problem)
            assert indices.dtype == np.int64
            assert len(set(indices.tolist())) == BUDGET
            assert set(indices.tolist()) <= set(range(len(POOL)))

    def joint(self, *problems: str, sure: int | None = None, **arguments: Any) -> ActiveSampler:
        """A sampler of a model of several outputs; the one at ``sure`` leaves nothing uncertain."""
        heads = [head(1 if problem == "regression" else 4) for problem in problems]
        if sure is not None:
            heads[sure] = LinearHead(np.zeros((4, 6)), [40.0, -40.0, -40.0, -40.0])
        model = LinearHead.side_by_side(heads)
        outputs = [(problem, len(one.weight)) for problem, one in zip(problems, heads, strict=True)]
        return self.sampler(outputs, model=model, **arguments)

    def test_one_output_is_its_problem_type(self) -> None:
        for problem in self.problem_types:
            plain = self.sampler(problem, labeled_data=LABELED, seed_fisher=True).rank(POOL)
            joint = self.joint(problem, labeled_data=LABELED, seed_fisher=True).rank(POOL)
            assert np.array_equal(plain.indices, joint.indices)
            assert np.array_equal(plain.scores, joint.scores)
            assert np.array_equal(plain.uncertainty, joint.uncertainty)

    def test_one_ranking_serves_outputs_of_all_kinds(self) -> None:
        kinds = ("classification", "regression", "multilabel")
        labeled = {"labeled_data": LABELED, "seed_fisher": True}
        ranking = self.joint(*kinds, **labeled).rank(POOL)
        assert sorted(ranking.indices.tolist()) == list(range(len(POOL)))
        for values in (ranking.scores, ranking.uncertainty):
            assert np.isfinite(values).all()
        assert (ranking.uncertainty <= 1).all()
        again = self.joint(*kinds, **labeled).rank(POOL, BUDGET)
        assert np.array_equal(again.indices, ranking.indices[:BUDGET])

    def test_an_output_that_is_sure_of_everything_changes_nothing(self) -> None:
        labeled = {"labeled_data": LABELED, "seed_fisher": True}
        alone = self.joint("classification", **labeled).rank(POOL).indices
        for sure, problems in ((1, ("classification", "classification")),
                               (0, ("multilabel", "classification"))):  # fmt: skip
            joint = self.joint(*problems, sure=sure, **labeled).rank(POOL).indices
            assert np.array_equal(joint, alone)

    def test_refuses_the_other_problem_types(self) -> None:
        for problem in {"classification", "multilabel", "regression"} - set(self.problem_types):
            with pytest.raises(ParameterError, match=problem):
                self.sampler(problem)

    def test_ranks_the_whole_pool_with_finite_numbers(self) -> None:
        ranking = self.sampler(labeled_data=LABELED, seed_fisher=True).rank(POOL)
        assert sorted(ranking.indices.tolist()) == list(range(len(POOL)))
        for values in (ranking.scores, ranking.uncertainty, ranking.novelty):
            assert values.shape == (len(POOL),)
            assert np.isfinite(values).all()

    def test_keeps_its_word_on_nesting(self) -> None:
        whole = self.sampler().rank(POOL).indices
        for n in (1, 5, BUDGET, 40):
            assert np.array_equal(self.sampler().rank(POOL, n).indices, whole[:n])
        if build_strategy(self.name, {}).nested:  # across budgets too
            for budget in (1, 5, 40):
                assert np.array_equal(self.indices(budget=budget), whole[:budget])

    def test_repeats_with_the_same_random_state(self) -> None:
        sampler = self.sampler()
        first = sampler.rank(POOL).indices
        assert np.array_equal(first, sampler.rank(POOL).indices)
        assert np.array_equal(first, self.sampler().rank(POOL).indices)

    def test_takes_labeled_data_and_a_precomputed_covariance(self) -> None:
        for seed in (False, True):
            for precompute in (False, True):
                indices = self.indices(
                    labeled_data=LABELED, seed_fisher=seed, precompute_covariance=precompute
                )
                assert len(set(indices.tolist())) == BUDGET

    def test_labeled_data_matters_only_where_it_is_seeded(self) -> None:
        seeded = self.sampler(labeled_data=POOL[:40], seed_fisher=True).rank(POOL).scores
        unseeded = self.sampler(labeled_data=POOL[:40], seed_fisher=False).rank(POOL).scores
        assert self.seeded != np.array_equal(seeded, unseeded)

    def test_does_not_depend_on_the_kind_or_precision_of_the_pool(self) -> None:
        half = POOL.astype(np.float16)
        expected = self.indices(half.astype(np.float32))
        for pool in (half, torch.from_numpy(half), list(half.astype(np.float32))):
            assert np.array_equal(self.indices(pool), expected)

    def test_does_not_depend_on_the_size_of_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        labeled = {"labeled_data": LABELED, "seed_fisher": True}
        expected = self.sampler(**labeled).rank(POOL).indices
        for module in (gram, reasons, tracked, volume):
            monkeypatch.setattr(module, "BLOCK_ROWS", 14)
        monkeypatch.setattr(design, "BLOCK_SIZE", 600)
        monkeypatch.setattr(pool_module, "EMBEDDING_ROWS", 11)
        monkeypatch.setattr(model_runner, "MODEL_ROWS", 9)
        assert np.array_equal(self.sampler(**labeled).rank(POOL).indices, expected)
        assert np.array_equal(self.sampler(**labeled).rank(list(POOL)).indices, expected)

    def test_does_not_depend_on_the_number_of_threads(self) -> None:
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(1)
            one = self.indices()
            torch.set_num_threads(2)
            assert np.array_equal(self.indices(), one)
        finally:
            torch.set_num_threads(before)

    def test_leaves_global_random_state_alone(self) -> None:
        before = np.random.get_state()[1].copy(), torch.get_rng_state()
        self.indices()
        assert np.array_equal(np.random.get_state()[1], before[0])
        assert torch.equal(torch.get_rng_state(), before[1])

    @pytest.mark.parametrize(
        "pool",
        [
            pytest.param(np.ones((20, 6)), id="constant"),
            pytest.param(np.zeros((20, 6)), id="zeros"),
            pytest.param(np.repeat(POOL[:2], 10, axis=0), id="duplicates"),
            pytest.param(POOL[:20] * 1e25, id="huge"),
            pytest.param(POOL[:20] * 1e-25, id="tiny"),
            pytest.param(POOL[:20] * np.where(np.arange(20) < 3, 1e4, 1)[:, None], id="outliers"),
            pytest.param(POOL[:BUDGET], id="budget is the pool"),
        ],
    )
    def test_survives_pools_at_the_edge(self, pool: np.ndarray) -> None:
        for problem in self.problem_types:
            for labeled in (None, pool[:3]):
                ranking = self.sampler(problem, labeled_data=labeled, seed_fisher=True).rank(pool)
                assert sorted(ranking.indices.tolist()) == list(range(len(pool)))
                assert np.isfinite(ranking.scores).all()

    def test_survives_one_feature_one_output_and_one_candidate(self) -> None:
        for problem in self.problem_types:
            sampler = self.sampler(problem, model=head(1, 1), budget=1)
            assert sampler.rank(POOL[:10, :1]).indices.shape == (10,)
            assert sampler.select(POOL[:1, :1]).shape == (1, 1)

    def test_one_partition_is_the_whole_pool(self) -> None:
        """Where the strategy has a partitioned form; the others say so."""
        for problem in self.problem_types:
            for labeled in (None, LABELED):
                sampler = self.sampler(problem, labeled_data=labeled, seed_fisher=True)
                if not build_strategy(self.name, {}).partitioned:
                    with pytest.raises(ParameterError, match="no partitioned form; use '"):
                        rank_partitioned(sampler, POOL, 40, partitions=1)
                    continue
                found = rank_partitioned(sampler, POOL, 40, partitions=1)
                expected = sampler.rank(POOL, 40)
                assert np.array_equal(found.indices, expected.indices)
                np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-4, atol=1e-6)

    def test_partitions_give_distinct_candidates_whoever_runs_them(self) -> None:
        if not build_strategy(self.name, {}).partitioned:
            return
        for problem in self.problem_types:
            sampler = self.sampler(problem, labeled_data=LABELED, seed_fisher=True)
            found = rank_partitioned(sampler, POOL, 40, partitions=7)
            assert len(set(found.indices.tolist())) == 40
            assert set(found.indices.tolist()) <= set(range(len(POOL)))
            assert np.isfinite(found.scores).all()
            with ThreadPoolExecutor(3) as executor:
                again = rank_partitioned(sampler, POOL, 40, partitions=7, map=executor.map)
            assert np.array_equal(again.indices, found.indices)

    def test_orders_tasks_of_parts(self) -> None:
        """Where the strategy takes them; the others say so."""
        arguments = {"model": probabilities_of_parts, "labeled_data": PARTS[70:]}
        if not build_strategy(self.name, {}).takes_parts:
            with pytest.raises(ParameterError, match="tagging does not have; use '"):
                self.sampler("tagging", **arguments)
            return
        sampler = self.sampler("tagging", seed_fisher=True, **arguments)
        ranking = sampler.rank(PARTS[:70])
        assert sorted(ranking.indices.tolist()) == list(range(70))
        for values in (ranking.scores, ranking.uncertainty, ranking.novelty):
            assert np.isfinite(values).all()
        ragged = RaggedArray.of(PARTS[:70])
        pooled = pool_parts(ragged, lambda some: flat_probabilities(some.rows))
        for same in (ragged, pooled):
            assert np.array_equal(sampler.rank(same, 20).indices, ranking.indices[:20])
        if sampler.problem.strategy.partitioned:
            one = rank_partitioned(sampler, PARTS[:70], 20, partitions=1)
            assert np.array_equal(one.indices, ranking.indices[:20])
            parted = rank_partitioned(sampler, ragged, 20, partitions=4).indices
            assert len(set(parted.tolist())) == 20
        if type(sampler.problem.strategy).scorer is not Strategy.scorer:
            stream = self.sampler("tagging", **{**arguments, "budget": 0.2})
            assert 20 < len(list(stream.select(iter(PARTS * 3)))) < 100

    def test_refuses_a_parameter_that_means_nothing(self) -> None:
        with pytest.raises(ParameterError, match="'wings' means nothing"):
            self.sampler(wings=2)


class TestAOpt(StrategyContract):
    name = "aopt"


class TestAuto(StrategyContract):
    name = "auto"


class TestBadge(StrategyContract):
    name = "badge"
    seeded = False


class TestBait(StrategyContract):
    name = "bait"


class TestBaitOfRankTwo(TestBait):
    parameters = {"rank": 2, "side": "fisher"}


class TestCoverage(StrategyContract):
    name = "coverage"


class TestEntropy(StrategyContract):
    name = "entropy"
    problem_types = ("classification", "multilabel")
    seeded = False


class TestKCenter(StrategyContract):
    name = "kcenter"


class TestLeastConfidence(StrategyContract):
    name = "least_confidence"
    problem_types = ("classification", "multilabel")
    seeded = False


class TestLogDet(StrategyContract):
    name = "logdet"


class TestLogDetOfRankTwo(TestLogDet):
    parameters = {"rank": 2}


class TestMargin(StrategyContract):
    name = "margin"
    problem_types = ("classification", "multilabel")
    seeded = False


class TestMedoids(StrategyContract):
    name = "medoids"
    seeded = False


class TestRandom(StrategyContract):
    name = "random"
    seeded = False


class TestTypiClust(StrategyContract):
    name = "typiclust"


class TestVessal(StrategyContract):
    name = "vessal"


class TestVessalThinned(TestVessal):
    parameters = {"thinned": True}

    def test_takes_labeled_data_and_a_precomputed_covariance(self) -> None:
        assert len(self.indices(labeled_data=LABELED, seed_fisher=True)) == BUDGET
        with pytest.raises(ParameterError, match="precompute_covariance"):
            self.indices(precompute_covariance=True)


def test_every_registered_strategy_has_its_contract() -> None:
    tested = set()
    families = StrategyContract.__subclasses__()
    while families:
        family = families.pop()
        tested.add(family.name)
        families += family.__subclasses__()
    assert tested == set(strategies())
