"""ActiveSampler: checks arguments, asks the model, asks the strategy, hands back samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .errors import BudgetError, DataError, ParameterError
from .fisher import PROBLEM_TYPES, ProblemType, uncertainty
from .gram import BLOCK_ROWS, Posterior
from .kernels import RadialKernel
from .models import ModelOutput, adapt
from .pool import Pool, run_model
from .samples import Samples
from .strategies import Context, build_strategy

__all__ = ["ActiveSampler", "Ranking"]

# Greedy picks of a ranking, whatever its length: what is labeled before the next ranking.
GREEDY_DEPTH = 200


@dataclass(frozen=True)
class Ranking:
    """Candidates in the order in which they are worth labeling.

    Attributes
    ----------
    indices : ndarray of int64 of shape (n,)
        Positions in the pool, the most valuable first.
    scores : ndarray of float64 of shape (n,)
        Acquisition value of each: when it was picked, or, behind the greedy picks, after the last.
        Its unit is the strategy's own.
    uncertainty : ndarray of float64 of shape (n,)
        One minus the margin between the two likeliest classes, in [0, 1]; in multilabel the mean
        of ``1 - |2p - 1|``; 1 in regression.
    novelty : ndarray of float64 of shape (n,)
        Variance of a Gaussian process on the embeddings after the labeled data, relative to the
        one before, in [0, 1]: 1 is unlike anything labeled.
    """

    indices: np.ndarray
    scores: np.ndarray
    uncertainty: np.ndarray
    novelty: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)


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
        if problem_type not in PROBLEM_TYPES:
            raise ParameterError(
                f"problem_type is {problem_type!r}; expected one of {', '.join(PROBLEM_TYPES)}"
            )
        check_count("rank", rank)
        check_count("max_conditioned", max_conditioned)
        if rank != 1:
            strategy_parameters["rank"] = rank
        self.problem_type = problem_type
        self.budget = check_budget(budget)
        self.precompute_covariance = bool(precompute_covariance)
        self.seed_fisher = bool(seed_fisher)
        self.max_conditioned = max_conditioned
        self.progress = progress
        self._strategy = build_strategy(strategy, strategy_parameters)
        self._strategy.check(problem_type)
        self._adapter = adapt(
            model, problem_type=problem_type, layer=layer, device=device, batch_size=batch_size
        )
        self._device = torch.device("cpu" if device is None else device)
        self._seed = check_seed(random_state)
        self._labeled: ModelOutput | None = None
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
        old = self._labeled
        if old is None:
            self._labeled = new
            return
        self._require_fit(new)
        self._labeled = ModelOutput(
            torch.cat([old.logits, new.logits]), torch.cat([old.embedding, new.embedding])
        )

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
        wanted = len(pool) if n is None else check_count("n", n)
        if wanted > len(pool):
            raise BudgetError(
                f"n is {wanted}, the pool has {len(pool)} candidates; ask for at most that many"
            )
        context = self._context(pool, wanted)
        picks = self._strategy.rank_pool(context)
        doubt, novelty = self._explain(pool, picks.indices)
        return Ranking(picks.indices, picks.scores, doubt, novelty)

    def select(self, X: Any, *, return_indices: bool = False) -> Any:
        """Choose ``budget`` candidates of a pool.

        Parameters
        ----------
        X : tensor, array, list or Dataset
        return_indices : bool
            Give the indices too.

        Returns
        -------
        samples of the kind they came in (of a Dataset, a Subset), the most valuable first
        indices : ndarray of int64
            With ``return_indices`` only.

        Raises
        ------
        BudgetError
            When the pool has fewer candidates than the budget.
        DataError
        """
        samples = Samples(X)
        pool = self._pool(samples)
        k = self._pool_budget(len(pool))
        if k > len(pool):
            raise BudgetError(
                f"the budget is {k}, the pool has {len(pool)} candidates; "
                "lower the budget or add candidates"
            )
        indices = self._strategy.rank_pool(self._context(pool, k)).indices
        chosen = samples.choose(indices)
        return (chosen, indices) if return_indices else chosen

    def _pool(self, X: Any) -> Pool:
        samples = X if isinstance(X, Samples) else Samples(X)
        pool = Pool(samples, self._adapter, device=self._device, progress=self.progress)
        if self._labeled is not None:
            self._require_fit(pool.take(np.zeros(1, dtype=np.int64)))
        return pool

    def _require_fit(self, output: ModelOutput) -> None:
        assert self._labeled is not None
        new, old = output.embedding.shape[1], self._labeled.embedding.shape[1]
        if new != old:
            raise DataError(
                f"samples have embeddings of size {new}, the labeled data of size {old}; "
                "both have to come from the same model"
            )

    def _pool_budget(self, size: int) -> int:
        if isinstance(self.budget, int):
            return self.budget
        return max(1, round(self.budget * size))

    def _context(self, pool: Pool, n: int) -> Context:
        budget = min(self._pool_budget(len(pool)), len(pool))
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
        )

    def _explain(self, pool: Pool, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the uncertainty and the novelty of some candidates."""
        kernel = RadialKernel()
        known = None if self._labeled is None else kernel.points(self._labeled)
        posterior = Posterior(kernel, 1e-3, known, self.max_conditioned)
        doubt, novelty = np.empty(len(indices)), np.empty(len(indices))
        for start in range(0, len(indices), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            output = pool.take(indices[block])
            doubt[block] = uncertainty(output.logits, self.problem_type).cpu().numpy()
            x = kernel.points(output)
            left = posterior.variance(x, posterior.whiten(x)) * posterior.ridge / kernel.own(x)
            novelty[block] = left[:, 0, 0].clamp(0, 1).cpu().numpy()
        return doubt, novelty


def check_count(name: str, value: Any) -> int:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{name} is {value!r}; expected a whole number of at least 1")
    return int(value)


def check_budget(budget: Any) -> int | float:
    """Refuse what is neither a whole number of at least 1 nor a fraction in (0, 1)."""
    if isinstance(budget, int | np.integer) and not isinstance(budget, bool) and budget >= 1:
        return int(budget)
    if isinstance(budget, float | np.floating) and 0 < budget < 1:
        return float(budget)
    raise BudgetError(
        f"budget is {budget!r}; expected a whole number of at least 1, or a fraction in (0, 1)"
    )


def check_seed(random_state: Any) -> int:
    """Give the seed of all choices; drawn from the system when none is given."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if (
        isinstance(random_state, bool)
        or not isinstance(random_state, int | np.integer)
        or random_state < 0
    ):
        raise ParameterError(
            f"random_state is {random_state!r}; expected a whole number of at least 0, or None"
        )
    return int(random_state)
