"""Fisher factors and uncertainties against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn import DataError, ParameterError
from active_learn.models import ModelOutput
from active_learn.posterior.fisher import output_factors, probabilities, uncertainty
from active_learn.posterior.kernels import FisherKernel
from active_learn.validation import Output
from hypothesis import given, settings
from hypothesis import strategies as st


def logits(n: int = 30, k: int = 5, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(3 * np.random.default_rng(seed).normal(size=(n, k)))


def test_factors_of_all_classes_sum_to_the_exact_information() -> None:
    z = logits()
    p = torch.softmax(z, dim=1)
    a = output_factors(z, "classification", rank=5)
    exact = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    torch.testing.assert_close(torch.einsum("nrk,nrl->nkl", a, a), exact)


def test_multilabel_factors_sum_to_the_exact_information() -> None:
    z = logits()
    p = torch.sigmoid(z)
    a = output_factors(z, "multilabel", rank=9)
    assert a.shape == (30, 5, 5)
    torch.testing.assert_close(torch.einsum("nrk,nrl->nkl", a, a), torch.diag_embed(p * (1 - p)))


def test_rank_one_is_the_likeliest_class() -> None:
    z = logits()
    p = torch.softmax(z, dim=1)
    best = p.argmax(dim=1)
    expected = p.amax(dim=1).sqrt()[:, None] * (torch.nn.functional.one_hot(best, 5) - p)
    torch.testing.assert_close(output_factors(z, "classification")[:, 0], expected)


@pytest.mark.parametrize("problem", ["classification", "multilabel"])
def test_gradient_is_the_gradient_of_the_loss_at_the_likeliest_answer(problem: str) -> None:
    z = logits().requires_grad_()
    if problem == "classification":
        loss = torch.nn.functional.cross_entropy(z, z.argmax(dim=1), reduction="sum")
    else:
        loss = torch.nn.functional.binary_cross_entropy_with_logits(
            z, (z > 0).double(), reduction="sum"
        )
    (gradient,) = torch.autograd.grad(loss, z)
    factors = output_factors(z.detach(), problem, side="gradient")[:, 0]
    torch.testing.assert_close(factors, -gradient)


def test_regression_has_no_output_side() -> None:
    assert output_factors(logits(), "regression") is None


OUTPUTS = (Output("classification", 3), Output("regression", 1), Output("multilabel", 2))


def test_the_information_of_several_outputs_is_block_diagonal() -> None:
    z = logits(k=6)
    a = output_factors(z, OUTPUTS, rank=3)
    p, q = torch.softmax(z[:, :3], dim=1), torch.sigmoid(z[:, 4:])
    exact = z.new_zeros(len(z), 6, 6)
    exact[:, :3, :3] = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    exact[:, 3, 3] = 1
    exact[:, 4:, 4:] = torch.diag_embed(q * (1 - q))
    torch.testing.assert_close(torch.einsum("nrk,nrl->nkl", a, a), exact)


def test_gradients_of_several_outputs_stand_side_by_side() -> None:
    z = logits(k=6)
    a = output_factors(z, OUTPUTS, side="gradient")
    assert a.shape == (30, 1, 6)
    torch.testing.assert_close(
        a[:, :, :3], output_factors(z[:, :3], "classification", side="gradient")
    )
    torch.testing.assert_close(a[:, :, 4:], output_factors(z[:, 4:], "multilabel", side="gradient"))
    numbers = (Output("regression", 1), Output("regression", 2))
    assert output_factors(logits(k=3), numbers) is None


def test_the_uncertainty_of_several_outputs_is_the_mean() -> None:
    z = logits(k=6)
    parts = [
        uncertainty(z[:, :3], "classification"),
        torch.ones(30),
        uncertainty(z[:, 4:], "multilabel"),
    ]
    torch.testing.assert_close(uncertainty(z, OUTPUTS), torch.stack(parts).mean(dim=0).double())
    torch.testing.assert_close(uncertainty(torch.zeros(4, 6), OUTPUTS), torch.ones(4))


def test_logits_that_are_not_those_of_the_outputs_are_refused() -> None:
    with pytest.raises(DataError, match=r"gives 5 logits; expected 3 \+ 1 \+ 2"):
        uncertainty(logits(k=5), OUTPUTS)


def test_gradients_have_rank_one() -> None:
    with pytest.raises(ParameterError, match="rank is 2, and the gradient has one factor"):
        output_factors(logits(), "classification", side="gradient", rank=2)


def test_one_output_is_a_binary_classifier() -> None:
    z = torch.tensor([[2.0], [-1.0]])
    p = probabilities(z, "classification")
    torch.testing.assert_close(p[:, 1], torch.sigmoid(z[:, 0]))
    torch.testing.assert_close(uncertainty(z, "classification"), 1 - (2 * p[:, 1] - 1).abs())


def test_uncertainty_is_one_when_all_classes_are_alike() -> None:
    z = torch.zeros(4, 3)
    for problem in ("classification", "multilabel", "regression"):
        torch.testing.assert_close(uncertainty(z, problem), torch.ones(4))


@settings(max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(2, 8),
    rank=st.integers(1, 8),
    side=st.sampled_from(["fisher", "gradient"]),
    spread=st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0]),
)
def test_the_bound_on_the_output_side_holds(
    seed: int, k: int, rank: int, side: str, spread: float
) -> None:
    z = spread * logits(50, k, seed)
    rank = 1 if side == "gradient" else min(rank, k)
    for problem in ("classification", "multilabel"):
        kernel = FisherKernel(problem, side, rank)
        x = kernel.points(ModelOutput(z, torch.ones(50, 1, dtype=z.dtype)))
        assert x.a.square().sum(dim=(1, 2)).max() <= kernel.output_bound + 1e-12


@pytest.mark.parametrize("n_classes", [2, 3, 77])
def test_the_margin_is_that_of_the_two_likeliest_classes(n_classes: int) -> None:
    """Also of ties, and of classes as likely as any number can say."""
    logits = torch.from_numpy(np.random.default_rng(0).normal(size=(200, n_classes))).float()
    logits[:20] = 0
    logits[20:40, 0] = logits[20:40, -1] = 5
    logits[40:60, 1] = 1000
    top = probabilities(logits, "classification").sort(dim=1, descending=True).values
    assert torch.equal(uncertainty(logits, "classification"), 1 - (top[:, 0] - top[:, 1]))
