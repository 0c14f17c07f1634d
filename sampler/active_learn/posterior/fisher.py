"""From model outputs to Fisher factors: one function per problem type.

With a linear last layer the gradient of the loss of one sample with respect to that layer's weights
is an outer product ``a ⊗ h`` of an output side ``a`` (K numbers) and the embedding ``h`` (d
numbers), and the Fisher information is a sum of such outer products. Only the two sides are ever
stored: a vector of K * d numbers is never formed.
"""

from __future__ import annotations

from typing import Literal

import torch

from ..errors import DataError, ParameterError
from ..validation import AnyProblemType, Problem

__all__ = ["Side", "output_factors", "probabilities", "split_outputs", "uncertainty"]

Side = Literal["fisher", "gradient"]


def split_outputs(
    logits: torch.Tensor, problem: Problem
) -> list[tuple[torch.Tensor, AnyProblemType]]:
    """Return the logits of each output of a model, with its problem type.

    Raises
    ------
    DataError
        When there are more or fewer logits than the outputs have.
    """
    if isinstance(problem, str):
        return [(logits, problem)]
    sizes = [output.size for output in problem]
    if logits.shape[1] != sum(sizes):
        raise DataError(
            f"the model gives {logits.shape[1]} logits; expected {' + '.join(map(str, sizes))}, "
            "those of its outputs side by side"
        )
    parts = logits.split(sizes, dim=1)
    return [(part, output.problem_type) for part, output in zip(parts, problem, strict=True)]


def probabilities(logits: torch.Tensor, problem_type: AnyProblemType) -> torch.Tensor:
    """Return class probabilities (softmax), or label probabilities (sigmoid) in multilabel.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
        A classifier with one output (K = 1) is read as binary: its probabilities have two columns.
    problem_type : {'classification', 'multilabel'}

    Returns
    -------
    Tensor of shape (n, max(K, 2)) in classification, (n, K) in multilabel
    """
    if problem_type == "multilabel":
        return torch.sigmoid(logits)
    if logits.shape[1] == 1:
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    return torch.softmax(logits, dim=1)


def uncertainty(logits: torch.Tensor, problem: Problem) -> torch.Tensor:
    """Return one number in [0, 1] per sample: how unsure the model is of its likeliest answer.

    Classification: ``1 - (p1 - p2)``, one minus the margin between the two likeliest classes.
    Multilabel: ``1 - |2p - 1|``, the same margin, averaged over the labels. Regression: 1, as a
    point prediction says nothing about its own error. Tagging: the logit, which is the mean of one
    minus the margin over the parts of a task. Of several outputs the mean: each number is
    a share of what the output leaves uncertain before any label, so that they have one scale.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    problem : {'classification', 'regression', 'multilabel'} or tuple of Output

    Returns
    -------
    Tensor of shape (n,)
    """
    parts = [_uncertainty(part, kind) for part, kind in split_outputs(logits, problem)]
    return torch.stack(parts).mean(dim=0)


def _uncertainty(logits: torch.Tensor, problem_type: AnyProblemType) -> torch.Tensor:
    if problem_type == "regression":
        return torch.ones_like(logits[:, 0])
    if problem_type == "tagging":
        return logits[:, 0]
    p = probabilities(logits, problem_type)
    if problem_type == "multilabel":
        return (1 - (2 * p - 1).abs()).mean(dim=1)
    # Two passes for the largest are several times as fast as topk.
    first, classes = p.max(dim=1, keepdim=True)
    second = p.scatter(1, classes, -torch.inf).amax(dim=1)
    return 1 - (first[:, 0] - second)


def output_factors(
    logits: torch.Tensor, problem: Problem, *, side: Side = "fisher", rank: int = 1
) -> torch.Tensor | None:
    """Return the output side ``a`` of the Fisher information of each sample.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    problem : {'classification', 'regression', 'multilabel'} or tuple of Output
    side : {'fisher', 'gradient'}
        'fisher' carries the probability of the answer: ``√p_y (e_y − p)`` for the ``rank``
        likeliest classes y; over all classes their outer products sum to the exact
        ``diag(p) − ppᵀ``. 'gradient' is the gradient at the likeliest answer ŷ, ``e_ŷ − p``
        (BADGE), which stays large where the model is unsure.
        In multilabel: ``√(p_k(1−p_k)) e_k`` for the ``rank`` most uncertain labels, or ``ŷ − p``.
        Of several outputs the gradients stand side by side, as that of the sum of their losses;
        their Fisher information is block-diagonal, so each has factors of its own.
    rank : int
        Number of factors per sample and output, R. Ranks above K are K.

    Returns
    -------
    Tensor of shape (n, R, K), or None where all outputs are numbers
        None stands for a = 1: under squared error the Fisher information is ``I ⊗ hhᵀ`` and the
        outputs change no design.

    Raises
    ------
    ParameterError
        When several factors of the gradient are asked for: there is one.

    References
    ----------
    Saran et al., "Streaming Active Learning with Deep Neural Networks", ICML 2023, eq. 2.
    Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021, eq. 5.
    Ash et al., "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds", ICLR 2020.
    """
    if side == "gradient" and rank != 1:
        raise ParameterError(
            f"rank is {rank}, and the gradient has one factor; give side='fisher', or leave rank "
            "off"
        )
    parts = split_outputs(logits, problem)
    if all(kind == "regression" for _, kind in parts):
        return None
    factors = [_output_factors(part, kind, side, rank) for part, kind in parts]
    if len(factors) == 1:
        return factors[0]
    if side == "gradient":
        return torch.cat(factors, dim=2)
    rows, columns = ([one.shape[at] for one in factors] for at in (1, 2))
    blocks = logits.new_zeros(len(logits), sum(rows), sum(columns))
    for at, one in enumerate(factors):
        row, column = sum(rows[:at]), sum(columns[:at])
        blocks[:, row : row + rows[at], column : column + columns[at]] = one
    return blocks


def _output_factors(
    logits: torch.Tensor, problem_type: AnyProblemType, side: Side, rank: int
) -> torch.Tensor:
    """Return the factors of one output; beside others a number has the factor 1."""
    if problem_type == "regression":
        return torch.ones_like(logits[:, None, :1])
    p = probabilities(logits, problem_type)
    if side == "gradient":
        return _gradient(p, problem_type)[:, None, :]
    rank = min(rank, p.shape[1])
    if problem_type == "multilabel":
        variance, labels = (p * (1 - p)).topk(rank, dim=1)
        factors = p.new_zeros(len(p), rank, p.shape[1])
        return factors.scatter_(2, labels[:, :, None], variance.sqrt()[:, :, None])
    likeliest, classes = p.topk(rank, dim=1)
    factors = p[:, None, :].expand(-1, rank, -1).neg()
    factors.scatter_add_(2, classes[:, :, None], torch.ones_like(likeliest)[:, :, None])
    return factors.mul_(likeliest.sqrt()[:, :, None])


def _gradient(p: torch.Tensor, problem_type: AnyProblemType) -> torch.Tensor:
    if problem_type == "multilabel":
        return (p > 0.5).to(p.dtype) - p
    answer = p.argmax(dim=1, keepdim=True)
    return (-p).scatter_add_(1, answer, torch.ones_like(answer, dtype=p.dtype))
