"""How much of a pool a head may label, with a bound on the share of wrong answers.

Of tasks that were drawn by chance and that trained nothing, those whose answer has a score of at
least t are a random sample of all tasks with such a score. Their errors bound the errors among the
unlabeled ones. Sets for several thresholds are nested, and are tested one after the other, from the
one that the scores say is likeliest to pass to larger ones, until one fails (fixed-sequence
testing). The order depends on scores and numbers only, never on the labels that test it, so that no
correction for several tests is needed.

References
----------
A. N. Angelopoulos, S. Bates, E. J. Candès, M. I. Jordan, L. Lei: Learn then Test: Calibrating
Predictive Algorithms to Achieve Risk Control. Annals of Applied Statistics, 2025 (arXiv 2021).
S. Bates, A. N. Angelopoulos, L. Lei, J. Malik, M. I. Jordan: Distribution-Free, Risk-Controlling
Prediction Sets. Journal of the ACM, 2021.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.stats is loaded when it is first used: it takes most of a second

__all__ = [
    "Certificate",
    "SamplePlan",
    "certify",
    "most_wrong",
    "plan_sample",
    "significance_of_look",
    "upper_bound",
]

MOST_SETS = 60  # thresholds that are tried
POWER = 0.9  # probability with which a verification sample has to pass, if the scores are right
MOST_SAMPLED = 3000
SCORES_COUNT = 10  # as many labels as the scores count for, where errors to come are estimated

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """A set of unlabeled tasks in which few answers are wrong.

    Attributes
    ----------
    threshold : float
        Least score of an answer in the set.
    tasks : int
        Unlabeled tasks in the set.
    sample, wrong : int
        Tasks drawn by chance that lie in the set, and how many of their answers are wrong; of
        several decisions, of the one that is wrong most often.
    """

    threshold: float
    tasks: int
    sample: int
    wrong: int


@dataclass(frozen=True)
class SamplePlan:
    """A sample of a set that would show how few of its answers are wrong.

    Attributes
    ----------
    threshold : float
        Least score of an answer in the set.
    tasks : int
        Unlabeled tasks in the set, the sample among them.
    sample : int
        How many of them have to be labeled by people.
    most_wrong : int
        With so many wrong answers in the sample, the set still passes.
    """

    threshold: float
    tasks: int
    sample: int
    most_wrong: int


def significance_of_look(confidence: float, look: int) -> float:
    """Return the probability of error that one look may use; the sum is 1 - confidence.

    Who looks again after each label would at some time find what they look for. So look ``a`` uses
    the share ``1 / (a (a + 1))``: a half, a sixth, a twelfth, ...

    Parameters
    ----------
    look : int
        1 for the first.
    """
    return (1 - confidence) / (look * (look + 1))


def most_wrong(n: int, rest: int, accuracy: float, significance: float) -> int:
    """Return how many of a sample may be wrong for its set to pass; -1 where not even none may.

    The sample is drawn without replacement from a set of ``n + rest`` tasks; the bound is on the
    `rest`. A set that breaks it has at least ``floor((1 - accuracy) rest) + 1`` wrong answers
    beside those of the sample. It passes with at most the hypergeometric probability of a sample
    with so few.
    """
    if not (n and rest):
        return -1
    breaking = _breaking(rest, accuracy)
    # A sample with more wrong answers than twice the share that is allowed never passes.
    most = min(n, int(2 * (1 - accuracy) * n) + 10)
    passing = _passing(most, n, rest, breaking)
    return int(np.searchsorted(passing, significance, side="right")) - 1


def upper_bound(wrong: int, n: int, rest: int, significance: float) -> float:
    """Return the largest share of wrong answers in the rest that a sample does not exclude."""
    low, high = 0, rest
    while low < high:  # the least number of wrong ones that is excluded, less one
        middle = (low + high + 1) // 2
        excluded = _passing(wrong, n, rest, middle)[-1] <= significance
        low, high = (low, middle - 1) if excluded else (middle, high)
    return low / rest if rest else 0.0


def certify(
    sample_scores: Array,
    sample_wrong: npt.NDArray[np.bool_],
    scores: Array,
    accuracy: float,
    significance: float,
) -> Certificate | None:
    """Find a large set of unlabeled tasks whose answers are right in a share of `accuracy`.

    Parameters
    ----------
    sample_scores : array of shape (n,)
        Scores of tasks that were drawn by chance and trained nothing.
    sample_wrong : array of shape (n,) or (n, k), bool
        Whether each is wrong; or each of its k decisions, of which every one has to be right in a
        share of `accuracy`. A set passes only if all k do, so that they need no correction
        (intersection-union test; Berger, Technometrics 1982).
    scores : array of shape (m,)
        Scores of the unlabeled tasks.
    accuracy : float
        Share of right answers that the set has to have, in (0, 1).
    significance : float
        Probability with which the set may have fewer.

    Returns
    -------
    Certificate or None
        None when no set passes.
    """
    passed = None
    for threshold, n, rest, allowed in _sequence(sample_scores, scores, accuracy, significance):
        wrong = int(sample_wrong[sample_scores >= threshold].sum(axis=0).max())
        if wrong > allowed:
            break
        passed = Certificate(threshold, rest, n, wrong)
    return passed


def plan_sample(
    sample_scores: Array,
    sample_wrong: npt.NDArray[np.bool_],
    scores: Array,
    accuracy: float,
    significance: float,
    sets: int = MOST_SETS,
) -> SamplePlan | None:
    """Find the set, and the size of a sample of it, that leave most tasks to the head.

    The sample is large enough to pass with a probability of 0.9, by the errors that the scores and
    the present sample let expect: a head that has learned from hard tasks is surer than it knows.

    Parameters
    ----------
    sample_scores, sample_wrong, scores, accuracy, significance
        See `certify`.
    sets : int
        How many thresholds are tried.

    Returns
    -------
    SamplePlan or None
        None where the sample would be as large as the set.
    """
    ordered = np.sort(scores)[::-1]
    expected = np.cumsum(1 - ordered) / np.arange(1, len(ordered) + 1)
    best: SamplePlan | None = None
    for size in _sizes(len(ordered), sets):
        threshold = float(ordered[size - 1])
        tasks = int(np.searchsorted(-ordered, -threshold, side="right"))
        inside = sample_scores >= threshold
        worst = sample_wrong[inside].sum(axis=0).max()
        wrong = float(worst + SCORES_COUNT * expected[tasks - 1])
        share = wrong / float(inside.sum() + SCORES_COUNT)
        plan = _least_sample(threshold, tasks, share, accuracy, significance)
        if plan and (best is None or plan.tasks - plan.sample > best.tasks - best.sample):
            best = plan
    return best


def _least_sample(
    threshold: float, tasks: int, expected: float, accuracy: float, significance: float
) -> SamplePlan | None:
    """Return the smallest sample of a set that passes with the wanted probability."""
    if expected >= 1 - accuracy:
        return None
    sample = int(np.ceil(np.log(significance) / np.log(accuracy)) / 2)
    while sample < min(tasks, MOST_SAMPLED):
        allowed = most_wrong(sample, tasks - sample, accuracy, significance)
        if allowed >= 0 and scipy.stats.binom.cdf(allowed, sample, expected) >= POWER:
            return SamplePlan(threshold, tasks, sample, allowed)
        sample += max(sample // 10, 1)
    return None


def _sequence(
    sample_scores: Array, scores: Array, accuracy: float, significance: float
) -> Iterator[tuple[float, int, int, int]]:
    """Yield thresholds in the order of testing, with the sizes of the sets and the errors allowed.

    The first is the one that passes likeliest if the scores are right; larger sets follow.
    """
    sampled, ordered = np.sort(sample_scores)[::-1], np.sort(scores)[::-1]
    expected = np.cumsum(1 - ordered)
    sets, power = [], []
    for place in _sizes(len(sampled)):
        threshold = float(sampled[place - 1])
        n = int(np.searchsorted(-sampled, -threshold, side="right"))
        rest = int(np.searchsorted(-ordered, -threshold, side="right"))
        allowed = most_wrong(n, rest, accuracy, significance) if rest else -1
        if allowed >= 0:
            sets.append((threshold, n, rest, allowed))
            power.append(scipy.stats.binom.cdf(allowed, n, min(expected[rest - 1] / rest, 1.0)))
    yield from sets[int(np.argmax(power)) :] if sets else ()


def _sizes(most: int, sets: int = MOST_SETS) -> npt.NDArray[np.int64]:
    """Return a few sizes of sets, evenly up to the largest."""
    return np.unique(np.linspace(1, most, sets).astype(np.int64)) if most else np.arange(0)


def _breaking(rest: int, accuracy: float) -> int:
    """Return the least number of wrong answers that is more than the accuracy allows."""
    return int(np.floor((1 - accuracy) * rest + 1e-9)) + 1


def _passing(most: int, n: int, rest: int, remaining: int) -> Array:
    """Return how likely at most 0, 1, ..., `most` answers of a sample are wrong, at worst.

    At worst over all sets in which at least `remaining` wrong answers are left in the rest.
    """
    wrong = np.arange(most + 1)
    passes: Array = scipy.stats.hypergeom.cdf(wrong, n + rest, wrong + remaining, n)
    return np.maximum.accumulate(passes)
