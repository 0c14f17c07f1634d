"""Spans that look wrong: those that heads contradict which were trained on other tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import RaggedArray
from active_learn.heads import TaggingHead, fit_tagging_head

from ...labeling.exact_text import ExactText
from ...labeling.regions import Region, ScoredRegion, overlap
from ...settings import RANDOM_STATE
from ...state.round_report import LabelError
from ..heads.region_heads import find_regions
from ..regions.part_kind import PartKind
from ..selection.snapshot import ControlSnapshot

__all__ = ["find_region_errors", "unchanged_region_errors"]

LEAST_LABELS = 20
FOLDS = 5
MOST_TRAINED_ON = 400  # tasks of a head
SURE = 0.9
MOST_ERRORS = 50
NOT_MARKED, NOTHING = "not marked", "no region"

#: Returns the texts of tasks by their ids.
Texts = Callable[[Sequence[int]], Mapping[int, ExactText]]


def find_region_errors(
    head: TaggingHead, kind: PartKind, snapshot: ControlSnapshot, texts: Texts
) -> list[LabelError]:
    """Return spans that are likely wrong, with another label, or missing; the likeliest first.

    Parameters
    ----------
    head : TaggingHead
        Whose penalty and label transitions the heads of the folds take over.
    snapshot : ControlSnapshot
        With the parts of the tasks as its embeddings.

    Returns
    -------
    list of LabelError
        `label` is a text, such as ``Oslo: person``; empty where there are too few labels.
    """
    training = snapshot.training
    if len(training) < LEAST_LABELS or not kind.is_text:
        return []
    labels = snapshot.labels(training)
    order = np.random.default_rng(RANDOM_STATE).permutation(len(training))
    found: list[tuple[int, Any, str, float]] = []
    for fold in range(FOLDS):
        test = order[fold::FOLDS]
        train = order[~np.isin(order, test)][:MOST_TRAINED_ON]
        other = _train(head, kind, snapshot, training[train], [labels[at] for at in train])
        if other is None:
            continue
        tasks = snapshot.embeddings.select(training[test])
        places = tasks[np.arange(len(test))]
        for at, answer in enumerate(find_regions(other, kind, tasks)):
            task, label = snapshot.rows[training[test[at]]].task_id, labels[test[at]]
            covered = [
                kind.tags([one], head.labels_offered, places.places_of(at)) > 0 for one in label
            ]
            sure = [1 - float(answer.doubts[part].mean()) if part.any() else 0 for part in covered]
            found += [(task, *one) for one in _contradicted(label, answer.regions, sure)]
    found = sorted(found, key=lambda one: -one[3])[:MOST_ERRORS]
    of_task = texts([task for task, *_ in found])
    return [
        LabelError(task, _named(of_task[task], region), suggested, confidence)
        for task, region, suggested, confidence in found
    ]


def unchanged_region_errors(
    errors: Sequence[LabelError], labels: Mapping[int, Any], texts: Texts
) -> list[LabelError]:
    """Return those errors whose spans are still there, or still missing.

    Parameters
    ----------
    labels : mapping
        Of the labeled tasks, by id.
    """
    errors = [one for one in errors if labels.get(one.task_id) is not None]
    of_task = texts([one.task_id for one in errors])

    def remains(error: LabelError) -> bool:
        named = {_named(of_task[error.task_id], Region.of(one)) for one in labels[error.task_id]}
        text, _, label = str(error.label).rpartition(": ")
        if label == NOT_MARKED:
            return text not in {one.rpartition(": ")[0] for one in named}
        return error.label in named

    return [one for one in errors if remains(one)]


def _train(
    head: TaggingHead,
    kind: PartKind,
    snapshot: ControlSnapshot,
    at: npt.NDArray[np.int64],
    labels: Sequence[Any],
) -> TaggingHead | None:
    """Train a head from zero on some tasks."""
    zeros = np.zeros_like(head.weight), np.zeros_like(head.bias)
    parts = snapshot.embeddings[at]
    return fit_tagging_head(
        head.labels_offered,
        RaggedArray(parts.rows, parts.offsets),
        [
            kind.tags(label, head.labels_offered, parts.places_of(place))
            for place, label in enumerate(labels)
        ],
        round=head.round,
        former=TaggingHead(head.metadata, *zeros, head.round),
        sequential=kind.sequential,
        encoder=head.metadata.config.encoder,
        random_state=RANDOM_STATE,
    )


def _contradicted(
    label: Sequence[Sequence[Any]], found: Sequence[ScoredRegion], sure: Sequence[float]
) -> list[tuple[Any, str, float]]:
    """Return regions, what a head suggests in their place, and how sure it is.

    Parameters
    ----------
    sure : sequence of float
        How sure the head is of the parts of each region of the label.
    """
    given = [Region.of(one) for one in label]
    answers = [(Region.of(one), one.score) for one in found]
    errors: list[tuple[Any, str, float]] = []
    for region, certain in zip(given, sure, strict=True):
        over = [(score, one.label) for one, score in answers if overlap(region, one) > 0]
        if not over and certain >= SURE:
            errors.append((region, NOTHING, certain))
        elif over and region.label not in {name for _, name in over} and max(over)[0] >= SURE:
            errors.append((region, max(over)[1], max(over)[0]))
    for one, score in answers:
        if score >= SURE and not any(overlap(one, region) > 0 for region in given):
            errors.append((one._replace(label=NOT_MARKED), one.label, score))
    return errors


def _named(text: ExactText, region: Region) -> str:
    return f"{text.between(region.start, region.end)}: {region.label}"
