"""ActiveSampler: selects from pools and streams what to label next."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, ParameterError
from .persistence import Persistent
from .ranking import Ranking
from .validation import Problem, check_flag, check_pipe

# What runs models imports torch, which takes seconds: imported when a sampler is made.
if TYPE_CHECKING:
    import torch

    from .evaluation.replay import Candidate
    from .evaluation.tuning import Tuning
    from .streams.stream import Stream

__all__ = ["ActiveSampler", "Ranking"]

# What is never taken for labeled data where a boolean belongs.
SCALARS = (str, bytes, int, float, np.generic)


class ActiveSampler(Persistent):
    """Chooses what to label next.

    Parameters
    ----------
    problem_type : {'classification', 'regression', 'multilabel', 'tagging'}
        'tagging' is for tasks that are made of parts, each with a class, such as the words of a
        text or the cells of an image. Of a model with several outputs a list of pairs, of the
        problem type and the number of logits of each, such as ``[('classification', 3),
        ('regression', 1)]``; the logits stand side by side. One ranking serves all outputs.
    model : LinearHead, PyTorch module, ONNX file, (model, tokenizer), or callable
        The model to improve; see `active_learn.models.adapt`. With a `LinearHead` the candidates
        are embeddings. In tagging a `TaggingHead`, a callable that returns the class probabilities
        of the parts of each task, or None before any label; the candidates are lists of arrays of
        shape (parts, d), a `RaggedArray` of all parts, or `PooledTasks`.
    budget : int or float
        How many to choose; a float in (0, 1) is a fraction of a pool or the acceptance rate of a
        stream.
    precompute_covariance : bool
        Compute the covariance of the whole pool before the first decision, which needs a pool that
        can be read twice. It changes nothing for strategies that see the whole pool anyway.
        Labeled data in its place are taken as ``labeled_data``.
    seed_fisher : bool
        Condition on the labeled data, so that similar samples are not chosen again.
    labeled_data : tensor, array, list, Dataset, ModelOutput or LabeledData, optional
        Labeled samples, of the same kind as the candidates; or the model's outputs of them. A
        `LabeledData` also holds their labels, in regression, and how noisy each label is.
    strategy : str
        See `active_learn.strategies`.
    rank : int
        Fisher factors per sample, for the strategies that use them.
    random_state : int, optional
        Makes choices repeatable. Without it they differ between samplers.
    device : str or torch.device, optional
        Where the selection runs; the CPU when omitted.
    batch_size : int or 'auto'
        Samples per call of the model. Results do not depend on it, beyond rounding. 'auto' starts
        at 64, doubles while rows of numbers get cheaper, and halves when memory runs out.
    progress : bool
        Show progress bars.
    max_conditioned : int
        Bound on the labeled Fisher factors that are conditioned on; the most informative are kept.
        `auto`, `aopt` and `bait` condition exactly on up to 1,000, and on more through 500
        landmarks, which carry what all of them say.
    layer : str or torch.nn.Module, optional
        The last linear layer, where it cannot be found.
    **strategy_parameters
        The strategy's own parameters.

    Attributes
    ----------
    problem : SelectionProblem
        What selections depend on beside the candidates.

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
        problem_type: Problem,
        model: Any,
        budget: int | float,
        precompute_covariance: bool | Any = False,
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
        if not isinstance(precompute_covariance, SCALARS):  # labeled data as the fourth argument
            labeled_data = given_once(precompute_covariance, labeled_data)
            precompute_covariance = False
        arguments = {name: value for name, value in locals().items() if name in self._defaults()}
        from .problem import SelectionProblem

        self._arguments = {**arguments, **strategy_parameters}
        self._stream: Stream | None = None
        self.problem = SelectionProblem.build(**self._arguments)

    problem_type = property(lambda self: self.problem.problem_type)
    budget = property(lambda self: self.problem.budget)
    precompute_covariance = property(lambda self: self.problem.precompute_covariance)
    seed_fisher = property(lambda self: self.problem.seed_fisher)
    max_conditioned = property(lambda self: self.problem.max_conditioned)
    progress = property(lambda self: self.problem.progress)

    def update(self, labeled: Any) -> None:
        """Add labeled samples; the result is that of a new sampler with all of them.

        The model runs over the new samples only.

        Parameters
        ----------
        labeled : tensor, array, list, Dataset, ModelOutput or LabeledData
            As ``labeled_data``.

        Raises
        ------
        DataError
            When they do not fit the earlier ones.
        """
        new = self.problem.add_labeled(labeled)
        if new is None:
            return
        self._arguments["labeled_data"] = self.problem.labeled
        if self._stream is not None and self.problem.seed_fisher:
            self._stream.update(new.without_labels())

    def rank(self, X_candidates: Any, n: int | None = None) -> Ranking:
        """Return the candidates of a pool in the order in which they are worth labeling.

        Parameters
        ----------
        X_candidates : tensor, array, list or Dataset
            N candidates.
        n : int, optional
            How many to order; all when omitted.

        Returns
        -------
        Ranking
            The greedy strategies pick the first ``max(budget, 200)`` greedily and order the others
            by their remaining value.

        Raises
        ------
        DataError, BudgetError
        """
        return self.problem.rank(X_candidates, n)

    def select(
        self, X_candidates: Any, *, return_indices: bool = False, total: int | None = None
    ) -> Any:
        """Choose the most valuable candidates of a pool, or of a stream as it passes.

        Parameters
        ----------
        X_candidates : tensor, array, list, Dataset, table of numbers, column; or any iterable
            A pool, which has a length and integer positions; or a pipe that is read once: an
            iterator, a generator, a DataLoader (its batches are split into samples), a file of
            lines. Items that are tuples are read as (input, target, ...).
        return_indices : bool
            Return the indices too: positions in the pool, or in the stream since its start.
        total : int, optional
            Length of the stream, with an int budget.

        Returns
        -------
        of a pool : samples in the type of the candidates (of a Dataset, a Subset), the most
            valuable first; with ``return_indices`` also an ndarray of int64
        of a pipe : a generator of samples, or of (sample, index)
            Each is decided within one batch of the model. A further pipe continues the stream.

        Raises
        ------
        BudgetError
            When the pool has fewer candidates than the budget, ``total`` is missing, or the stream
            ends before it.
        ParameterError
            When ``precompute_covariance`` or the strategy need the whole pool, and a pipe is given.
        DataError
        """
        from .streams.iterables import is_pipe, select_from_pipe

        problem = self.problem
        check_flag("return_indices", return_indices)
        if is_pipe(X_candidates):
            check_pipe(problem.budget, total, problem.precompute_covariance)
            return select_from_pipe(
                X_candidates,
                self._continue_stream(total),
                problem.run_batch,
                problem.stream_rows,
                return_indices,
            )
        if total is not None:
            raise ParameterError("total is the length of a stream; leave it out with a pool")
        chosen, indices = problem.choose(X_candidates)
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
        """Choose the strategy and its parameters by replays of how these labels could be chosen.

        The model computes the embeddings; linear heads are fitted on them anew as labels are added.
        The sampler then uses the best strategy, which is the present one unless another is clearly
        better.

        Parameters
        ----------
        X_labeled : tensor, array, list or Dataset
        y_labeled : array of shape (n,), or (n, L) of 0 and 1 in multilabel
        candidates : sequence of Candidate, optional
            What to compare; the present strategy, random and margin are added.
        n_folds, n_repeats : int
            Held-out folds, and how often they are drawn anew.

        Returns
        -------
        Tuning
            Printed, it is the table of all candidates and the reason for the choice.

        Raises
        ------
        DataError
            When there are too few labels to compare strategies.
        ParameterError
            When a stream is in progress, which began with another strategy, or the model has
            several outputs.
        """
        from .evaluation.replay import Candidate
        from .evaluation.tuning import tune

        if self._stream is not None:
            raise ParameterError("a stream is in progress; tune before it starts")
        problem = self.problem
        if not isinstance(problem.problem_type, str):
            raise ParameterError(
                "a model of several outputs cannot be tuned; tune a sampler of one of them"
            )
        if problem.problem_type == "tagging":
            raise ParameterError(
                "a sampler of tasks of parts cannot be tuned: replays train heads of one answer a "
                "sample"
            )
        output = problem.labeled_output(X_labeled)
        if output is None:
            raise DataError("there are no labeled samples to tune on; give some")
        tuning = tune(
            partial(
                ActiveSampler,
                seed_fisher=problem.seed_fisher,
                precompute_covariance=problem.precompute_covariance,
                max_conditioned=problem.max_conditioned,
                device=problem.device,
            ),
            output.embedding.cpu().numpy(),
            np.asarray(y_labeled),
            problem_type=problem.problem_type,
            current=Candidate(problem.strategy.name, self._strategy_parameters()),
            candidates=candidates,
            n_folds=n_folds,
            n_repeats=n_repeats,
            progress=problem.progress,
        )
        best = tuning.best
        problem.use_strategy(best.strategy, dict(best.parameters))
        constructor = {name: self._arguments[name] for name in self._defaults()}
        self._arguments = {**constructor, "strategy": best.strategy, "rank": 1, **best.parameters}
        return tuning

    @property
    def seen(self) -> int:
        """Samples of the stream that are decided: the position to continue from after `load`."""
        return 0 if self._stream is None else self._stream.controller.seen

    @property
    def kept(self) -> int:
        """Samples of the stream that were kept."""
        return 0 if self._stream is None else self._stream.controller.kept

    def resume(self, past: Any, *, seen: int, kept: int) -> None:
        """Go on with a stream of which samples were decided under another model.

        The vectors of tasks of parts change with the head, so that no state of a stream outlives
        it. A new sampler takes the stream over: what was kept or labeled is its ``labeled_data``.

        Parameters
        ----------
        past : as ``X_candidates``
            A uniform sample of what was decided, either way: all of it, or 1,000.
        seen, kept : int
            How many samples were decided, and kept. Rate and positions go on from there.

        Raises
        ------
        ParameterError
            When a stream is in progress, the budget is no fraction, or the strategy has no streams.
        DataError
            When the past samples are fewer than that.
        """
        if self._stream is not None:
            raise ParameterError("a stream is in progress; take over another with a new sampler")
        self._stream = self.problem.resume_stream(past, seen, kept)

    def _continue_stream(self, total: int | None) -> Stream:
        """Return the stream in progress, or a new one where there is none or it is complete."""
        stream = self._stream
        if stream is None or stream.controller.total != total or stream.controller.done:
            self._stream = stream = self.problem.begin_stream(total)
        return stream


def given_once(by_place: Any, by_name: Any) -> Any:
    """Return the labeled data that were given as the fourth argument or by their name."""
    if by_place is not None and by_name is not None:
        raise ParameterError(
            "labeled data is given twice, as the fourth argument and as labeled_data=; give it once"
        )
    return by_name if by_place is None else by_place
