"""The heads of controls that label regions: their training, and the regions that they find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.heads import (
    NestedTaggingHead,
    PartTagger,
    TaggingHead,
    TrainedTagger,
    fit_tagging_head,
)
from active_learn.ragged import RaggedArray

from ...labeling.controls import RegionTag
from ...labeling.regions import ScoredRegion
from ...settings import RANDOM_STATE
from ..regions.embedder import PartsOfField
from ..regions.part_kind import PartKind, Tags
from ..regions.parts import Parts, PartsOfTasks
from ..selection.snapshot import ControlSnapshot
from .overlapping_regions import layered_tags, learned_relations

__all__ = ["FoundRegions", "doubts", "find_regions", "fit_region_head", "train_region_head"]


@dataclass(frozen=True)
class FoundRegions:
    """What a head finds in a task.

    Attributes
    ----------
    regions : list of ScoredRegion
    score : float
        Mean probability of the regions, times how sure the head is that no part outside of them is
        in one: a task in which something was missed does not look sure.
    doubts : array of shape (n,)
        Of each part, see `doubts`.
    tags : array of shape (n,)
        Of each part.
    """

    regions: list[ScoredRegion]
    score: float
    doubts: npt.NDArray[np.float32]
    tags: npt.NDArray[np.int64]

    @property
    def probability(self) -> float:
        """The probability that all of it is right, if parts err independently of each other.

        A half of the doubt is, of two classes, the probability of the other one.
        """
        outside = 1 - self.doubts[self.tags == 0].astype(np.float64) / 2
        return float(np.prod(outside) * np.prod([one.score for one in self.regions]))


def doubts(probabilities: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return one minus the margin between the two likeliest classes of each part, (P,)."""
    if not len(probabilities):
        return np.empty(0, np.float32)
    top = np.partition(probabilities, -2, axis=1)
    return (1 - (top[:, -1] - top[:, -2])).astype(np.float32)


def train_region_head(
    control: RegionTag,
    snapshot: ControlSnapshot,
    source: PartsOfField,
    former: Any,
    number: int,
) -> TrainedTagger | None:
    """Train the head of a control; None while all parts have one tag.

    Parameters
    ----------
    snapshot : ControlSnapshot
        With the parts of the tasks as its embeddings.
    former : TaggingHead, NestedTaggingHead or None
        Of the last round.
    number : int
        Of the round.
    """
    training = snapshot.training
    return fit_region_head(
        control.labels,
        source.kind.for_control(control),
        snapshot.embeddings[training],
        snapshot.labels(training),
        round=number,
        former=former if isinstance(former, TrainedTagger) else None,
        encoder=source.fingerprint,
    )


def fit_region_head(
    names: Sequence[str],
    kind: PartKind,
    parts: Parts,
    labels: Sequence[Sequence[Sequence[Any]]],
    *,
    round: int,
    former: TrainedTagger | None,
    encoder: str,
) -> TrainedTagger | None:
    """Train a head on the regions of tasks; where they overlap, one for each of two layers.

    Parameters
    ----------
    names : sequence of str
        The labels of the config.
    parts : Parts
        Of the tasks.
    labels : sequence of lists of regions
        Of each task.
    former : TaggingHead or NestedTaggingHead, optional
        From which training starts.
    """

    def fit(tags: Sequence[Tags], start: Any) -> TaggingHead | None:
        return fit_tagging_head(
            names,
            RaggedArray(parts.rows, parts.offsets),
            tags,
            round=round,
            former=start,
            sequential=kind.sequential,
            encoder=encoder,
            random_state=RANDOM_STATE,
        )

    places = [parts.places_of(at) for at in range(len(labels))]
    outer, inner = former, former
    if isinstance(former, NestedTaggingHead):
        outer, inner = former.outer, former.inner
    relations = learned_relations(labels) if kind.sequential else ()
    if not relations:
        tags = [kind.tags(one, names, at) for one, at in zip(labels, places, strict=True)]
        return fit(tags, inner)
    layers = [layered_tags(kind, one, names, at) for one, at in zip(labels, places, strict=True)]
    lower = fit([tags for _, tags in layers], inner)
    upper = fit([tags for tags, _ in layers], outer)
    if lower is None or upper is None:
        return lower
    return NestedTaggingHead.of(upper, lower, relations)


def find_regions(head: PartTagger, kind: PartKind, tasks: PartsOfTasks) -> list[FoundRegions]:
    """Return what a head finds in each task."""
    found: list[FoundRegions] = []
    for _, parts in tasks.blocks():
        shares, answers = head.tag_parts(RaggedArray(parts.rows, parts.offsets))
        unsure = doubts(shares)
        for at, answer in enumerate(answers):
            of_task = unsure[parts.offsets[at] : parts.offsets[at + 1]]
            regions = kind.regions(answer.runs, head.labels_offered, parts.places_of(at))
            score = _score(regions, answer.tags, of_task)
            found.append(FoundRegions(regions, score, of_task, answer.tags))
    return found


def _score(regions: Sequence[ScoredRegion], tags: Any, unsure: npt.NDArray[np.float32]) -> float:
    outside = unsure[np.asarray(tags) == 0]
    sure = 1 - float(outside.mean()) if len(outside) else 1.0
    return sure * float(np.mean([one.score for one in regions] or [1.0]))
