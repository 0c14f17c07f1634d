"""The interface of strategies: one small class each, registered by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np
import torch

from ..errors import ParameterError
from ..inputs.pool import Pool
from ..models import ModelOutput
from ..selectors.stream_scorers import Scorer
from ..validation import Problem, check_parameter

__all__ = [
    "Context",
    "PoolSummary",
    "Selection",
    "Strategy",
    "build_strategy",
    "names_of",
    "parameters_of",
    "register",
    "strategies",
]


@dataclass(frozen=True)
class PoolSummary:
    """What all partitions of a pool have in common, so that their scores can be compared.

    Attributes
    ----------
    references : ModelOutput, optional
        Points that represent the whole pool, drawn as the ranking of the whole pool draws them;
        None for strategies that use none.
    scale : float
        Root mean square norm of the whole pool's embeddings, as `Pool.scale` computes it; 1 for
        strategies that do not use it.
    size : int
        Candidates of the whole pool.
    center : Tensor of shape (d,), optional
        What is subtracted from all embeddings; of the references it is already.
    sample : ndarray of int64, optional
        Ascending positions of the references in the whole pool, where they are also the
        candidates that enter the greedy selection.
    """

    references: ModelOutput | None
    scale: float
    size: int
    center: torch.Tensor | None = None
    sample: np.ndarray | None = None

    def to(self, device: torch.device) -> PoolSummary:
        """Return the same summary with its references on a device."""
        references = None if self.references is None else self.references.to(device)
        center = None if self.center is None else self.center.to(device)
        return replace(self, references=references, center=center)


@dataclass(frozen=True)
class Context:
    """The input of a strategy.

    Attributes
    ----------
    pool : Pool
        N candidates.
    labeled : ModelOutput, optional
        Labeled samples to condition on; None without ``seed_fisher`` or before any label.
    has_labels : bool
        Whether any labeled data was given, conditioned on or not.
    problem_type : {'classification', 'regression', 'multilabel'} or tuple of Output
    n : int
        Candidates to order, at most N.
    budget : int
        Candidates that are labeled before the next selection (k), at most N.
    n_greedy : int
        Greedy picks before the tail is ordered by residual score; at least ``budget``, the same
        for every ``n``, so that rankings are nested.
    rng : numpy.random.Generator
        The only source of randomness.
    precompute_covariance : bool
        Whether the covariance of the whole pool may be known before the first decision.
    max_conditioned : int
        Bound on the labeled rows that are conditioned on.
    summary : PoolSummary, optional
        Of the whole pool, where ``pool`` is one partition of it.
    preselected : tuple of int
        Candidates that precede all others, as if they had been picked.
    positions : ndarray of int64, optional
        Positions of the candidates in the whole pool, ascending, where ``pool`` is one partition.
    """

    pool: Pool
    labeled: ModelOutput | None
    has_labels: bool
    problem_type: Problem
    n: int
    budget: int
    n_greedy: int
    rng: np.random.Generator
    precompute_covariance: bool = False
    max_conditioned: int = 2000
    summary: PoolSummary | None = None
    preselected: tuple[int, ...] = ()
    positions: np.ndarray | None = None

    def scale(self) -> float:
        """Return the root mean square norm of the whole pool's embeddings."""
        return self.pool.scale() if self.summary is None else self.summary.scale

    def whole(self) -> int:
        """Return how many candidates the whole pool has."""
        return len(self.pool) if self.summary is None else self.summary.size

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return all embeddings, (N, d), and the labeled ones, in units of their root mean square.

        Distances are then the same up to a factor, and their squares neither over- nor underflow.
        """
        scale = self.scale()
        labeled = None if self.labeled is None else self.labeled.embedding / scale
        return self.pool.outputs().embedding / scale, labeled


@dataclass(frozen=True)
class Selection:
    """Candidates in the order in which they are worth labeling.

    Attributes
    ----------
    indices : ndarray of int64 of shape (n,)
    scores : ndarray of float64 of shape (n,)
        Acquisition value of each: when it was picked, or, in the tail, after the last pick.
    """

    indices: np.ndarray
    scores: np.ndarray

    @classmethod
    def descending(cls, scores: torch.Tensor, n: int) -> Selection:
        """Return the n best candidates by score, ties by position."""
        return cls.completed([], [], scores, n)

    @classmethod
    def completed(
        cls, picked: list[int], gains: list[float], residual: torch.Tensor, n: int
    ) -> Selection:
        """Return the picks, then the others by descending ``residual`` (N,): n in all."""
        head = np.asarray(picked[:n], dtype=np.int64)
        if len(head) == n:
            return cls(head, np.asarray(gains[:n], dtype=np.float64))
        left = residual.double().cpu().numpy().copy()
        left[picked] = -np.inf
        order = np.argsort(-left, kind="stable")[: n - len(head)]
        return cls(
            np.concatenate([head, order.astype(np.int64)]),
            np.concatenate([np.asarray(gains, dtype=np.float64), left[order]]),
        )

    def followed_by(self, scores: torch.Tensor, n: int) -> Selection:
        """Return these candidates, then the others by descending score (N,): n in all."""
        scores = scores.clone()
        scores[self.indices] = -torch.inf
        rest = Selection.descending(scores, n - len(self.indices))
        return Selection(
            np.concatenate([self.indices, rest.indices]),
            np.concatenate([self.scores, rest.scores]),
        )


class Strategy(ABC):
    """Base of all strategies: a frozen dataclass whose fields are the strategy's own parameters.

    Attributes
    ----------
    name : str
        Its name for `ActiveSampler`.
    nested : bool
        Whether what is chosen with a small budget starts what is chosen with a large one. For one
        budget, the first n of a ranking are the same for every n, whatever the strategy.
    partitioned : bool
        Whether the best of each part of a pool contain a good selection of the whole.
    additive_gains : bool
        Whether scores are gains of one objective, which is then their sum over the picks.
    takes_parts : bool
        Whether it orders tasks of parts, which have a vector and a doubt but no class
        probabilities.
    """

    name: ClassVar[str]
    nested: ClassVar[bool] = True
    partitioned: ClassVar[bool] = False
    additive_gains: ClassVar[bool] = False
    takes_parts: ClassVar[bool] = False

    def check(self, problem_type: Problem) -> None:
        """Raise ParameterError when the strategy means nothing for a problem type."""
        if problem_type == "tagging" and not self.takes_parts:
            raise ParameterError(
                f"strategy {self.name!r} needs the class probabilities of a whole sample, which "
                "tagging does not have; use "
                f"{names_of(lambda strategy: strategy.takes_parts)}"
            )

    @abstractmethod
    def rank_pool(self, context: Context) -> Selection:
        """Return ``context.n`` candidates of the pool, in order."""

    def check_partitioned(self) -> None:
        """Raise ParameterError when the strategy has no form for a partitioned pool."""
        if not self.partitioned:
            raise ParameterError(
                f"strategy {self.name!r} has to see the whole pool at once and has no partitioned "
                f"form; use {names_of(lambda strategy: strategy.partitioned)}, or rank the pool in "
                "one piece"
            )

    def summarize_pool(self, context: Context) -> PoolSummary:
        """Return what the partitions of a pool have in common; the pool reads single rows only."""
        return PoolSummary(None, 1.0, len(context.pool))

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return the scorer of a stream, for embeddings of some root mean square norm.

        Raises
        ------
        ParameterError
            When the strategy has no stream form.
        """
        raise ParameterError(
            f"strategy {self.name!r} has to see the whole pool and has no stream form; use "
            f"{names_of(lambda strategy: strategy.scorer is not Strategy.scorer)}, or give a pool "
            "(a tensor, an array, a list or a Dataset)"
        )


