"""Training of the heads of a round."""

from __future__ import annotations

from collections.abc import Mapping

from active_learn.heads import Head, TrainedHead, fit_head

from ...labeling.config import LabelingTask
from ...settings import RANDOM_STATE, Settings
from ..selection.snapshot import Snapshot

__all__ = ["train_heads"]


def train_heads(
    task: LabelingTask,
    snapshot: Snapshot,
    former: Mapping[str, Head],
    settings: Settings,
    *,
    number: int,
    encoder: str,
) -> dict[str, TrainedHead]:
    """Train a head for each control, on the tasks that have its label.

    Parameters
    ----------
    former : mapping
        The last heads, by the name of their control: training starts from them.
    number : int
        Of the round.
    encoder : str
        Fingerprint of what made the embeddings.

    Returns
    -------
    dict of TrainedHead
        By the name of the control; without those that have nothing to tell apart yet.
    """
    heads = {}
    for control in task.controls:
        labeled = snapshot.of(control.from_name)
        training = labeled.training
        labels = labeled.labels(training)
        head = fit_head(
            control.problem_type,
            control.classes(labels),
            labeled.embeddings[training],
            labels,
            round=number,
            former=former.get(control.from_name),
            class_weight=settings.class_weight,
            bounds=control.bounds,
            encoder=encoder,
            random_state=RANDOM_STATE,
        )
        if head is not None:
            heads[control.from_name] = head
    return heads
