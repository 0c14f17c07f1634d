"""Conditioning in Gram form against inverses of dense information matrices."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from active_learn import ParameterError
from active_learn.models import ModelOutput
from active_learn.posterior.kernels import FisherKernel, Points, RadialKernel
from active_learn.posterior.posterior import Posterior, first_best, pivoted_cholesky
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode


def points(rng: np.random.Generator, n: int, d: int = 4, k: int = 3, rank: int = 1) -> Points:
    kernel = FisherKernel("classification", rank=rank)
    return kernel.points(
        ModelOutput(
            torch.from_numpy(rng.normal(size=(n, k))), torch.from_numpy(rng.normal(size=(n, d)))
        )
    )


def dense(x: Points) -> np.ndarray:
    """(n, K * d, R) gradient vectors."""
    assert x.a is not None
    return torch.einsum("nrk,nd->nkdr", x.a, x.h).flatten(1, 2).numpy()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    s=st.integers(0, 15),
    rank=st.integers(1, 3),
    ridge=st.sampled_from([1e-3, 0.1, 10.0]),
    cut=st.integers(0, 15),
)
def test_covariances_equal_the_dense_inverse(
    seed: int, n: int, s: int, rank: int, ridge: float, cut: int
) -> None:
    rng = np.random.default_rng(seed)
    x, known = points(rng, n, rank=rank), points(rng, s, rank=rank)
    posterior = Posterior(FisherKernel("classification", rank=rank), ridge, known[:cut])
    if len(known[cut:]):
        posterior.condition(known[cut:])
    inverse = np.linalg.inv(reference.information(dense(known), ridge))
    u = dense(x)
    expected = np.einsum("iar,ab,jbs->irjs", u, inverse, u)
    z = posterior.whiten(x)
    assert posterior.size == s * rank
    got = posterior.covariance(x, x, z, z).view(n, rank, n, rank).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7 / ridge)
    own = posterior.variance(x, z).numpy()
    np.testing.assert_allclose(
        own, np.einsum("irjs->ijrs", expected)[range(n), range(n)], rtol=1e-6, atol=1e-7 / ridge
    )


def test_max_conditioned_keeps_what_explains_the_rest() -> None:
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(10, 6))
    h = np.concatenate([centers + 1e-4 * rng.normal(size=(10, 6)) for _ in range(30)])
    kernel = RadialKernel()
    x = kernel.points(ModelOutput(torch.zeros(300, 2), torch.from_numpy(h)))
    full = Posterior(kernel, 1e-2, x)
    few = Posterior(kernel, 1e-2, x, max_conditioned=12)
    assert 10 <= few.size <= 12
    chosen = pivoted_cholesky(kernel, x, 10)
    assert {int(i) % 10 for i in chosen} == set(range(10))
    left_full = full.variance(x, full.whiten(x)).mean() * 1e-2
    left_few = few.variance(x, few.whiten(x)).mean() * 1e-2
    assert left_full < left_few < 0.02  # of 1 before any label


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 120),
    rank=st.integers(1, 3),
    size=st.integers(1, 60),
)
def test_each_pivot_has_the_largest_variance_left(seed: int, n: int, rank: int, size: int) -> None:
    x = points(np.random.default_rng(seed), n, d=9, rank=rank)
    pivots = pivoted_cholesky(FisherKernel("classification", rank=rank), x, size)
    u = dense(x)
    left = u.copy()
    for pivot in pivots.tolist():
        trace = np.square(left).sum(axis=(1, 2))
        assert trace[pivot] == pytest.approx(trace.max(), rel=1e-6)
        basis = np.linalg.qr(left[pivot])[0][:, np.linalg.svd(left[pivot])[1] > 1e-6]
        left -= np.einsum("ab,cb,ncr->nar", basis, basis, left)
    assert len(pivots) <= min(size, n)
    if len(pivots) < min(size, n):  # nothing was left to explain
        assert np.square(left).sum(axis=(1, 2)).max() < 1e-4 * np.square(u).sum(axis=(1, 2)).max()


def test_pivots_stop_when_nothing_is_left_to_explain() -> None:
    rng = np.random.default_rng(1)
    h = np.repeat(rng.normal(size=(3, 5)), 20, axis=0)
    kernel = RadialKernel()
    x = kernel.points(ModelOutput(torch.zeros(60, 2), torch.from_numpy(h)))
    assert len(pivoted_cholesky(kernel, x, 40)) == 3


@pytest.mark.parametrize("magnitude", [1e-18, 1.0, 1e18])
def test_the_radial_kernel_sees_directions_only(magnitude: float) -> None:
    rng = np.random.default_rng(2)
    h = torch.from_numpy(rng.normal(size=(20, 4)).astype(np.float32))
    kernel = RadialKernel(gamma=3.0)
    x = kernel.points(ModelOutput(h, h * magnitude))
    expected = torch.exp(3 * (torch.nn.functional.cosine_similarity(h[:, None], h, dim=2) - 1))
    torch.testing.assert_close(kernel.gram(x, x), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kernel.own(x)[:, 0, 0], torch.ones(20))


def test_ties_go_to_the_first() -> None:
    scores = torch.tensor([0.1, 0.7 * (1 - 1e-7), 0.7, 0.2])
    assert first_best(scores) == 1
    assert first_best(-scores) == 0
    assert first_best(torch.zeros(4)) == 0


def test_a_ridge_that_is_lost_in_rounding_is_refused() -> None:
    kernel = FisherKernel("regression")
    h = torch.ones(5, 3) * 1e12
    with pytest.raises(ParameterError, match="use a larger one"):
        Posterior(kernel, 1e-3, kernel.points(ModelOutput(torch.zeros(5, 1), h)))


def test_further_samples_cost_no_products_with_the_zeros_above_the_diagonal() -> None:
    n, m = 1024, 32
    h = torch.from_numpy(np.random.default_rng(0).normal(size=(n + m, 8)))
    kernel = RadialKernel(1.0)
    points = kernel.points(ModelOutput(torch.zeros(n + m, 2), h))
    posterior = Posterior(kernel, 0.1, points[:n])
    with FlopCounterMode(display=False) as counter:
        posterior.condition(points[n:])
    assert counter.get_total_flops() < 0.75 * 2 * (2 * n * n * m)
    at_once = Posterior(kernel, 0.1, points)
    x = kernel.points(ModelOutput(torch.zeros(40, 2), h[:40] + 0.1))
    found, expected = (one.variance(x, one.whiten(x)) for one in (posterior, at_once))
    assert torch.allclose(found, expected, atol=1e-9)


def test_samples_that_are_whitened_already_cost_half_and_are_as_exact() -> None:
    n, m = 1024, 32
    kernel, h = (
        RadialKernel(4.0),
        torch.randn(n + 100, 8, generator=torch.Generator().manual_seed(0)),
    )
    points = kernel.points(ModelOutput(torch.zeros(len(h), 2), h))
    posterior = Posterior(kernel, 0.1)
    for at in range(0, n, m):
        block = points[at : at + m]
        z = posterior.whiten(block)
        with FlopCounterMode(display=False) as counter:
            posterior.extend(block, z)
    assert posterior.size == n
    assert counter.get_total_flops() < 0.75 * 2 * n * n * m
    at_once, x = Posterior(kernel, 0.1, points[:n]), points[n:]
    found, expected = (one.variance(x, one.whiten(x)) for one in (posterior, at_once))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
