"""The one replay engine: labels labeled data again, as if it were new, by several strategies.

Everything is paired: in each replicate all strategies get the same pool, the same first labels and
the same held-out fold, and the same head is fitted on what each of them chose. It knows samplers
only by what they do (``sampler(problem_type, head, budget, ...).rank(pool, n)``), so that
`ActiveSampler` can call it, and so can a benchmark with a sampler of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import DataError, ParameterError
from ..heads.folds import Split
from .learning_curves import Curves
from .replay_head import FittedHead, check_labels, fit_head

__all__ = ["Candidate", "Sampler", "check_data", "replay"]

RANDOM_STEP = 1.15  # each further point of random's curve has so many times the labels

Sampler = Callable[..., Any]


@dataclass(frozen=True)
class Candidate:
    """A strategy with its parameters.

    Attributes
    ----------
    strategy : str
    parameters : mapping
        Keyword arguments of the sampler: the strategy's own, or ``seed_fisher`` and the like.
    """

    strategy: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Name of the candidate in tables."""
        given = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.strategy}({given})" if given else self.strategy


def replay(
    sampler: Sampler,
    X: np.ndarray,
    y: np.ndarray,
    candidates: Sequence[Candidate],
    splits: Sequence[Split],
    *,
    problem_type: str = "classification",
    batch: int,
    rounds: int,
    start: int = 0,
    reach: float = 1.0,
    progress: bool = False,
) -> Curves:
    """Replay labeling by each candidate on each split.

    Parameters
    ----------
    sampler : callable
        `ActiveSampler`, often with more arguments bound by `functools.partial`, or anything that
        is called and ranks like it.
    X : ndarray of shape (n, d)
        Embeddings.
    y : ndarray of shape (n,), or (n, L) of 0 and 1 in multilabel
        Their labels.
    candidates : sequence of Candidate
    splits : sequence of (pool, test)
        One replicate each; index arrays into ``X``. See `folds`.
    problem_type : {'classification', 'regression', 'multilabel'}
    batch : int
        Labels per round.
    rounds : int
        Rounds of selection, at most until the pool is empty.
    start : int
        Labels drawn at random, the same for all candidates, before the first round; 0 replays the
        cold start too.
    reach : float
        Continue the curve of 'random', if it is a candidate, to so many times the last label
        count: how many labels random needs for the same score can only be read off there.
    progress : bool

    Returns
    -------
    Curves
        Scores on the test rows: accuracy, R² in regression, micro-averaged F1 in multilabel.

    Raises
    ------
    DataError
        When the data is not finite or does not fit together.
    ParameterError
        When a number makes no sense, or two candidates are the same.
    """
    X, y = check_data(X, y, problem_type)
    labels = [candidate.label for candidate in candidates]
    if not labels or len(set(labels)) < len(labels):
        raise ParameterError("candidates must be at least one, and all different")
    smallest = min((len(pool) for pool, _ in splits), default=0)
    if batch < 1 or rounds < 1 or start < 0 or start + batch > smallest:
        raise ParameterError(
            f"start={start}, batch={batch}, rounds={rounds} do not fit pools of {smallest} samples"
        )
    rounds = min(rounds, (smallest - start) // batch)
    counts = start + batch * np.arange(1, rounds + 1)
    scores = {label: np.empty((len(splits), rounds)) for label in labels}
    seconds = dict.fromkeys(labels, 0.0)
    further = further_counts(int(counts[-1]), smallest, reach) if "random" in labels else []
    further_scores = np.empty((len(splits), len(further)))
    bar = tqdm(total=len(splits) * len(labels), desc="replay", disable=not progress)
    with bar:
        for replicate, (pool, test) in enumerate(splits):
            run = Run(sampler, X, y, pool, test, problem_type, replicate)
            for candidate, label in zip(candidates, labels, strict=True):
                run.begin(start)
                for step in range(rounds):
                    seconds[label] += run.choose(candidate, batch)
                    scores[label][replicate, step] = run.score()
                if candidate.strategy == "random" and label == "random":
                    for step, count in enumerate(further):
                        run.fill(count)
                        further_scores[replicate, step] = run.score()
                bar.update()
    per_round = {label: total / (len(splits) * rounds) for label, total in seconds.items()}
    return Curves(counts, scores, per_round, np.array(further, dtype=np.int64), further_scores)


class Run:
    """One replicate: a pool in random order, what of it is labeled, and the head fitted on that.

    The order is random so that ties between candidates are broken fairly.
    """

    def __init__(
        self,
        sampler: Sampler,
        X: np.ndarray,
        y: np.ndarray,
        pool: np.ndarray,
        test: np.ndarray,
        problem_type: str,
        replicate: int,
    ) -> None:
        order = np.random.default_rng(replicate).permutation(pool)
        self.sampler = sampler
        self.X, self.y = X[order], y[order]
        self.X_test, self.y_test = X[test], y[test]
        self.problem_type = problem_type
        self.replicate = replicate
        self.n_outputs = count_outputs(y, problem_type)
        self.labeled = np.empty(0, dtype=np.int64)
        self.head: FittedHead | None = None

    def begin(self, start: int) -> None:
        """Label the first samples of the pool, which are random ones."""
        self.labeled = np.arange(start)
        self._fit()

    def choose(self, candidate: Candidate, batch: int) -> float:
        """Label a batch that the candidate chooses; give the seconds that choosing took."""
        unlabeled = self._unlabeled()
        head = (
            FittedHead.untrained(self.n_outputs, self.X.shape[1])
            if self.head is None
            else self.head
        )
        seed = np.random.SeedSequence((self.replicate, len(self.labeled))).generate_state(1)
        arguments = {
            "labeled_data": self.X[self.labeled] if len(self.labeled) else None,
            "random_state": int(seed[0]),
            **candidate.parameters,
        }
        pool = self.X[unlabeled]
        began = time.perf_counter()
        sampler = self.sampler(
            self.problem_type, head.linear, batch, strategy=candidate.strategy, **arguments
        )
        picks = sampler.rank(pool, batch).indices
        seconds = time.perf_counter() - began
        self.labeled = np.concatenate([self.labeled, unlabeled[picks]])
        self._fit()
        return seconds

    def fill(self, count: int) -> None:
        """Label samples of the pool in its own order, which is random, up to ``count``."""
        unlabeled = self._unlabeled()
        self.labeled = np.concatenate([self.labeled, unlabeled[: count - len(self.labeled)]])
        self._fit()

    def score(self) -> float:
        """Score the head on the held-out fold."""
        assert self.head is not None
        return self.head.score(self.X_test, self.y_test)

    def _unlabeled(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.X)), self.labeled, assume_unique=True)

    def _fit(self) -> None:
        rows = self.labeled
        self.head = fit_head(self.X[rows], self.y[rows], self.problem_type) if len(rows) else None


