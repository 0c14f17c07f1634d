"""ActiveSampler: checks arguments, asks the model, asks the strategy, hands back samples."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from .errors import BudgetError, DataError, ParameterError, StateError
from .evaluation.replay import Candidate
from .evaluation.tuning import Tuning, tune
from .inputs.pool import Pool, run_batch, run_model
from .inputs.samples import Samples
from .models import LinearHead, ModelOutput, adapt
from .persistence import pack_output, read_state, retake_logits, unpack_output, write_state
from .posterior.fisher import ProblemType
from .ranking import Ranking, explain
from .strategies import Anchors, Context, build_strategy
from .streams.iterables import is_pipe, select_from_pipe
from .streams.stream import RateController, Stream, cat_outputs
from .validation import (
    check_batch_size,
    check_budget,
    check_count,
    check_device,
    check_pipe,
    check_problem_type,
    check_ranked,
    check_seed,
    pool_budget,
)

__all__ = ["ActiveSampler", "Ranking"]

# Greedy picks of a ranking, whatever its length: what is labeled before the next ranking.
GREEDY_DEPTH = 200
# Samples of a pipe that are read before they are decided, without a batch size.
STREAM_ROWS = 64


class ActiveSampler:
    """Chooses what to label next.

    Parameters
    ----------
    problem_type : {'classification', 'regression', 'multilabel'}
    model : LinearHead, PyTorch module, ONNX file, (model, tokenizer), or callable
        What is to be improved; see `active_learn.models.adapt`. With a `LinearHead` the candidates
        are embeddings.
    budget : int or float
        How many to choose; a float in (0, 1) is a fraction of a pool or the acceptance rate of a
        stream.
    precompute_covariance : bool
        Let the covariance of the whole pool be known before the first decision, which needs a pool
        that can be read twice. Strategies that see the whole pool anyway are not changed by it.
    seed_fisher : bool
        Condition on the labeled data, so that what is known is not chosen again.
    labeled_data : tensor, array, list or Dataset, optional
        Labeled samples, of the kind the candidates are.
    strategy : str
        See `active_learn.strategies`.
    rank : int
        Fisher factors per sample, for the strategies that use them.
    random_state : int, optional
        Makes choices repeatable. Without it they differ between samplers.
    device : str or torch.device, optional
        Where the selection runs; the CPU when omitted.
    batch_size : int or 'auto'
        Samples per call of the model. Results do not depend on it.
    progress : bool
        Show progress bars.
    max_conditioned : int
        Bound on the labeled Fisher factors that are conditioned on; the most informative are kept.
    layer : str or torch.nn.Module, optional
        The last linear layer, where it cannot be found.
    **strategy_parameters
        The strategy's own parameters.

    Raises
    ------
    ParameterError, DataError, ModelError

    Examples
    --------
    >>> sampler = ActiveSampler("classification", model, budget=1000)
    >>> valuable = sampler.select(candidates)
    """

    def __init__(
        self,
        problem_type: ProblemType,
        model: Any,
        budget: int | float,
        precompute_covariance: bool = False,
        seed_fisher: bool = False,
        *,
        labeled_data: Any = None,
        strategy: str = "auto",
        rank: int = 1,
        random_state: int | None = None,
        device: str | torch.device | None = None,
        batch_size: int | str = "auto",
        progress: bool = False,
        max_conditioned: int = 2000,
        layer: Any = None,
        **strategy_parameters: Any,
    ) -> None:
        self.problem_type = check_problem_type(problem_type)
        check_count("rank", rank)
        check_count("max_conditioned", max_conditioned)
        if rank != 1:
            strategy_parameters["rank"] = rank
        self.budget = check_budget(budget)
        self.precompute_covariance = bool(precompute_covariance)
        self.seed_fisher = bool(seed_fisher)
        self.max_conditioned = max_conditioned
        self.progress = progress
        self._strategy = build_strategy(strategy, strategy_parameters)
        self._strategy_parameters = strategy_parameters
        self._strategy.check(problem_type)
        self._device = check_device(device)
        self._stream_rows = check_batch_size(batch_size) or STREAM_ROWS
        self._adapter = adapt(model, layer=layer, device=device, batch_size=batch_size)
        self._seed = check_seed(random_state)
        self._labeled: ModelOutput | None = None
        self._stream: Stream | None = None
        if labeled_data is not None and len(Samples(labeled_data, "labeled data")):
            self.update(labeled_data)

    def update(self, labeled: Any) -> None:
        """Add labeled samples; equals starting over with all of them.

        Only the new ones are run through the model.

        Raises
        ------
        DataError
            When they do not fit the earlier ones.
        """
        samples = Samples(labeled, "labeled data")
        if len(samples) == 0:
            return
        new = run_model(self._adapter, samples, device=self._device, what="labeled sample")
        self._require_fit(new)
        self._labeled = new if self._labeled is None else cat_outputs([self._labeled, new])
        if self._stream is not None and self.seed_fisher:
            self._stream.update(new)

    def rank(self, X: Any, n: int | None = None) -> Ranking:
        """Order a pool by the worth of labeling each candidate.

        Parameters
        ----------
        X : tensor, array, list or Dataset
            N candidates.
        n : int, optional
            How many to order; all when omitted. Less is less work.

        Returns
        -------
        Ranking
            The first ``max(budget, 200)`` are picked greedily by the greedy strategies, the others
            ordered by what is left of their value.

        Raises
        ------
        DataError, BudgetError
        """
        pool = self._pool(X)
        context = self._context(pool, check_ranked(n, len(pool)))
        picks = self._strategy.rank_pool(context)
        doubt, novelty = explain(pool, picks.indices, self.problem_type, self._labeled)
        return Ranking(picks.indices, picks.scores, doubt, novelty)

    def select(self, X: Any, *, return_indices: bool = False, total: int | None = None) -> Any:
        """Choose candidates of a pool, or let those of a stream through that are worth it.

        Parameters
        ----------
        X : tensor, array, list or Dataset; or any iterable
            A pool; or a pipe that is read once: an iterator, a generator, a DataLoader (its batches
            are taken apart), a file of lines. Items that are tuples are read as
            (input, target, ...).
        return_indices : bool
            Give the indices too: positions in the pool, or in the stream since its start.
        total : int, optional
            Length of the stream, with an int budget.

        Returns
        -------
        of a pool : samples of the kind they came in (of a Dataset, a Subset), the most valuable
            first; with ``return_indices`` also an ndarray of int64
        of a pipe : a generator of samples, or of (sample, index)
            Each is decided within one batch of the model. A further pipe continues the stream.

        Raises
        ------
        BudgetError
            When the pool has fewer candidates than the budget, ``total`` is missing, or the stream
            ends before it.
        ParameterError
            When ``precompute_covariance`` or the strategy need what a pipe cannot give.
        DataError
        """
        if is_pipe(X):
            check_pipe(self.budget, total, self.precompute_covariance)
            stream = self._continue_stream(total)
            return select_from_pipe(X, stream, self._run_batch, self._stream_rows, return_indices)
        if total is not None:
            raise ParameterError("total is the length of a stream; leave it out with a pool")
        samples = Samples(X)
        pool = self._pool(samples)
        k = pool_budget(self.budget, len(pool))
        if k > len(pool):
            raise BudgetError(
                f"the budget is {k}, the pool has {len(pool)} candidates; "
                "lower the budget or add candidates"
            )
        indices = self._strategy.rank_pool(self._context(pool, k)).indices
        chosen = samples.choose(indices)
        return (chosen, indices) if return_indices else chosen

    def hyperparameter_tune(
        self,
        X_labeled: Any,
        y_labeled: Any,
        *,
        candidates: Sequence[Candidate] | None = None,
        n_folds: int = 4,
        n_repeats: int = 2,
    ) -> Tuning:
        """Choose the strategy and its parameters by replaying how these labels could be chosen.

        The model gives the embeddings; linear heads are fitted on them anew as labels come in. The
        sampler goes on with what was best, which is what it has unless another is clearly better.

        Parameters
        ----------
        X_labeled : tensor, array, list or Dataset
        y_labeled : array of shape (n,), or (n, L) of 0 and 1 in multilabel
        candidates : sequence of Candidate, optional
            What to compare; what the sampler has, random and margin are added.
        n_folds, n_repeats : int
            Held-out folds, and how often they are dealt anew.

        Returns
        -------
        Tuning
            Printed, it is the table of all candidates and the reason for the choice.

        Raises
        ------
        DataError
            When there are too few labels to tell.
        ParameterError
            When a stream is in progress, which began with another strategy.
        """
        if self._stream is not None:
            raise ParameterError("a stream is in progress; tune before it starts")
        samples = Samples(X_labeled, "labeled data")
        output = run_model(self._adapter, samples, device=self._device, what="labeled sample")
        tuning = tune(
            partial(
                ActiveSampler,
                seed_fisher=self.seed_fisher,
                precompute_covariance=self.precompute_covariance,
                max_conditioned=self.max_conditioned,
                device=self._device,
            ),
            output.embedding.cpu().numpy(),
            np.asarray(y_labeled),
            problem_type=self.problem_type,
            current=Candidate(self._strategy.name, self._strategy_parameters),
            candidates=candidates,
            n_folds=n_folds,
            n_repeats=n_repeats,
            progress=self.progress,
        )
        self._strategy_parameters = dict(tuning.best.parameters)
        self._strategy = build_strategy(tuning.best.strategy, self._strategy_parameters)
        return tuning

    @property
    def seen(self) -> int:
        """Samples of the stream that are decided; where to go on after `load`."""
        return 0 if self._stream is None else self._stream.controller.seen

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labeled data's factors and the stream in progress to one file.

        The file holds arrays and JSON, no pickle and no model, and is replaced in one step.
        """
        meta: dict[str, Any] = {
            "arguments": {
                "problem_type": self.problem_type,
                "budget": self.budget,
                "precompute_covariance": self.precompute_covariance,
                "seed_fisher": self.seed_fisher,
                "strategy": self._strategy.name,
                "max_conditioned": self.max_conditioned,
                **self._strategy_parameters,
            },
            "random_state": str(self._seed),
        }
        groups = {}
        if self._labeled is not None:
            groups["labeled"] = pack_output(self._labeled)
        if self._stream is not None:
            meta["stream"], groups["stream"] = self._stream.state()
        write_state(path, meta, groups)

    @classmethod
    def load(cls, path: str | os.PathLike[str], model: Any, **arguments: Any) -> ActiveSampler:
        """Take up a saved state.

        Parameters
        ----------
        path : path of the file
        model
            The model, which is not part of the state. It has to be the one that was saved with,
            but for a `LinearHead`, which may have been trained on, also on other classes.
        **arguments
            ``device``, ``batch_size``, ``progress`` and ``layer``, as for a new sampler.

        Raises
        ------
        StateError
            When the file is missing, damaged, foreign, or does not fit together.
        """
        meta, groups = read_state(path)
        try:
            seed = int(meta["random_state"])
            sampler = cls(model=model, random_state=seed, **meta["arguments"], **arguments)
            if isinstance(model, LinearHead):
                retake_logits(groups, model)
            if "labeled" in groups:
                sampler._labeled = unpack_output(groups["labeled"], sampler._device)
            if "stream" in meta:
                stream = sampler._begin_stream(meta["stream"]["total"])
                stream.restore(meta["stream"], groups["stream"], sampler._device)
                sampler._stream = stream
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the state at {path} does not fit together ({error}); save it again"
            ) from error
        return sampler

    def _continue_stream(self, total: int | None) -> Stream:
        """Give the stream in progress, or a new one where there is none or it is complete."""
        stream = self._stream
        if stream is None or stream.controller.total != total or stream.controller.done:
            self._stream = stream = self._begin_stream(total)
        return stream

    def _begin_stream(self, total: int | None) -> Stream:
        self._strategy.scorer(self.problem_type, 1.0)  # refuses strategies without a stream form
        return Stream(
            partial(self._strategy.scorer, self.problem_type),
            RateController(self.budget, total),
            np.random.default_rng(self._seed),
            self._labeled if self.seed_fisher else None,
            self.max_conditioned,
        )

    def _run_batch(self, batch: Any, first: int) -> ModelOutput:
        output = run_batch(self._adapter, batch, first, self._device)
        self._require_fit(output)
        return output

    def _pool(self, X: Any, positions: np.ndarray | None = None) -> Pool:
        samples = X if isinstance(X, Samples) else Samples(X)
        pool = Pool(
            samples,
            self._adapter,
            device=self._device,
            progress=self.progress,
            positions=positions,
        )
        self._require_fit(pool.take(np.zeros(1, dtype=np.int64)))
        return pool

    def _require_fit(self, output: ModelOutput) -> None:
        """Refuse embeddings of another size than the labeled data's."""
        if self._labeled is None:
            return
        new, old = output.embedding.shape[1], self._labeled.embedding.shape[1]
        if new != old:
            raise DataError(
                f"samples have embeddings of size {new}, the labeled data of size {old}; "
                "both have to come from the same model"
            )

    def _context(
        self, pool: Pool, n: int, anchors: Anchors | None = None, first: tuple[int, ...] = ()
    ) -> Context:
        whole = len(pool) if anchors is None else anchors.size
        budget = min(pool_budget(self.budget, whole), len(pool))
        return Context(
            pool=pool,
            seed=self._labeled if self.seed_fisher else None,
            has_labels=self._labeled is not None,
            problem_type=self.problem_type,
            n=n,
            budget=budget,
            depth=min(max(budget, GREEDY_DEPTH), len(pool)),
            rng=np.random.default_rng(self._seed),
            precompute_covariance=self.precompute_covariance,
            max_conditioned=self.max_conditioned,
            anchors=anchors,
            first=first,
        )
