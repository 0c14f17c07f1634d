"""What a selection depends on beside its candidates: the problem, model, strategy and labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from .errors import BudgetError, DataError, ParameterError
from .inputs.labeled_data import LabeledData
from .inputs.model_runner import check_output, run_batch, run_model
from .inputs.pool import LazyPool, OutputPool, Pool, open_pool
from .inputs.samples import Samples
from .models import Adapter, ModelOutput, TaggingModel, adapt
from .posterior.fisher import split_outputs
from .ranking import Ranking
from .reasons import explain
from .strategies import Context, PoolSummary, Strategy, build_strategy, parameters_of
from .strategies.base import names_of
from .streams.rate_control import RateController
from .streams.stream import Stream
from .validation import (
    Problem,
    check_batch_size,
    check_budget,
    check_count,
    check_device,
    check_flag,
    check_problem_type,
    check_ranked,
    check_seed,
    pool_budget,
)

__all__ = ["SelectionProblem"]

# Greedy picks of a ranking, whatever its length: what is labeled before the next ranking.
N_GREEDY = 200
# Samples of a pipe that are read before they are decided, without a batch size.
STREAM_ROWS = 64
# What a model's outputs are called, by the type of problem.
OUTPUTS = {"classification": "classes", "multilabel": "labels", "regression": "outputs"}


@dataclass
class SelectionProblem:
    """All that a selection depends on, beside the candidates.

    `ActiveSampler` and the partitioned selection both work on it. It can be pickled where the model
    can.

    Attributes
    ----------
    problem_type : {'classification', 'regression', 'multilabel'} or tuple of Output
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
    stream_rows : int
        Samples of a pipe that are read before they are decided.
    labeled : ModelOutput, optional
        Of all labeled samples.
    """

    problem_type: Problem
    budget: int | float
    adapter: Adapter
    strategy: Strategy
    device: torch.device
    seed: int
    seed_fisher: bool
    precompute_covariance: bool
    max_conditioned: int
    progress: bool
    stream_rows: int = STREAM_ROWS
    labeled: ModelOutput | None = None

    @classmethod
    def build(
        cls,
        *,
        problem_type: Problem,
        model: Any,
        budget: int | float,
        precompute_covariance: bool,
        seed_fisher: bool,
        labeled_data: Any,
        strategy: str,
        rank: int,
        random_state: int | None,
        device: str | torch.device | None,
        batch_size: int | str,
        progress: bool,
        max_conditioned: int,
        layer: Any,
        **strategy_parameters: Any,
    ) -> SelectionProblem:
        """Return the problem that the arguments of `ActiveSampler` describe.

        Raises
        ------
        ParameterError, DataError, ModelError
        """
        problem_type = check_problem_type(problem_type)
        check_count("rank", rank)
        check_count("max_conditioned", max_conditioned)
        if rank != 1:
            check_rank(strategy, rank)
            strategy_parameters["rank"] = rank
        budget = check_budget(budget)
        chosen = build_strategy(strategy, strategy_parameters)
        chosen.check(problem_type)
        if problem_type == "tagging":
            adapter: Adapter = model if isinstance(model, TaggingModel) else TaggingModel(model)
        else:
            adapter = adapt(model, layer=layer, device=device, batch_size=batch_size)
        problem = cls(
            problem_type=problem_type,
            budget=budget,
            strategy=chosen,
            device=check_device(device),
            seed=check_seed(random_state),
            seed_fisher=check_flag("seed_fisher", seed_fisher),
            precompute_covariance=check_flag("precompute_covariance", precompute_covariance),
            max_conditioned=max_conditioned,
            progress=check_flag("progress", progress),
            stream_rows=check_batch_size(batch_size) or STREAM_ROWS,
            adapter=adapter,
        )
        if labeled_data is not None:
            problem.add_labeled(labeled_data)
        return problem

    def facts(self) -> dict[str, Any]:
        """Return what is known of the model and the labels; of a model that did not run, little."""
        facts: dict[str, Any] = {}
        sizes, layer = self.adapter.sizes, self.adapter.layer_name
        if layer is not None:
            facts["layer"] = layer
        if sizes is not None:
            facts["embedding size"], facts[OUTPUTS.get(str(self.problem_type), "outputs")] = sizes
        if self.labeled is not None:
            facts["labeled samples"] = len(self.labeled)
        return facts

    def use_strategy(self, name: str, parameters: dict[str, Any]) -> None:
        """Select by another strategy from now on."""
        self.strategy = build_strategy(name, parameters)

    def add_labeled(self, samples: Any) -> ModelOutput | None:
        """Add labeled samples, or their model outputs; return the outputs, None where none came."""
        new = self.labeled_output(samples)
        if new is not None:
            self.check_size(new)
            self.labeled = new if self.labeled is None else ModelOutput.cat([self.labeled, new])
        return new

    def labeled_output(self, samples: Any) -> ModelOutput | None:
        """Return the model's outputs of labeled samples, None where there are no samples."""
        if isinstance(samples, LabeledData):
            output = self.labeled_output(samples.samples)
            return None if output is None else samples.describe(output, self.problem_type)
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
        """Check how many logits the outputs have, and that embeddings fit the labeled data's."""
        split_outputs(output.logits, self.problem_type)
        if self.labeled is None:
            return
        new, old = output.embedding.shape[1], self.labeled.embedding.shape[1]
        if new != old:
            raise DataError(
                f"samples have embeddings of size {new}, the labeled data of size {old}; "
                "both have to come from the same model"
            )

    def open_pool(
        self,
        X: Any,
        positions: np.ndarray | None = None,
        center: torch.Tensor | None = None,
    ) -> Pool:
        """Return the pool of some candidates.

        Parameters
        ----------
        X : tensor, array, list or Dataset
        positions : ndarray of int64 of shape (n,), optional
            Numbers of the candidates in messages.
        center : Tensor of shape (d,), optional
            Origin of the embeddings, where they are centered and the pool is a part of another.
        """
        pool = open_pool(
            X if isinstance(X, Samples) else Samples(X),
            self.adapter,
            device=self.device,
            progress=self.progress,
            positions=positions,
        )
        self.check_size(pool.take(np.zeros(1, dtype=np.int64)))
        if self.centers and isinstance(pool, OutputPool):
            return pool.centered(self.center_of(pool) if center is None else center)
        return pool

    def open_lazy_pool(self, read: Callable[[np.ndarray], Any], size: int) -> LazyPool:
        """Return a pool of which single candidates are read through a function."""
        pool = LazyPool(read, size, self.adapter, device=self.device)
        if not self.centers:
            return pool
        center = self.center_of(pool)
        return LazyPool(read, size, self.adapter, device=self.device, center=center)

    @property
    def centers(self) -> bool:
        """Whether embeddings are centered: means of the parts of a task have much in common."""
        return self.problem_type == "tagging"

    def center_of(self, pool: Pool) -> torch.Tensor:
        """Return the mean embedding of a pool and the labeled data, (d,)."""
        total, n = pool.mean() * len(pool), len(pool)
        if self.labeled is not None:
            total = total + self.labeled.embedding.double().sum(dim=0)
            n += len(self.labeled)
        return (total / n).float()

    def labeled_beside(self, pool: Pool) -> ModelOutput | None:
        """Return the outputs of the labeled samples, from the origin of a pool's."""
        return None if self.labeled is None else self.labeled.shifted(pool.center)

    def context(
        self,
        pool: Pool,
        n: int,
        summary: PoolSummary | None = None,
    ) -> Context:
        """Return the input of the strategy, for n candidates of a pool or of a part of one."""
        whole = len(pool) if summary is None else summary.size
        budget = min(pool_budget(self.budget, whole), len(pool))
        return Context(
            pool=pool,
            labeled=self.labeled_beside(pool) if self.seed_fisher else None,
            has_labels=self.labeled is not None,
            problem_type=self.problem_type,
            n=n,
            budget=budget,
            n_greedy=min(max(budget, N_GREEDY), len(pool)),
            rng=np.random.default_rng(self.seed),
            precompute_covariance=self.precompute_covariance,
            max_conditioned=self.max_conditioned,
            summary=summary,
        )

    def rank(self, X: Any, n: int | None) -> Ranking:
        """Return the candidates of a pool in the order in which they are worth labeling."""
        pool = self.open_pool(X)
        found = self.strategy.rank_pool(self.context(pool, check_ranked(n, len(pool))))
        labeled = self.labeled_beside(pool)
        reasons = explain(pool, found.indices, self.problem_type, labeled)
        return Ranking(found.indices, found.scores, *reasons)

    def choose(self, X: Any) -> tuple[Any, np.ndarray]:
        """Return the samples of a pool that the budget chooses, and their positions.

        Raises
        ------
        BudgetError
            When the pool has fewer candidates than the budget.
        """
        samples = Samples(X)
        pool = self.open_pool(samples)
        k = pool_budget(self.budget, len(pool))
        if k > len(pool):
            raise BudgetError(
                f"the budget is {k}, the pool has {len(pool)} candidates; "
                "lower the budget or add candidates"
            )
        indices = self.strategy.rank_pool(self.context(pool, k)).indices
        return samples.choose(indices), indices

    def begin_stream(self, total: int | None) -> Stream:
        """Return a new stream.

        Raises
        ------
        ParameterError
            When the strategy has no stream form.
        """
        self.strategy.scorer(self.problem_type, 1.0)
        known = self.labeled if self.seed_fisher else None
        return Stream(
            partial(self.strategy.scorer, self.problem_type),
            RateController(self.budget, total),
            np.random.default_rng(self.seed),
            None if known is None else known.without_labels(),
            self.max_conditioned,
            centers=self.centers,
        )

    def resume_stream(self, past: Any, seen: int, kept: int) -> Stream:
        """Return a stream behind samples that were decided already; see `ActiveSampler.resume`."""
        if isinstance(self.budget, int):
            raise ParameterError(
                f"the budget is {self.budget}; a stream that goes on has a fraction, such as 0.1"
            )
        if not 0 <= kept <= seen:
            raise ParameterError(f"of {seen} samples {kept} cannot have been kept")
        stream, samples = self.begin_stream(None), Samples(past, "past samples")
        output = ModelOutput(torch.empty(0, 1), torch.empty(0, 1))
        if len(samples):
            output = run_model(self.adapter, samples, device=self.device, what="past sample")
            self.check_size(output)
        stream.resume(output, seen, kept)
        return stream


def check_rank(strategy: str, rank: int) -> None:
    """Check that a strategy uses several Fisher factors per sample."""
    if "rank" not in parameters_of(strategy):
        using = names_of(lambda one: "rank" in parameters_of(one.name))
        raise ParameterError(
            f"rank is {rank}, and strategy {strategy!r} has no Fisher factors; leave it off, or "
            f"use {using}"
        )