def check_data(X: np.ndarray, y: np.ndarray, problem_type: str) -> tuple[np.ndarray, np.ndarray]:
    """Refuse embeddings and labels that do not fit together or are not finite."""
    X = np.asarray(X)
    if X.ndim != 2 or 0 in X.shape or X.dtype.kind not in "fiu":
        raise DataError(
            f"embeddings have shape {X.shape} and type {X.dtype}; expected numbers of shape (n, d)"
        )
    bad = np.flatnonzero(~np.isfinite(X).all(axis=1))
    if len(bad):
        raise DataError(f"embedding {bad[0]} holds NaN or infinity; remove it")
    y = check_labels(y, problem_type)
    if len(y) != len(X):
        raise DataError(f"{len(X)} embeddings came with {len(y)} labels; expected one each")
    return X, y


def count_outputs(y: np.ndarray, problem_type: str) -> int:
    """Count the outputs of a head that is fitted on all labels."""
    if problem_type == "classification":
        return max(2, len(np.unique(y)))
    return 1 if y.ndim == 1 else y.shape[1]


def further_counts(last: int, available: int, reach: float) -> list[int]:
    """Space the further label counts of random's curve geometrically."""
    if reach < 1:
        raise ParameterError(f"reach is {reach}; expected at least 1")
    counts, count, end = [], float(last), min(available, int(reach * last))
    while count < end:
        count = min(count * RANDOM_STEP + 1, end)
        counts.append(int(count))
    return counts
