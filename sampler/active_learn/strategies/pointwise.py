"""Base of the strategies that score each sample on its own, from its logits alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import ParameterError
from ..posterior.fisher import split_outputs, uncertainty
from ..selectors.stream_scorers import LogitScorer, Scorer
from ..validation import Problem, ProblemType, types_of
from .base import Context, Selection, Strategy, names_of

__all__ = ["Pointwise"]


@dataclass(frozen=True)
class Pointwise(Strategy):
    """Order by a score of the logits; one pass over the pool in row blocks.

    Of several outputs it is the mean of the scores, each as a share of the score of an untrained
    output. Numbers, which have no class probabilities, are left out of it.

    Parameters
    ----------
    beta : float
        How sharply a stream separates high scores from low ones; no effect on a pool.
    """

    partitioned: ClassVar[bool] = True
    beta: float = 8.0

    @abstractmethod
    def score(self, logits: torch.Tensor, problem_type: ProblemType) -> torch.Tensor:
        """Return the score of each sample, (n,), from its logits, (n, K); highest first."""

    def joint_score(self, logits: torch.Tensor, problem: Problem) -> torch.Tensor:
        """Return the score of each sample over all outputs, (n,)."""
        if problem == "tagging":  # of a task of parts only the doubt about them is known
            return uncertainty(logits, problem)
        if isinstance(problem, str):
            return self.score(logits, problem)
        shares = [
            self.score(part, kind) / self.score(torch.zeros_like(part[:1]), kind)
            for part, kind in split_outputs(logits, problem)
            if kind != "regression" and kind != "tagging"
        ]
        return torch.stack(shares).mean(dim=0)

    def check(self, problem_type: Problem) -> None:
        """Refuse regression, where a point prediction has no class probabilities."""
        super().check(problem_type)
        if set(types_of(problem_type)) == {"regression"}:
            others = names_of(lambda strategy: not issubclass(strategy, Pointwise))
            raise ParameterError(
                f"strategy {self.name!r} needs class probabilities, which regression does not "
                f"have; use {others}"
            )

    def rank_pool(self, context: Context) -> Selection:
        """Return candidates by descending score, ties by position in the pool."""
        scores = torch.empty(len(context.pool))
        for rows, output in context.pool.blocks():
            scores[rows] = self.joint_score(output.logits, context.problem_type).cpu()
        return Selection.descending(scores, context.n)

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return a scorer by the same numbers, to the power of β."""
        return LogitScorer(lambda logits: self.joint_score(logits, problem_type), self.beta)
