"""What a selection depends on beside its candidates: the problem, model, strategy and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from .errors import DataError
from .inputs.model_runner import check_output, run_batch, run_model
from .inputs.pool import LazyPool, Pool, open_pool
from .inputs.samples import Samples
from .models import Adapter, ModelOutput
from .strategies import Context, PoolSummary, Strategy
from .streams.stream import RateController, Stream
from .validation import ProblemType, pool_budget

__all__ = ["SelectionProblem"]

# Greedy picks of a ranking, whatever its length: what is labeled before the next ranking.
N_GREEDY = 200


@dataclass
class SelectionProblem:
    """All that a selection depends on, beside the candidates.

    `ActiveSampler` and the partitioned selection both work on it. It can be pickled where the model
    can.

    Attributes
    ----------
    problem_type : {'classification', 'regression', 'multilabel'}
    budget : int or float
    adapter : Adapter
        The model.
    strategy : Strategy
    device : torch.device
        Where model outputs are.
    seed : int
        Of all random choices.
    seed_fisher : bool
        Whether selections are conditioned on the labeled data.
    precompute_covariance : bool
    max_conditioned : int
    progress : bool
    labeled : ModelOutput, optional
        Of all labeled samples.
    """

    problem_type: ProblemType
    budget: int | float
    adapter: Adapter
    strategy: Strategy
    device: torch.device
    seed: int
    seed_fisher: bool
    precompute_covariance: bool
    max_conditioned: int
    progress: bool
    labeled: ModelOutput | None = None

    def add_labeled(self, samples: Any) -> ModelOutput | None:
        """Add labeled samples, or their model outputs; return the outputs, None where none came."""
        new = self.labeled_output(samples)
        if new is not None:
            self.check_size(new)
            self.labeled = new if self.labeled is None else ModelOutput.cat([self.labeled, new])
        return new

    def labeled_output(self, samples: Any) -> ModelOutput | None:
        """Return the model's outputs of labeled samples, None where there are no samples."""
        if isinstance(samples, ModelOutput):
            return check_output(samples.to(self.device), 0, "labeled sample") if samples else None
        samples = Samples(samples, "labeled data")
        if len(samples) == 0:
            return None
        return run_model(self.adapter, samples, device=self.device, what="labeled sample")

    def run_batch(self, batch: Any, position: int) -> ModelOutput:
        """Return the model's outputs of a batch that starts at a position of a stream."""
        output = run_batch(self.adapter, batch, position, self.device)
        self.check_size(output)
        return output

    def check_size(self, output: ModelOutput) -> None:
        """Check that embeddings have the size of the labeled data's."""
        if self.labeled is None:
            return
        new, old = output.embedding.shape[1], self.labeled.embedding.shape[1]
        if new != old:
            raise DataError(
                f"samples have embeddings of size {new}, the labeled data of size {old}; "
                "both have to come from the same model"
            )

    def open_pool(self, X: Any, positions: np.ndarray | None = None) -> Pool:
        """Return the pool of some candidates; ``positions`` are their numbers in messages."""
        pool = open_pool(
            X if isinstance(X, Samples) else Samples(X),
            self.adapter,
            device=self.device,
            progress=self.progress,
            positions=positions,
        )
        self.check_size(pool.take(np.zeros(1, dtype=np.int64)))
        return pool

    def open_lazy_pool(self, read: Callable[[np.ndarray], Any], size: int) -> LazyPool:
        """Return a pool of which single candidates are read through a function."""
        return LazyPool(read, size, self.adapter, device=self.device)

    def context(
        self,
        pool: Pool,
        n: int,
        summary: PoolSummary | None = None,
        preselected: tuple[int, ...] = (),
    ) -> Context:
        """Return the input of the strategy, for n candidates of a pool or of a part of one."""
        whole = len(pool) if summary is None else summary.size
        budget = min(pool_budget(self.budget, whole), len(pool))
        return Context(
            pool=pool,
            labeled=self.labeled if self.seed_fisher else None,
            has_labels=self.labeled is not None,
            problem_type=self.problem_type,
            n=n,
            budget=budget,
            n_greedy=min(max(budget, N_GREEDY), len(pool)),
            rng=np.random.default_rng(self.seed),
            precompute_covariance=self.precompute_covariance,
            max_conditioned=self.max_conditioned,
            summary=summary,
            preselected=preselected,
        )

    def begin_stream(self, total: int | None) -> Stream:
        """Return a new stream.

        Raises
        ------
        ParameterError
            When the strategy has no stream form.
        """
        self.strategy.scorer(self.problem_type, 1.0)
        return Stream(
            partial(self.strategy.scorer, self.problem_type),
            RateController(self.budget, total),
            np.random.default_rng(self.seed),
            self.labeled if self.seed_fisher else None,
            self.max_conditioned,
        )
