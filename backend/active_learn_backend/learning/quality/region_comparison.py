"""How much the head of a control that labels regions differs from earlier ones.

As for heads of one answer a task (`head_comparison`), but the agreement is that of the tags of all
parts, as Bloodgood & Vijay-Shanker (CoNLL 2009) measure it for named entities, and the gain that of
the F1, by a bootstrap over the audit tasks that draws the same ones for both heads.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import ActiveLearnError
from active_learn.heads import TrainedTagger, head_name, load_heads

from ...labeling.regions import count_matches
from ...settings import RANDOM_STATE
from ...state.round_report import AuditGain, HeadAgreement, RoundReport, Stability
from ..heads.region_heads import find_regions
from ..regions.kinds import PartKind
from ..selection.snapshot import ControlSnapshot
from .head_comparison import STOP_SET_SEED, agreement, heads_to_compare, stop_set

__all__ = ["compare_region_heads", "count_regions", "f1_gain"]

log = logging.getLogger(__name__)

LEAST_TASKS = 5  # audit tasks of a gain
RESAMPLES = 2000

Array = npt.NDArray[np.float64]
#: Of each task twice the regions that were found, and the regions there and found, in sum.
Counts = tuple[Array, Array]


def compare_region_heads(
    head: TrainedTagger,
    kind: PartKind,
    snapshot: ControlSnapshot,
    counts: Counts,
    reports: Sequence[RoundReport],
    folder: Path,
) -> Stability:
    """Measure how far the regions have moved that heads find, since earlier heads still saved.

    Parameters
    ----------
    snapshot : ControlSnapshot
        With the parts of the tasks as its embeddings.
    counts : (array, array)
        What the head finds in the audit tasks.
    reports : sequence of RoundReport
        Of the former rounds.
    folder : Path
        Of the heads.
    """
    trained = len(snapshot.training)
    recent, stretch = heads_to_compare(snapshot.from_name, head, trained, reports, folder)
    agreed, gain = None, None
    if recent is not None and (former := _load(snapshot, head, folder, recent[1])):
        chosen = snapshot.embeddings.select(stop_set(snapshot.places(STOP_SET_SEED)))
        tags = [
            np.concatenate([one.tags for one in find_regions(some, kind, chosen)])
            for some in (former, head)
        ]
        value = agreement("classification", *tags)
        if value is not None:
            agreed = HeadAgreement(value, recent[0], len(chosen))
    if stretch is not None and (former := _load(snapshot, head, folder, stretch[1])):
        measuring = snapshot.measuring
        found = find_regions(former, kind, snapshot.embeddings.select(measuring))
        before = count_regions(snapshot.labels(measuring), [one.regions for one in found])
        gain = f1_gain(before, counts, step=stretch[0])
    return Stability(trained, agreed, gain)


def count_regions(
    labels: Sequence[Sequence[Sequence[Any]]], found: Sequence[Sequence[Sequence[Any]]]
) -> tuple[Array, Array]:
    """Count regions task by task.

    Returns
    -------
    right : array of shape (n,)
        Twice how many were found, see `labeling.regions.count_matches`.
    both : array of shape (n,)
        How many there are, and how many were found, in sum: F1 is the ratio of the sums.
    """
    right, both = [], []
    for label, answer in zip(labels, found, strict=True):
        right.append(2.0 * count_matches(label, answer))
        both.append(float(len(label) + len(answer)))
    return np.array(right), np.array(both)


def f1_gain(before: Counts, after: Counts, *, step: int) -> AuditGain | None:
    """Estimate by how much the F1 rose since an earlier head, on the same audit tasks.

    A bootstrap over tasks, with two added as for the F1 itself: one that only the present head gets
    right, and one that only the earlier one does. None with fewer than five tasks or no region.
    """
    n, sizes = len(after[1]), (before[1], after[1])
    if n < LEAST_TASKS or not min(one.sum() for one in sizes):
        return None
    draws = np.random.default_rng(RANDOM_STATE).integers(n + 2, size=(RESAMPLES, n + 2))
    values, resampled = [], []
    for (right, both), only in ((before, [0.0, 1.0]), (after, [1.0, 0.0])):
        mean = both.mean()
        numerators = np.append(right, mean * np.array(only))
        totals = np.append(both, [mean, mean])
        values.append(float(right.sum() / both.sum()))
        resampled.append(
            numerators[draws].sum(axis=1) / np.maximum(totals[draws].sum(axis=1), 1e-9)
        )
    low, high = np.quantile(resampled[1] - resampled[0], [0.025, 0.975])
    gain = values[1] - values[0]
    return AuditGain(
        gain=gain,
        low=min(float(low), gain),
        high=max(float(high), gain),
        n=n,
        loss=1 - values[1],
        step=step,
    )


def _load(
    snapshot: ControlSnapshot, head: TrainedTagger, folder: Path, number: int
) -> TrainedTagger | None:
    """Load an earlier head; None if it cannot be read, or was made for other labels or parts."""
    try:
        former = load_heads(folder, number).get(snapshot.from_name)
    except ActiveLearnError as error:
        log.warning("no comparison with %s: %s", head_name(number), error)
        return None
    if not isinstance(former, TrainedTagger) or former.labels_offered != head.labels_offered:
        return None
    return former if former.reads(head.metadata.config.encoder, head.n_features) else None
