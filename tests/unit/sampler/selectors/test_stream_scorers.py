"""Scores of a stream, kept up to date by steps, against those of a posterior made anew."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn.models import ModelOutput
from active_learn.posterior.fisher import uncertainty
from active_learn.posterior.kernels import FisherKernel, Kernel, RadialKernel
from active_learn.posterior.posterior import Posterior
from active_learn.selectors.a_optimal import a_optimal_gain
from active_learn.selectors.stream_scorers import DesignScorer, GainScorer

RIDGE = 0.1
KERNELS = [RadialKernel(), *(FisherKernel("classification", rank=rank) for rank in (1, 3))]


def outputs(rng: np.random.Generator, n: int) -> ModelOutput:
    logits, embedding = rng.normal(size=(n, 3)), rng.normal(size=(n, 6))
    return ModelOutput(torch.from_numpy(logits).float(), torch.from_numpy(embedding).float())


def made_anew(
    kernel: Kernel, known: ModelOutput, block: ModelOutput, references: ModelOutput
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gains of a block, and its A-optimal gains over references."""
    posterior = Posterior(kernel, RIDGE, kernel.points(known))
    x, r = kernel.points(block), kernel.points(references)
    z = posterior.whiten(x)
    own = posterior.variance(x, z)
    cross = posterior.covariance(x, r, z, posterior.whiten(r))
    weights = uncertainty(references.logits, "classification").repeat_interleave(x.rank)
    c = (cross * weights).view(len(x), x.rank, -1)
    gain = own.diagonal(dim1=1, dim2=2).sum(dim=1)
    return gain, a_optimal_gain(own, c @ c.transpose(1, 2))


@pytest.mark.parametrize("kernel", KERNELS, ids=["radial", "rank 1", "rank 3"])
def test_scores_by_steps_are_those_of_a_posterior_made_anew(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    known, references = outputs(rng, 20), outputs(rng, 50)
    gains = GainScorer(kernel, RIDGE)
    designs = DesignScorer(kernel, RIDGE, "classification", beta=1.0)
    for scorer in (gains, designs):
        scorer.start(known, references, room=100)
    for slots in ([1, 7, 49], [0, 50, 51], [3]):  # also such as are new
        block = outputs(rng, 16)
        for scorer in (gains, designs):
            scorer.open(block)
        for kept in (3, 0, 12):
            for scorer in (gains, designs):
                scorer.keep(kept)
            known = ModelOutput.cat([known, block[kept]])
            gain, design = made_anew(kernel, known, block, references)
            torch.testing.assert_close(gains.scores().float(), gain, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(designs.scores().float(), design, rtol=1e-3, atol=1e-4)
        changed = outputs(rng, len(slots))
        at = torch.tensor(slots)
        grown = ModelOutput.cat([references, changed[at >= len(references)]])
        grown.logits[at], grown.embedding[at] = changed.logits, changed.embedding
        references = grown
        designs.refer(at, changed)
