"""λ by leave-one-out of kernel ridge regression, and labels of unequal noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, DataError, LabeledData, LinearHead, ParameterError
from active_learn.models import ModelOutput
from active_learn.posterior.kernels import RadialKernel
from active_learn.posterior.label_noise import choose_ridge, leave_one_out
from active_learn.posterior.posterior import Posterior
from hypothesis import given, settings
from hypothesis import strategies as st

KERNEL = RadialKernel(1.0)


def labeled(n: int, spread: float, *, seed: int = 0, constant: bool = False) -> ModelOutput:
    """Samples with a smooth label, and noise of some standard deviation."""
    rng = np.random.default_rng(seed)
    h = torch.from_numpy(rng.normal(size=(n, 4)).astype(np.float32))
    unit = h / h.norm(dim=1, keepdim=True)
    y = unit[:, :1] + unit[:, 1:2] * unit[:, 2:3]
    y = y + spread * torch.from_numpy(rng.normal(size=(n, 1)).astype(np.float32))
    return ModelOutput(torch.zeros(n, 1), h, torch.ones_like(y) if constant else y)


@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(4, 12), ridge=st.sampled_from([1e-3, 0.1]))
def test_the_closed_form_equals_regressions_without_each_label(
    seed: int, n: int, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    x = KERNEL.points(ModelOutput(torch.zeros(n, 1), torch.from_numpy(rng.normal(size=(n, 3)))))
    gram, y = KERNEL.gram(x, x).numpy(), rng.normal(size=n)
    noise = ridge * rng.uniform(0.5, 4, n)
    errors = []
    for left_out in range(n):
        kept = np.arange(n) != left_out
        # Kernel ridge regression with an intercept b: (K + D) a + b = y, Σ a = 0.
        system = np.ones((n, n))
        system[:-1, :-1] = gram[np.ix_(kept, kept)] + np.diag(noise[kept])
        system[-1, -1] = 0
        *a, b = np.linalg.solve(system, np.append(y[kept], 0))
        errors.append(y[left_out] - gram[left_out, kept] @ a - b)
    expected = np.average(np.square(errors), weights=1 / noise) / y.var(ddof=1)
    got = leave_one_out(*map(torch.from_numpy, (gram, y, noise)))
    assert float(got) == pytest.approx(expected, rel=1e-4)


def test_exact_labels_get_a_small_ridge_and_noisy_ones_a_large_one() -> None:
    assert choose_ridge(KERNEL, labeled(150, 0.0)) == 0.001
    assert choose_ridge(KERNEL, labeled(150, 1.0)) == 0.1


def test_without_enough_labels_that_differ_the_ridge_is_the_default() -> None:
    assert choose_ridge(KERNEL, None) == 0.1
    assert choose_ridge(KERNEL, ModelOutput(torch.zeros(50, 1), torch.randn(50, 4))) == 0.1
    assert choose_ridge(KERNEL, labeled(19, 0.0)) == 0.1
    assert choose_ridge(KERNEL, labeled(150, 0.0, constant=True)) == 0.1


def test_outputs_count_where_their_labels_are_known() -> None:
    exact, noisy = labeled(150, 0.0), labeled(150, 0.1, seed=0)
    targets = torch.cat([exact.targets, noisy.targets], dim=1)
    targets[15:, 1] = torch.nan  # too few of the second output
    assert choose_ridge(KERNEL, ModelOutput(exact.logits, exact.embedding, targets)) == 0.001


def test_the_sampler_uses_the_ridge_of_its_labels_unless_one_is_given() -> None:
    known, pool = labeled(150, 0.0), np.random.default_rng(1).normal(size=(80, 4))

    def order(labels: object, **arguments: object) -> list[int]:
        sampler = ActiveSampler(
            "regression", LinearHead.untrained(1, 4), 20, labeled_data=labels, seed_fisher=True,
            random_state=0, **arguments,
        )  # fmt: skip
        return sampler.rank(pool).indices.tolist()

    with_labels = LabeledData(known.embedding, targets=known.targets[:, 0])
    assert order(with_labels) == order(known.embedding, ridge=0.001)
    assert order(with_labels) != order(known.embedding)
    assert order(with_labels, ridge=0.1) == order(known.embedding)


def test_a_noisy_label_lowers_the_variance_less() -> None:
    x = KERNEL.points(ModelOutput(torch.zeros(3, 1), torch.eye(3)))
    noisy = ModelOutput(torch.zeros(3, 1), torch.eye(3), noise=torch.tensor([1.0, 4.0, 0.25]))
    posterior = Posterior(KERNEL, 0.1, KERNEL.points(noisy))
    left = posterior.variance(x, posterior.whiten(x))[:, 0, 0] * 0.1
    assert left[2] < left[0] < left[1]
    gram = KERNEL.gram(x, x).double()
    inverse = torch.linalg.inv(gram + 0.1 * torch.diag(noisy.noise.double()))
    expected = (gram - gram @ inverse @ gram).diagonal().float()
    torch.testing.assert_close(left, expected, rtol=1e-4, atol=1e-6)


def test_outputs_keep_their_labels_where_others_have_none() -> None:
    bare = labeled(3, 0.0).without_labels()
    noisy = ModelOutput(bare.logits, bare.embedding, noise=torch.full((3,), 2.0))
    both = ModelOutput.cat([labeled(2, 0.0), noisy])
    assert torch.isfinite(both.targets[:, 0]).tolist() == [True, True, False, False, False]
    assert both.noise.tolist() == [1, 1, 2, 2, 2]
    assert ModelOutput.cat([bare, bare]).targets is None
    assert both[1:].noise.tolist() == [1, 2, 2, 2]
    x = KERNEL.points(bare).cat(KERNEL.points(noisy))
    assert x[2:].noise.tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize(
    ("problem", "data", "error", "message"),
    [
        ("classification", {"targets": [0, 1]}, ParameterError, "in regression only"),
        ("regression", {"targets": [[0, 1]]}, DataError, r"shape \(1, 2\); expected \(2, 1\)"),
        ("regression", {"targets": [0, np.inf]}, DataError, "infinity"),
        ("regression", {"noise": [1.0]}, DataError, r"shape \(1,\); expected \(2,\)"),
        ("classification", {"noise": [1.0, 0.0]}, DataError, "above 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    problem: str, data: dict, error: type[Exception], message: str
) -> None:
    head = LinearHead.untrained(2 if problem == "classification" else 1, 4)
    with pytest.raises(error, match=message):
        ActiveSampler(problem, head, 1, labeled_data=LabeledData(np.eye(4)[:2], **data))


def test_a_saved_sampler_keeps_its_labels(tmp_path) -> None:
    head = LinearHead.untrained(1, 4)
    data = LabeledData(np.eye(4)[:3], targets=[1.0, np.nan, 3.0], noise=[1, 2, 3])
    sampler = ActiveSampler("regression", head, 1, labeled_data=data)
    sampler.update(np.eye(4)[3:])
    sampler.save(tmp_path / "state.npz")
    kept = ActiveSampler.load(tmp_path / "state.npz", head).problem.labeled
    assert kept.noise.tolist() == [1, 2, 3, 1]
    np.testing.assert_equal(kept.targets[:, 0].numpy(), [1, np.nan, 3, np.nan])
