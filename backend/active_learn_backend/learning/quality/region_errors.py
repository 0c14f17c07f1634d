"""Regions that look wrong: those that heads contradict which were trained on other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from active_learn.heads import TrainedTagger

from ...labeling.regions import Region, overlap, sorted_regions, touch
from ...settings import RANDOM_STATE
from ...state.round_report import LabelError
from ..heads.region_heads import find_regions, fit_region_head
from ..regions.part_kind import PartKind
from ..selection.snapshot import ControlSnapshot

__all__ = ["Names", "find_region_errors", "unchanged_region_errors"]

LEAST_LABELS = 20
FOLDS = 5
MOST_TRAINED_ON = 400  # tasks of a head
MOST_PARTS = 50_000  # of them
SURE = 0.9
MOST_ERRORS = 50
NOT_MARKED, NOTHING = "not marked", "no region"

#: Returns for people what regions of tasks, by id, are, without their labels.
Names = Callable[[Sequence[tuple[int, Region]]], Sequence[str]]


def find_region_errors(
    head: TrainedTagger, kind: PartKind, snapshot: ControlSnapshot, names: Names
) -> list[LabelError]:
    """Return regions that are likely wrong, with another label, or missing; the likeliest first.

    Parameters
    ----------
    head : TrainedTagger
        Whose penalty and label transitions the heads of the folds take over.
    snapshot : ControlSnapshot
        With the parts of the tasks as its embeddings.
    names : callable
        Of the regions that are listed.

    Returns
    -------
    list of LabelError
        `label` is a text, such as ``Oslo: person``; empty where there are too few labels.
    """
    if len(snapshot.training) < LEAST_LABELS:
        return []
    answered = _answer_by_folds(head, kind, snapshot)
    missed = _missed(answered)
    found = [(one.task_id, *error) for one in answered for error in _contradicted(one, missed)]
    found = sorted(found, key=lambda one: -one[3])[:MOST_ERRORS]
    named = names([(task, region) for task, region, *_ in found])
    return [
        LabelError(
            task, f"{name}: {region.label}", suggested, confidence, sorted_regions([region])[0]
        )
        for name, (task, region, suggested, confidence) in zip(named, found, strict=True)
    ]


def unchanged_region_errors(
    errors: Sequence[LabelError], labels: Mapping[int, Any]
) -> list[LabelError]:
    """Return those errors whose regions are still there, or still missing.

    Parameters
    ----------
    labels : mapping
        Of the labeled tasks, by id.
    """

    def remains(error: LabelError) -> bool:
        label = labels.get(error.task_id)
        if label is None or error.region is None:
            return False
        if error.region[2] != NOT_MARKED:
            return error.region in label
        region = Region.of(error.region)
        return not any(touch(region, Region.of(one)) for one in label)

    return [one for one in errors if remains(one)]


class Answered(NamedTuple):
    """A labeled task, and what a head that has not seen its label finds in it.

    Attributes
    ----------
    sure : list of float
        How sure the head is of the parts of each region of the label.
    """

    task_id: int
    given: list[Region]
    sure: list[float]
    found: list[tuple[float, Region]]


def _answer_by_folds(
    head: TrainedTagger, kind: PartKind, snapshot: ControlSnapshot
) -> list[Answered]:
    """Train a head for each fold, and return what it finds in the tasks of the fold."""
    training = snapshot.training
    labels = snapshot.labels(training)
    order = np.random.default_rng(RANDOM_STATE).permutation(len(training))
    sizes = snapshot.embeddings.sizes[training]
    answered: list[Answered] = []
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        train = order[~np.isin(order, test)][:MOST_TRAINED_ON]
        train = train[np.cumsum(sizes[train]) <= MOST_PARTS]
        other = _train(head, kind, snapshot, training[train], [labels[at] for at in train])
        if other is None:
            continue
        tasks = snapshot.embeddings.select(training[test])
        places = tasks[np.arange(len(test))]
        for at, answer in enumerate(find_regions(other, kind, tasks)):
            label = labels[test[at]]
            covered = [
                kind.tags([one], head.labels_offered, places.places_of(at)) > 0 for one in label
            ]
            sure = [1 - float(answer.doubts[part].mean()) if part.any() else 0 for part in covered]
            found = [(one.score, Region.of(one)) for one in answer.regions]
            task_id = snapshot.rows[training[test[at]]].task_id
            answered.append(Answered(task_id, [Region.of(one) for one in label], sure, found))
    return answered


def _missed(answered: Sequence[Answered]) -> dict[str, float]:
    """Return the share of the regions of each label where the heads find nothing at all.

    One that misses every third region of a label does not contradict those that it misses.
    """
    seen: dict[str, list[bool]] = {}
    for task in answered:
        for region in task.given:
            missed = not any(touch(region, one) for _, one in task.found)
            seen.setdefault(region.label, []).append(missed)
    return {label: float(np.mean(missed)) for label, missed in seen.items()}


def _train(
    head: TrainedTagger,
    kind: PartKind,
    snapshot: ControlSnapshot,
    at: npt.NDArray[np.int64],
    labels: Sequence[Any],
) -> TrainedTagger | None:
    """Train a head from zero on some tasks."""
    return fit_region_head(
        head.labels_offered,
        kind,
        snapshot.embeddings[at],
        labels,
        round=head.round,
        former=head.without_weights(),
        encoder=head.metadata.config.encoder,
    )


def _contradicted(task: Answered, missed: Mapping[str, float]) -> list[tuple[Region, str, float]]:
    """Return regions, what a head suggests in their place, and how sure it is."""
    # What lies over several regions speaks of the one that it overlaps most with, of those of one
    # place of that of its own label.
    shares = [
        [(overlap(one, region), one.label == region.label) for region in task.given]
        for _, one in task.found
    ]
    errors: list[tuple[Region, str, float]] = []
    for at, (region, sure) in enumerate(zip(task.given, task.sure, strict=True)):
        over = [
            (score, one.label)
            for (score, one), share in zip(task.found, shares, strict=True)
            if share[at] == max(share) > (0, True)
        ]
        if not any(touch(region, one) for _, one in task.found):
            errors.append((region, NOTHING, sure * (1 - missed[region.label])))
        elif over and region.label not in {name for _, name in over}:
            errors.append((region, max(over)[1], max(over)[0]))
    for score, one in task.found:
        if not any(touch(one, region) for region in task.given):
            errors.append((one._replace(label=NOT_MARKED), one.label, score))
    return [one for one in errors if one[2] >= SURE]
