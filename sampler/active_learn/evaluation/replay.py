"""The replay engine: labels labeled data again, as if it were new, by several strategies.

All comparisons are paired: in each replicate all strategies get the same pool, the same first
labels and the same held-out rows. The heads are those that rounds train: `fit_head` trains one on
what each strategy chose, from the strategy's former head. A sampler is anything that is called as
``sampler(problem_type, head, budget, ...).rank(pool, n)``, so that `ActiveSampler` can call the
engine, and so can a benchmark with a sampler of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tqdm import tqdm

from ..errors import ParameterError
from ..heads import HeadConfig, ProblemType
from ..heads.folds import Split
from .labeled_data import check_data
from .learning_curves import Curves
from .replayed_head import ReplayedHead

__all__ = ["Candidate", "Run", "Sampler", "replay"]

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
    problem_type: ProblemType = "classification",
    batch: int,
    rounds: int,
    start: int = 0,
    reach: float = 1.0,
    head_config: HeadConfig | None = None,
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
    head_config : HeadConfig, optional
        How heads are trained: labels offered, class weights, bounds. When omitted, all classes of
        ``y`` are offered, and classes are not weighted.
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
        for replicate, split in enumerate(splits):
            run = Run(sampler, X, y, split, problem_type, replicate, head_config)
            for candidate, label in zip(candidates, labels, strict=True):
                run.begin(np.arange(start))
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
    """One replicate: a pool in random order, what of it is labeled, and the head trained on that.

    The order is random so that ties between candidates are broken fairly. The head is trained by
    `fit_head` from the former one, as a round trains it.

    Attributes
    ----------
    labeled : ndarray of int64
        Positions in the pool, in the order of labeling.
    head : ReplayedHead
    """

    def __init__(
        self,
        sampler: Sampler,
        X: np.ndarray,
        y: np.ndarray,
        split: Split,
        problem_type: ProblemType,
        replicate: int,
        head_config: HeadConfig | None = None,
    ) -> None:
        pool, test = split
        order = np.random.default_rng(replicate).permutation(pool)
        self.sampler = sampler
        self.X, self.y = X[order], y[order]
        self.X_test, self.y_test = X[test], y[test]
        self.problem_type = problem_type
        self.replicate = replicate
        self.head = ReplayedHead(y, X.shape[1], problem_type, head_config)
        self.labeled = np.empty(0, dtype=np.int64)

    def begin(self, labeled: np.ndarray) -> None:
        """Forget all labels but those at some positions of the pool, which is in random order."""
        self.head.reset()
        self.labeled = np.empty(0, dtype=np.int64)
        if len(labeled):
            self._label(labeled)

    def choose(self, candidate: Candidate, batch: int) -> float:
        """Label a batch that the candidate chooses; return the seconds that choosing took."""
        unlabeled = self._unlabeled()
        seed = np.random.SeedSequence((self.replicate, len(self.labeled))).generate_state(1)
        arguments = {
            "labeled_data": self._labeled_data() if len(self.labeled) else None,
            "random_state": int(seed[0]),
            **candidate.parameters,
        }
        model, pool = self.head.sampler_model(), self.X[unlabeled]
        began = time.perf_counter()
        sampler = self.sampler(
            self.problem_type, model, batch, strategy=candidate.strategy, **arguments
        )
        picks = sampler.rank(pool, batch).indices
        seconds = time.perf_counter() - began
        self._label(unlabeled[picks])
        return seconds

    def fill(self, count: int) -> None:
        """Label samples of the pool in its own order, which is random, up to ``count``."""
        self._label(self._unlabeled()[: count - len(self.labeled)])

    def score(self) -> float:
        """Return the score of the head on the held-out rows."""
        return self.head.score(self.X_test, self.y_test)

    def _labeled_data(self) -> Any:
        """Return what is labeled as samplers take it: in regression with the labels."""
        from ..inputs.labeled_data import LabeledData  # imports torch, which takes seconds

        X, y = self.X[self.labeled], self.y[self.labeled]
        return LabeledData(X, y) if self.problem_type == "regression" else X

    def _unlabeled(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.X)), self.labeled, assume_unique=True)

    def _label(self, rows: np.ndarray) -> None:
        self.labeled = np.concatenate([self.labeled, rows])
        self.head.fit(self.X[self.labeled], self.y[self.labeled])


def further_counts(last: int, available: int, reach: float) -> list[int]:
    """Return the further label counts of random's curve, spaced geometrically."""
    if reach < 1:
        raise ParameterError(f"reach is {reach}; expected at least 1")
    counts, count, end = [], float(last), min(available, int(reach * last))
    while count < end:
        count = min(count * RANDOM_STEP + 1, end)
        counts.append(int(count))
    return counts
