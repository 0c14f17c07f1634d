"""Training of the heads of a round."""

from __future__ import annotations

from collections.abc import Mapping

from active_learn.heads import Head, TrainedHead, fit_head

from ...labeling.config import LabelingTask
from ...settings import RANDOM_STATE, Settings
from ..embedding.embedder import TaskEmbedder
from ..selection.snapshot import Snapshot

__all__ = ["train_heads"]


def train_heads(
    task: LabelingTask,
    snapshot: Snapshot,
    former: Mapping[str, Head],
    settings: Settings,
    embedder: TaskEmbedder,
    number: int,
) -> dict[str, TrainedHead]:
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
    dict of TrainedHead
        By the name of the control; without those that have nothing to tell apart yet.
    """
    heads = {}
    for control in task.controls:
        name = control.from_name
        if name in embedder.fixed_heads:
            continue
        labeled = snapshot.of(name, embedder.features(name, snapshot.embeddings))
        training = labeled.training
        labels = labeled.labels(training)
        head = fit_head(
            control.problem_type,
            control.classes(labels),
            labeled.embeddings[training],
            labels,
            round=number,
            former=former.get(name),
            class_weight=settings.class_weight,
            bounds=control.bounds,
            encoder=embedder.trained_on[0],
            random_state=RANDOM_STATE,
        )
        if head is not None:
            heads[name] = head
    return heads
