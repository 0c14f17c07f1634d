"""Training of a tagging head: its weights, its label transitions, and how strongly they count."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import DataError
from ..ragged import RaggedArray
from .base import FloatArray
from .folds import folds
from .hyperparameters import FOLDS, LEAST_LABELS, MORE_LABELS, ROUGH, probabilities
from .logistic import LogisticProblem
from .metadata import HeadConfig
from .tagging import (
    DEFAULT_INVERSE_PENALTY,
    DEFAULT_STRENGTH,
    OUTSIDE,
    TaggingHead,
    TaggingMetadata,
)
from .transitions import Counts, Tags, best_tags, runs_of

__all__ = ["fit_tagging_head"]

# 10 is the better one where regions are dense, 100 where they are rare and labels few: to choose is
# worth up to 3 points of F1. Steps between them are worth nothing.
INVERSE_PENALTIES = (10.0, 100.0)
STRENGTHS = (DEFAULT_STRENGTH, 0.0, 0.6)  # of the transitions; of equal ones the first is chosen
MOST_LABELS = 2**16
ENOUGH_PARTS = 10_000  # held out


def fit_tagging_head(
    labels_offered: Sequence[str],
    parts: Any,
    tags: Sequence[Any],
    *,
    round: int,
    former: TaggingHead | None = None,
    sequential: bool = True,
    encoder: str = "",
    random_state: int = 0,
) -> TaggingHead | None:
    """Train a head on the parts of labeled tasks.

    Parameters
    ----------
    labels_offered : sequence of str
        The labels of the config, in its order.
    parts : list of arrays of shape (n_i, d), or RaggedArray
    tags : sequence of arrays of int of shape (n_i,)
        Of each part: 0 outside, the place of its label in the config from 1, or -1 where it is not
        known, so that it is left out. A task without a region has zeros, which is a label.
    round : int
        The round that trains it; live answers have the version ``head-<round>``.
    former : TaggingHead, optional
        That of the last round: training starts from it, and its penalty and strength of transitions
        are kept until there are a quarter more tasks. Ignored when it read other parts.
    sequential : bool
        Whether the parts of a task are a sequence; cells of a grid are none.
    encoder : str
        Fingerprint of what made the parts.
    random_state : int
        Seed of the folds.

    Returns
    -------
    TaggingHead or None
        None while there are no two classes to tell apart.

    Raises
    ------
    DataError
        When parts and tags do not fit each other, or a number is not finite.
    """
    ragged = RaggedArray.of(parts)
    flat = _checked(ragged, tags, len(labels_offered))
    config = HeadConfig(labels_offered=tuple(labels_offered), encoder=encoder)
    if former is not None and not former.reads(encoder, ragged.n_features):
        former = None
    known = np.flatnonzero(flat >= 0)
    places, targets = np.unique(flat[known], return_inverse=True)
    if len(places) < 2:
        return None
    classes = tuple((OUTSIDE, *labels_offered)[place] for place in places)
    with threadpool_limits(1, user_api="blas"):
        rows = np.asarray(
            ragged.rows if len(known) == len(flat) else ragged.rows[known], np.float32
        )
        problem = LogisticProblem(rows, np.eye(len(places), dtype=np.float32)[targets], "softmax")
        penalty, strength, n_labels = _choose(
            former, problem, flat, ragged, STRENGTHS if sequential else (0.0,), random_state
        )
        weight, bias = problem.solve(penalty, start=_start(former, classes, rows.shape[1]))
    counts = _counts(flat, ragged.offsets, places)
    metadata = TaggingMetadata(
        config=config,
        classes=classes,
        starts=tuple(counts.starts.tolist()),
        pairs=tuple(map(tuple, counts.pairs.tolist())),
        inverse_penalty=penalty,
        strength=strength,
        n_labels=n_labels,
    )
    return TaggingHead(metadata, weight, bias, round)


def _checked(ragged: RaggedArray, tags: Sequence[Any], n_labels: int) -> Tags:
    """Return the tags of all tasks, laid out flat."""
    arrays = [np.asarray(one) for one in tags]
    if [len(one) for one in arrays] != ragged.sizes.tolist():
        raise DataError(
            f"the tags of {len(arrays)} tasks do not fit the parts of {len(ragged)}; expected one "
            "tag for each part"
        )
    flat = np.concatenate([*arrays, np.zeros(0, np.int64)]).astype(np.int64)
    if len(flat) and not (flat.min() >= -1 and flat.max() <= n_labels):
        raise DataError(
            f"tags go from {flat.min()} to {flat.max()}; expected -1 to {n_labels}, the number of "
            "labels"
        )
    if not np.isfinite(ragged.rows).all():
        raise DataError("parts hold NaN or infinity; check the encoder")
    return flat


def _start(
    former: TaggingHead | None, classes: tuple[str, ...], n_features: int
) -> tuple[FloatArray, FloatArray] | None:
    """Return the weights of an earlier head in the order of these classes, zeros for new ones."""
    if former is None:
        return None
    weight, bias = (
        np.zeros((len(classes), n_features), np.float32),
        np.zeros(len(classes), np.float32),
    )
    for row, name in enumerate(classes):
        if name in former.classes:
            at = former.classes.index(name)
            weight[row], bias[row] = former.weight[at], former.bias[at]
    return weight, bias


def _counts(tags: Tags, offsets: Tags, places: Tags) -> Counts:
    """Return the counts of the classes seen, of tags as the config counts them."""
    own = np.where(tags < 0, -1, np.searchsorted(places, tags))
    return Counts.of(own, offsets, len(places))


def _choose(
    former: TaggingHead | None,
    problem: LogisticProblem,
    tags: Tags,
    ragged: RaggedArray,
    strengths: tuple[float, ...],
    random_state: int,
) -> tuple[float, float, int]:
    """Return penalty and strength of the best exact F1 over held-out tasks, and their number."""
    n = len(ragged)
    if former is not None and n <= MORE_LABELS * former.metadata.n_labels:
        chosen = former.metadata
        return chosen.inverse_penalty, chosen.strength, chosen.n_labels
    if n < LEAST_LABELS:
        return DEFAULT_INVERSE_PENALTY, strengths[0], 0
    known = tags >= 0
    places, row_of = np.unique(tags[known]), np.cumsum(known) - 1
    with_region = np.array([bool((one > 0).any()) for one in ragged.split(tags)])
    splits = folds(with_region.astype(np.int64), FOLDS, [random_state])
    counts = {choice: np.zeros(2) for choice in product(INVERSE_PENALTIES, strengths)}
    for train, test in splits[: max(1, -(-FOLDS * ENOUGH_PARTS // len(tags)))]:
        of_train, held_out = ragged.places(train), ragged.take(test)
        rows = row_of[of_train][known[of_train]]
        offsets = np.cumsum([0, *ragged.sizes[train]])
        transitions = _counts(tags[of_train], offsets, places).transitions()
        truth = _keys(tags[ragged.places(test)], held_out.offsets)
        features, start = np.asarray(held_out.rows, np.float32), None
        for penalty in INVERSE_PENALTIES:
            start = problem.solve(penalty, rows=rows, start=start, precision=ROUGH)
            shares = probabilities(features @ start[0].T + start[1], "softmax")
            for strength in strengths:
                best = places[best_tags(shares, held_out.offsets, transitions, strength)]
                found = _keys(best, held_out.offsets)
                right = len(np.intersect1d(truth, found))
                counts[penalty, strength] += 2 * right, len(truth) + len(found)
    f1 = {choice: right / max(both, 1) for choice, (right, both) in counts.items()}
    penalty, strength = max(f1, key=lambda choice: f1[choice])
    return penalty, strength, n


def _keys(tags: Tags, offsets: Tags) -> Tags:
    """Return one number for each run, which is the same for the same run only."""
    start, stop, tag = runs_of(tags, offsets).T
    return (start * (len(tags) + 1) + stop) * (MOST_LABELS + 1) + tag