_REGISTRY: dict[str, type[Strategy]] = {}
S = TypeVar("S", bound=type[Strategy])


def register(strategy: S) -> S:
    """Register a strategy under its name (a class decorator)."""
    _REGISTRY[strategy.name] = strategy
    return strategy


def strategies() -> list[str]:
    """Return the names of all strategies."""
    return sorted(_REGISTRY)


def names_of(suits: Callable[[type[Strategy]], bool]) -> str:
    """Return the names of the strategies that suit, as a list in words for a message."""
    names = [repr(name) for name in strategies() if suits(_REGISTRY[name])]
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def parameters_of(name: str) -> list[str]:
    """Return the names of a strategy's own parameters."""
    return [field.name for field in fields(_strategy_class(name))]  # type: ignore[arg-type]


def _strategy_class(name: str) -> type[Strategy]:
    if name not in _REGISTRY:
        raise ParameterError(
            f"strategy {name!r} is unknown; choose one of {', '.join(strategies())}"
        )
    return _REGISTRY[name]


def build_strategy(name: str, parameters: dict[str, Any]) -> Strategy:
    """Return a strategy with some of its parameters set.

    Raises
    ------
    ParameterError
        When the name or a parameter is unknown (the message lists the known ones), or a value
        cannot be used.
    """
    strategy, known = _strategy_class(name), parameters_of(name)
    unknown = [parameter for parameter in parameters if parameter not in known]
    if unknown:
        accepted = f"it takes {', '.join(known)}" if known else "it takes none of its own"
        raise ParameterError(
            f"parameter {unknown[0]!r} means nothing to strategy {name!r}; {accepted}"
        )
    kinds = get_type_hints(strategy)
    for parameter, value in parameters.items():
        check_parameter(parameter, kinds[parameter], value)
    return strategy(**parameters)
