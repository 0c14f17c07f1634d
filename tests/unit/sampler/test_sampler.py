"""ActiveSampler on pools: arguments, kinds of candidates, rankings."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import torch
from active_learn import (
    ActiveSampler,
    BudgetError,
    DataError,
    LinearHead,
    ParameterError,
)
from torch.utils.data import Subset, TensorDataset

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(120, 8)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(3, 8)), RNG.normal(size=3))


def sampler(budget: int | float = 10, **arguments: object) -> ActiveSampler:
    return ActiveSampler("classification", HEAD, budget, **{"random_state": 0, **arguments})


def test_select_gives_back_the_kind_that_came_in() -> None:
    chosen, indices = sampler().select(POOL, return_indices=True)
    assert isinstance(chosen, np.ndarray)
    assert np.array_equal(chosen, POOL[indices])
    tensor = sampler().select(torch.from_numpy(POOL))
    assert isinstance(tensor, torch.Tensor)
    assert np.array_equal(tensor.numpy(), chosen)
    rows = sampler().select(list(POOL))
    assert isinstance(rows, list)
    assert np.array_equal(np.stack(rows), chosen)
    subset = sampler().select(TensorDataset(torch.from_numpy(POOL), torch.zeros(len(POOL))))
    assert isinstance(subset, Subset)
    assert subset.indices == indices.tolist()


def test_a_float_budget_is_a_fraction_of_the_pool() -> None:
    assert len(sampler(0.25).select(POOL)) == 30


def test_rankings_are_nested_and_complete() -> None:
    whole = sampler(labeled_data=POOL[:5], seed_fisher=True).rank(POOL)
    assert sorted(whole.indices) == list(range(len(POOL)))
    part = sampler(labeled_data=POOL[:5], seed_fisher=True).rank(POOL, 17)
    assert np.array_equal(part.indices, whole.indices[:17])
    assert part.scores == pytest.approx(whole.scores[:17])


def test_novelty_and_uncertainty_say_what_they_promise() -> None:
    ranking = sampler(labeled_data=POOL[:5]).rank(POOL)
    assert ((ranking.novelty >= 0) & (ranking.novelty <= 1)).all()
    known = np.isin(ranking.indices, np.arange(5))
    assert ranking.novelty[known].max() < 0.01 < ranking.novelty[~known].min()
    p = torch.softmax(HEAD(POOL).logits, dim=1).sort(dim=1, descending=True).values
    margin = (p[:, 0] - p[:, 1]).numpy()[ranking.indices]
    assert ranking.uncertainty == pytest.approx(1 - margin, abs=1e-6)


def test_a_ranking_says_why() -> None:
    ranking = sampler(labeled_data=POOL[:5]).rank(POOL, 40)
    lines = ranking.table(3).split("\n")
    assert lines[0].split() == ["place", "candidate", "score", "uncertainty", "novelty", "reason"]
    assert [line.split()[1] for line in lines[1:]] == [str(i) for i in ranking.indices[:3]]
    assert len({len(line) for line in lines}) == 1
    newest = int(np.argmax(ranking.novelty))
    sentence = ranking.explain(ranking.indices[newest])
    assert f"has place {newest + 1} of 40" in sentence
    assert "unlike what is labeled" in sentence
    assert sentence.endswith("above 98%")
    least = ranking.explain(ranking.indices[int(np.argmin(ranking.uncertainty))])
    assert "unsure" not in least
    with pytest.raises(ParameterError, match="candidate 3 is not among the 1 of this ranking"):
        sampler(labeled_data=POOL[:5]).rank(np.roll(POOL, 3, axis=0), 1).explain(3)


def test_the_reasons_of_a_ranking_as_records() -> None:
    ranking = sampler(labeled_data=POOL[:5]).rank(POOL, 40)
    records = ranking.records()
    assert len(records) == 40
    assert records[:7] == ranking.records(7)
    assert [one["place"] for one in records] == list(range(1, 41))
    assert [one["candidate"] for one in records] == ranking.indices.tolist()
    for name, values in (("score", ranking.scores), ("uncertainty", ranking.uncertainty)):
        assert [one[name] for one in records] == values.tolist()
    assert json.loads(json.dumps(records)) == records  # plain numbers
    table = ranking.table(40).split("\n")[1:]
    assert all(line.endswith(one["reason"]) for line, one in zip(table, records, strict=True))


def test_a_notebook_shows_the_start_of_a_ranking() -> None:
    shown = sampler().rank(POOL)._repr_html_()
    assert shown.count("<tr>") == 21
    assert "<th>reason</th>" in shown
    regression = ActiveSampler("regression", LinearHead(np.ones((1, 8))), 5).rank(POOL)
    assert "<td>stands for candidates like it</td>" in regression._repr_html_()
    # What is equal for all says nothing of one of them.
    assert "; uncertainty 1.00, as all of the ranking; " in regression.explain(3)


def test_a_ranking_is_short_when_printed() -> None:
    ranking = sampler().rank(POOL)
    first = ranking.indices[:5].tolist()
    assert repr(ranking) == f"Ranking(<{len(POOL)} candidates: {str(first)[1:-1]}, ...>)"
    assert repr(sampler().rank(POOL, 2)) == f"Ranking(<2 candidates: {str(first[:2])[1:-1]}>)"


def test_seeding_avoids_what_is_labeled() -> None:
    pool = np.repeat(np.eye(8, dtype=np.float32), 5, axis=0)
    seeded = sampler(4, labeled_data=pool[:20], seed_fisher=True, strategy="aopt")
    assert (seeded.select(pool, return_indices=True)[1] >= 20).all()


@pytest.mark.parametrize(
    ("budget", "message"),
    [(0, "budget is 0"), (1.5, "budget is 1.5"), (True, "True"), ("ten", "ten"), (-3, "-3")],
)
def test_a_budget_that_means_nothing_is_refused(budget: object, message: str) -> None:
    with pytest.raises(BudgetError, match=message):
        ActiveSampler("classification", HEAD, budget)  # type: ignore[arg-type]


def test_a_budget_over_the_pool_is_refused_with_both_numbers() -> None:
    with pytest.raises(BudgetError, match=r"200.*120"):
        sampler(200).select(POOL)
    assert len(sampler(200).rank(POOL)) == 120


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused_by_position(bad: float) -> None:
    pool = POOL.copy()
    pool[77, 3] = bad
    with pytest.raises(DataError, match="candidate 77"):
        sampler().select(pool)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(DataError, match="empty"):
        sampler().select(POOL[:0])
    with pytest.raises(DataError, match=r"expected \(n, 8\)"):
        sampler().select(POOL[:, :5])
    with pytest.raises(ParameterError, match="problem_type"):
        ActiveSampler("clustering", HEAD, 5)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="means nothing to strategy 'margin'"):
        sampler(strategy="margin", gamma=3.0)
    with pytest.raises(ParameterError, match="unknown; choose one of"):
        sampler(strategy="best")
    with pytest.raises(ParameterError) as refused:
        sampler(strategy="random", rank=2)
    assert str(refused.value) == (
        "rank is 2, and strategy 'random' has no Fisher factors; leave it off, or use 'bait', "
        "'logdet' or 'vessal'"
    )


def test_candidates_may_be_given_by_name() -> None:
    chosen = sampler().select(X_candidates=POOL)
    assert np.array_equal(chosen, sampler().select(POOL))
    assert np.array_equal(sampler().rank(X_candidates=POOL).indices, sampler().rank(POOL).indices)


@pytest.mark.parametrize("kind", [list, np.asarray, torch.as_tensor, HEAD])
def test_labeled_data_may_be_the_fourth_argument(kind: Callable[[object], object]) -> None:
    labeled = kind(POOL[:10])
    by_place = ActiveSampler("classification", HEAD, 5, labeled, True, random_state=0)
    by_name = sampler(5, labeled_data=labeled, seed_fisher=True)
    assert not by_place.precompute_covariance
    assert by_place.get_params().keys() == by_name.get_params().keys()
    assert by_place.get_params()["precompute_covariance"] is False
    assert by_place.get_params()["labeled_data"] is labeled
    assert np.array_equal(by_place.rank(POOL).indices, by_name.rank(POOL).indices)


def test_nothing_as_the_fourth_argument_is_no_labeled_data() -> None:
    nothing = ActiveSampler("classification", HEAD, 5, None)
    assert not nothing.precompute_covariance
    assert nothing.problem.labeled is None


def test_labeled_data_given_twice_is_refused() -> None:
    with pytest.raises(ParameterError, match="labeled data is given twice"):
        ActiveSampler("classification", HEAD, 5, POOL[:3], labeled_data=POOL[:3])
    with pytest.raises(ParameterError, match="precompute_covariance is a ndarray; expected True"):
        sampler().set_params(precompute_covariance=POOL[:3])


@pytest.mark.parametrize("value", ["no", 1, 0, 1.0])
@pytest.mark.parametrize("name", ["precompute_covariance", "seed_fisher", "progress"])
def test_only_booleans_are_booleans(name: str, value: object) -> None:
    with pytest.raises(ParameterError, match=f"{name} is {value!r}; expected True or False"):
        sampler(**{name: value})
    assert getattr(sampler(**{name: np.bool_(True)}), name) is True


def test_return_indices_is_a_boolean() -> None:
    with pytest.raises(ParameterError, match="return_indices is 'no'; expected True or False"):
        sampler().select(POOL, return_indices="no")


def test_update_equals_starting_over() -> None:
    grown = sampler(labeled_data=POOL[:20], seed_fisher=True)
    grown.update(POOL[20:45])
    fresh = sampler(labeled_data=POOL[:45], seed_fisher=True)
    assert np.array_equal(grown.rank(POOL).indices, fresh.rank(POOL).indices)


def test_global_random_state_is_left_alone() -> None:
    np.random.seed(1)
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    sampler().select(POOL)
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "aopt", "gamma": -1.0}, "gamma is -1.0; expected a number above 0"),
        ({"strategy": "aopt", "ridge": float("nan")}, "ridge is nan"),
        ({"strategy": "aopt", "references": 0}, "references is 0; expected a whole number"),
        ({"strategy": "aopt", "beta": "high"}, "beta is 'high'"),
        ({"strategy": "bait", "side": "left"}, "side is 'left'; expected one of 'fisher'"),
        ({"strategy": "logdet", "rank": 1.5}, "rank is 1.5"),
        ({"strategy": "vessal", "thinned": "yes"}, "thinned is 'yes'; expected True or False"),
        ({"random_state": -1}, "random_state is -1"),
        ({"random_state": 1.0}, "random_state is 1.0"),
        ({"max_conditioned": 0}, "max_conditioned is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"device": "abacus"}, "device 'abacus' cannot be used"),
    ],
)
def test_values_of_no_use_are_refused_in_one_line(
    arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ParameterError, match=message) as refused:
        sampler(**arguments)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "pool",
    [
        list("abc"),
        np.array([[1, "a"]], dtype=object),
        [[1.0] * 8, [2.0]],
        POOL.astype(complex),
        POOL[0],
        np.float64(3.0),
        {"a": POOL},
        None,
    ],
    ids=["text", "objects", "ragged", "complex", "one row", "number", "mapping", "nothing"],
)
def test_candidates_that_are_no_embeddings_are_refused(pool: object) -> None:
    with pytest.raises(DataError):
        sampler(1).select(pool)
