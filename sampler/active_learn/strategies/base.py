"""What a strategy is: one small class that orders a pool, registered by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar, get_type_hints

import numpy as np
import torch

from ..errors import ParameterError
from ..inputs.pool import Pool
from ..models import ModelOutput
from ..posterior.fisher import ProblemType
from ..selectors.stream_scorers import Scorer
from ..validation import check_parameter

__all__ = ["Anchors", "Context", "Picks", "Strategy", "build_strategy", "register", "strategies"]


@dataclass(frozen=True)
class Anchors:
    """What all partitions of a pool go by, so that their scores are of one measure.

    Attributes
    ----------
    references : ModelOutput, optional
        Points that stand for the whole pool, drawn as the ranking of the whole pool draws them;
        None for strategies that use none.
    scale : float
        Root mean square norm of the whole pool's embeddings, as `Pool.scale` gives it; 1 for
        strategies that do not use it.
    size : int
        Candidates of the whole pool.
    """

    references: ModelOutput | None
    scale: float
    size: int


@dataclass(frozen=True)
class Context:
    """All that a strategy may know.

    Attributes
    ----------
    pool : Pool
        N candidates.
    seed : ModelOutput, optional
        Labeled samples to condition on; None without ``seed_fisher`` or before any label.
    has_labels : bool
        Whether any labeled data was given, conditioned on or not.
    problem_type : {'classification', 'regression', 'multilabel'}
    n : int
        Candidates to order, at most N.
    budget : int
        Candidates that are labeled before the next selection (k), at most N.
    depth : int
        Greedy picks before the tail is ordered by residual score; at least ``budget``, the same
        for every ``n``, so that rankings are nested.
    rng : numpy.random.Generator
        The only source of randomness.
    precompute_covariance : bool
        Whether the covariance of the whole pool may be known before the first decision.
    max_conditioned : int
        Bound on the labeled rows that are conditioned on.
    anchors : Anchors, optional
        What stands for the whole pool, where ``pool`` is one partition of it.
    first : tuple of int
        Candidates to take before all others, as if they had been picked.
    """

    pool: Pool
    seed: ModelOutput | None
    has_labels: bool
    problem_type: ProblemType
    n: int
    budget: int
    depth: int
    rng: np.random.Generator
    precompute_covariance: bool = False
    max_conditioned: int = 2000
    anchors: Anchors | None = None
    first: tuple[int, ...] = ()

    def scale(self) -> float:
        """Give the root mean square norm of the whole pool's embeddings."""
        return self.pool.scale() if self.anchors is None else self.anchors.scale

    def whole(self) -> int:
        """Give how many candidates the whole pool has."""
        return len(self.pool) if self.anchors is None else self.anchors.size

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Give all embeddings, (N, d), and the seed's, in units of their root mean square.

        Distances are then the same up to a factor, and their squares neither over- nor underflow.
        """
        scale = self.scale()
        seed = None if self.seed is None else self.seed.embedding / scale
        return self.pool.outputs().embedding / scale, seed


@dataclass(frozen=True)
class Picks:
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
    def descending(cls, scores: torch.Tensor, n: int) -> Picks:
        """Order by score, ties by position."""
        return cls.completed([], [], scores, n)

    @classmethod
    def completed(
        cls, picked: list[int], gains: list[float], residual: torch.Tensor, n: int
    ) -> Picks:
        """Give the picks, then the other candidates by descending ``residual`` (N,), n in all."""
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


class Strategy(ABC):
    """Base of all strategies: a frozen dataclass whose fields are the strategy's own parameters.

    Attributes
    ----------
    name : str
        By which `ActiveSampler` finds it.
    nested : bool
        Whether what is chosen with a small budget starts what is chosen with a large one. For one
        budget, the first n of a ranking are the same for every n, whatever the strategy.
    partitioned : bool
        Whether what is best of each part of a pool contains what is good of the whole.
    telescopes : bool
        Whether scores are gains in one objective, which then is their sum over the picks.
    """

    name: ClassVar[str]
    nested: ClassVar[bool] = True
    partitioned: ClassVar[bool] = False
    telescopes: ClassVar[bool] = False

    def check(self, problem_type: ProblemType) -> None:  # noqa: B027 (most take any problem)
        """Raise ParameterError when the strategy means nothing for a problem type."""

    @abstractmethod
    def rank_pool(self, context: Context) -> Picks:
        """Order ``context.n`` candidates of the pool."""

    def check_partitioned(self) -> None:
        """Raise ParameterError when the strategy has no form for a partitioned pool."""
        if not self.partitioned:
            names = [repr(name) for name in strategies() if _REGISTRY[name].partitioned]
            raise ParameterError(
                f"strategy {self.name!r} has to see the whole pool at once and has no partitioned "
                f"form; use {', '.join(names[:-1])} or {names[-1]}, or rank the pool in one piece"
            )

    def anchors(self, context: Context) -> Anchors:
        """Draw what stands for a pool, of which single rows can be read, when it is partitioned."""
        return Anchors(None, 1.0, len(context.pool))

    def start(self, context: Context) -> list[int]:
        """Choose the candidates that every partition of a pool takes first; drawn before anchors.

        The pool is one of which single rows can be read.
        """
        return []

    def scorer(self, problem_type: ProblemType, scale: float) -> Scorer:
        """Give what scores a stream, for embeddings of some root mean square norm.

        Raises
        ------
        ParameterError
            When the strategy has no stream form.
        """
        raise ParameterError(
            f"strategy {self.name!r} has to see the whole pool and has no stream form; "
            "use 'auto', 'aopt', 'bait', 'vessal', 'margin', 'entropy', 'least_confidence' or "
            "'random', or give a pool (a tensor, an array, a list or a Dataset)"
        )


_REGISTRY: dict[str, type[Strategy]] = {}
S = TypeVar("S", bound=type[Strategy])


def register(strategy: S) -> S:
    """Make a strategy known by its name (a class decorator)."""
    _REGISTRY[strategy.name] = strategy
    return strategy


def strategies() -> list[str]:
    """Give the names of all strategies."""
    return sorted(_REGISTRY)


def build_strategy(name: str, parameters: dict[str, Any]) -> Strategy:
    """Build a strategy, refusing parameters that mean nothing to it.

    Raises
    ------
    ParameterError
        When the name or a parameter is unknown (the message lists what there is), or a value is
        of no use.
    """
    if name not in _REGISTRY:
        raise ParameterError(
            f"strategy {name!r} is unknown; choose one of {', '.join(strategies())}"
        )
    strategy = _REGISTRY[name]
    known = [field.name for field in fields(strategy)]  # type: ignore[arg-type]
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
