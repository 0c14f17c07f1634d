"""Each strategy against its plain definition."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from active_learn import ActiveSampler, LinearHead, ParameterError
from active_learn.inputs.pool import EmbeddingPool
from active_learn.inputs.samples import Samples
from active_learn.models import ModelOutput
from active_learn.posterior.kernels import FisherKernel
from active_learn.posterior.posterior import Posterior
from active_learn.selectors.kmeans import draw, kmeans, kmeans_medoids
from active_learn.strategies import strategies
from active_learn.strategies.logdet import gains_of_pool, lazy_best
from hypothesis import given, settings
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
POOL = RNG.normal(size=(150, 5)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(4, 5)), RNG.normal(size=4))
MANY = RNG.normal(size=(120, 5)).astype(np.float32)  # labeled samples


def ranking(strategy: str, pool: np.ndarray = POOL, **arguments: object) -> np.ndarray:
    defaults = {"budget": 20, "random_state": 0}
    sampler = ActiveSampler("classification", HEAD, strategy=strategy, **{**defaults, **arguments})
    return sampler.rank(pool).indices


def test_pointwise_strategies_sort_by_their_score() -> None:
    p = reference.softmax(HEAD(POOL).logits.double().numpy())
    top = -np.sort(-p, axis=1)
    expected = {
        "margin": top[:, 0] - top[:, 1],
        "entropy": (p * np.log(p)).sum(axis=1),
        "least_confidence": top[:, 0],
    }
    for strategy, score in expected.items():
        assert np.array_equal(ranking(strategy), np.argsort(score, kind="stable"))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 90),
    d=st.integers(1, 4),
    k=st.integers(2, 4),
    rank=st.integers(1, 3),
    n_labeled=st.integers(0, 8),
    ridge=st.sampled_from([0.01, 0.1, 1.0]),
)
def test_lazy_logdet_picks_equal_the_textbook(
    seed: int, n: int, d: int, k: int, rank: int, n_labeled: int, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    rank = min(rank, k)
    head = LinearHead(rng.normal(size=(k, d)))
    h = rng.normal(size=(n + n_labeled, d)).astype(np.float32)
    u = reference.fisher_embeddings(head(h).logits.numpy(), h, rank)
    steps = min(n, 6)
    expected, gains = reference.logdet(u[n_labeled:], u[:n_labeled], steps, ridge)

    kernel = FisherKernel("classification", rank=rank)
    posterior = Posterior(kernel, ridge, kernel.points(head(h[:n_labeled])))
    pool = EmbeddingPool(Samples(h[n_labeled:]), head, device=torch.device("cpu"))
    bound = gains_of_pool(pool, posterior)
    for best, gain in zip(expected, gains, strict=True):
        pick, point = lazy_best(pool, posterior, bound)
        assert float(bound[pick]) == pytest.approx(gain[best], rel=1e-3, abs=1e-4)
        if pick != best:  # only a tie (to float32) may be broken another way
            assert gain[pick] == pytest.approx(gain[best], rel=1e-3, abs=1e-4)
            break
        bound[pick] = -torch.inf
        posterior.condition(point)


def test_kcenter_is_farthest_first() -> None:
    labeled = POOL[:10]
    picks = ranking("kcenter", labeled_data=labeled, seed_fisher=True)[:20]
    centers = list(labeled)
    for pick in picks:
        distance = np.min([np.linalg.norm(POOL - c, axis=1) for c in centers], axis=0)
        assert distance[pick] == pytest.approx(distance.max(), rel=1e-5)
        centers.append(POOL[pick])


def test_badge_starts_with_the_largest_gradient_and_spreads() -> None:
    logits = HEAD(POOL).logits.numpy()
    u = reference.gradient_embeddings(logits, POOL)[:, :, 0]
    picks = ranking("badge")[:20]
    assert picks[0] == np.linalg.norm(u, axis=1).argmax()

    def spread(rows: np.ndarray) -> float:
        return np.linalg.norm(u[:, None] - u[rows], axis=2).min(axis=1).mean()

    randoms = [spread(np.random.default_rng(i).permutation(150)[:20]) for i in range(20)]
    assert spread(picks) < np.mean(randoms)


def test_badge_draws_in_proportion_to_the_squared_distance() -> None:
    pool = np.array([[10.0, 0], [10.0, 0.1], [0, 3.0], [0, -6.0]], np.float32)
    counts = np.zeros(4)
    for seed in range(400):
        sampler = ActiveSampler("regression", LinearHead([[1.0, 1.0]]), 2, strategy="badge",
                                random_state=seed)  # fmt: skip
        counts[sampler.select(pool, return_indices=True)[1][1]] += 1
    weights = np.sum((pool - pool[1]) ** 2, axis=1)  # the first pick is the longest, row 1
    expected = 400 * weights / weights.sum()
    assert np.abs(counts - expected).max() < 4 * np.sqrt(400 * 0.25)


def clusters(sizes: list[int]) -> np.ndarray:
    rng = np.random.default_rng(3)
    centers = 20 * rng.normal(size=(len(sizes), 5))
    return np.concatenate(
        [c + 0.3 * rng.normal(size=(size, 5)) for c, size in zip(centers, sizes, strict=True)]
    ).astype(np.float32)


@pytest.mark.parametrize("strategy", ["auto", "medoids", "typiclust"])
def test_cold_starts_take_one_from_each_cluster(strategy: str) -> None:
    sizes = [50, 40, 30, 20, 10]
    label = np.repeat(np.arange(5), sizes)
    picks = ranking(strategy, clusters(sizes), budget=5)[:5]
    assert sorted(label[picks]) == [0, 1, 2, 3, 4]
    assert label[picks[0]] == 0  # the largest first


def test_typiclust_turns_to_clusters_without_labels() -> None:
    sizes = [50, 40, 30, 20, 10]
    label = np.repeat(np.arange(5), sizes)
    pool = clusters(sizes)
    picks = ranking("typiclust", pool, budget=3, labeled_data=pool[[0, 55]], seed_fisher=True)[:3]
    assert sorted(label[picks]) == [2, 3, 4]


@pytest.mark.parametrize(
    ("n_classes", "n_labels", "strategy"),
    [
        (7, 0, "coverage"),
        (7, 99, "coverage"),
        (7, 100, "aopt"),
        (2, 39, "coverage"),
        (2, 40, "aopt"),
    ],
)
def test_auto_covers_up_to_a_hundred_labels_or_twenty_a_class(
    n_classes: int, n_labels: int, strategy: str
) -> None:
    labeled = {"labeled_data": MANY[:n_labels], "seed_fisher": True} if n_labels else {}
    head = LinearHead(np.random.default_rng(3).normal(size=(n_classes, POOL.shape[1])))

    def order(name: str) -> np.ndarray:
        sampler = ActiveSampler("classification", head, 20, strategy=name, **labeled)
        return sampler.rank(POOL).indices

    assert np.array_equal(order("auto"), order(strategy))


@pytest.mark.parametrize(("n_labels", "strategy"), [(119, "coverage"), (120, "aopt")])
def test_auto_covers_up_to_two_labels_a_class(n_labels: int, strategy: str) -> None:
    head = LinearHead(np.random.default_rng(2).normal(size=(60, POOL.shape[1])))
    labeled = {"labeled_data": MANY[:n_labels], "seed_fisher": True}

    def order(name: str) -> np.ndarray:
        sampler = ActiveSampler("classification", head, 10, strategy=name, **labeled)
        return sampler.rank(POOL).indices

    assert np.array_equal(order("auto"), order(strategy))


@pytest.mark.parametrize(("n_labels", "strategy"), [(119, "coverage"), (120, "aopt")])
def test_auto_counts_the_classes_of_the_largest_of_several_outputs(
    n_labels: int, strategy: str
) -> None:
    outputs = [("regression", 1), ("classification", 60), ("classification", 2)]
    head = LinearHead(np.random.default_rng(2).normal(size=(63, POOL.shape[1])))
    labeled = {"labeled_data": MANY[:n_labels], "seed_fisher": True}
    samplers = (
        ActiveSampler(outputs, head, 10, strategy=name, **labeled) for name in ("auto", strategy)
    )
    assert np.array_equal(*(sampler.rank(POOL).indices for sampler in samplers))


def test_auto_is_the_design_in_regression_and_without_conditioning() -> None:
    head = LinearHead([[1.0, 2.0, 0.0, 1.0, -1.0]])
    samplers = (ActiveSampler("regression", head, 10, strategy=name) for name in ("auto", "aopt"))
    assert np.array_equal(*(sampler.rank(POOL).indices for sampler in samplers))
    given = {"labeled_data": POOL[:3], "seed_fisher": False}
    assert np.array_equal(ranking("auto", **given), ranking("aopt", **given))


def test_gradients_of_higher_rank_are_refused() -> None:
    with pytest.raises(ParameterError, match="one factor; give side='fisher', or leave rank off"):
        ranking("bait", rank=2)
    assert len(ranking("bait", rank=2, side="fisher")) == len(POOL)


@pytest.mark.parametrize("strategy", strategies())
def test_a_rank_that_a_strategy_cannot_use_names_those_that_can(strategy: str) -> None:
    side = {"side": "fisher"} if strategy == "bait" else {}
    if strategy in ("bait", "logdet", "vessal"):
        assert len(ranking(strategy, rank=2, **side)) == len(POOL)
        return
    message = rf"rank is 2, and strategy '{strategy}' has no .* use 'bait', 'logdet' or 'vessal'$"
    with pytest.raises(ParameterError, match=message):
        ActiveSampler("classification", HEAD, 5, strategy=strategy, rank=2)


@settings(max_examples=50)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 40), copies=st.integers(1, 4))
def test_kmeans_gives_distinct_medoids_even_among_duplicates(
    seed: int, n: int, copies: int
) -> None:
    rng = np.random.default_rng(seed)
    h = torch.from_numpy(np.repeat(rng.normal(size=(n, 3)), copies, axis=0))
    k = int(rng.integers(1, len(h) + 1))
    medoids = kmeans_medoids(h, k, rng)
    assert len(set(medoids)) == k
    assert torch.isfinite(kmeans(h, k, rng)).all()


def test_draws_follow_the_weights_and_skip_what_is_closed() -> None:
    weights = torch.tensor([1.0, -1.0, 0.0, 3.0])
    assert [draw(weights, u) for u in (0.0, 0.2499, 0.2501, 0.999999)] == [0, 0, 3, 3]
    assert {draw(torch.tensor([0.0, -1.0, 0.0]), u) for u in np.linspace(0, 0.999, 9)} == {0, 2}


def test_single_factors_agree_between_kinds_of_kernel() -> None:
    output = ModelOutput(torch.randn(9, 4, generator=torch.Generator().manual_seed(0)),
                         torch.from_numpy(POOL[:9]))  # fmt: skip
    one, scaled = FisherKernel("classification"), FisherKernel("classification", scale=3.0)
    x, y = one.points(output), scaled.points(output)
    torch.testing.assert_close(one.gram(x, x) / 9, scaled.gram(y, y))
    far = FisherKernel("classification", scale=1e9)
    z = far.points(ModelOutput(output.logits, output.embedding * 1e9))
    torch.testing.assert_close(one.gram(x, x), far.gram(z, z))
