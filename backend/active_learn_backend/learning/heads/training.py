"""Training of the heads of a round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_learn.heads import Head, SavedHead, TrainedHead, fit_head

from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag, RegionTag
from ...settings import RANDOM_STATE, Settings
from ..embedding.embedder import TaskEmbedder
from ..regions.embedder import RegionEmbedder
from ..selection.snapshot import ControlSnapshot, Snapshot
from .region_heads import train_region_head

__all__ = ["train_heads"]


def train_heads(
    task: LabelingTask,
    snapshot: Snapshot,
    former: Mapping[str, Head | SavedHead],
    settings: Settings,
    embedder: TaskEmbedder,
    number: int,
) -> dict[str, SavedHead]:
    """Train a head for each control, on the tasks that have its label.

    Parameters
    ----------
    former : mapping
        The last heads, by the name of their control: training starts from them.
    embedder : TaskEmbedder
        Of the snapshot. A control that its own model answers for needs no head.
    number : int
        Of the round.

    Returns
    -------
    dict
        Heads by the name of the control; without those that have nothing to tell apart yet.
    """
    heads: dict[str, SavedHead] = {}
    for control in task.controls:
        name = control.from_name
        if name in embedder.fixed_heads:
            continue
        labeled = snapshot.of(name, embedder.features(name, snapshot.embeddings))
        head: SavedHead | None
        if isinstance(control, RegionTag) and isinstance(embedder, RegionEmbedder):
            source = embedder.parts[name]
            head = train_region_head(control, labeled, source, former.get(name), number)
        else:
            head = _train_head(control, labeled, former.get(name), settings, embedder, number)
        if head is not None:
            heads[name] = head
    return heads


def _train_head(
    control: ControlTag,
    labeled: ControlSnapshot,
    former: Any,
    settings: Settings,
    embedder: TaskEmbedder,
    number: int,
) -> TrainedHead | None:
    training = labeled.training
    labels = labeled.labels(training)
    return fit_head(
        control.problem_type,
        control.classes(labels),
        labeled.embeddings[training],
        labels,
        round=number,
        former=former,
        class_weight=settings.class_weight,
        bounds=control.bounds,
        encoder=embedder.read_by(control.from_name)[0],
        random_state=RANDOM_STATE,
    )
