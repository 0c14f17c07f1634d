"""What a backtest replays of a project: the labels of one control, and the tasks with one."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from active_learn.errors import DataError

from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag
from ...state.store import TaskRow
from ...state.task_groups import describe_groups, group_by_cause
from ..embedding.embedder import TaskEmbedder

__all__ = ["embed_labeled", "replayed_control"]

log = logging.getLogger(__name__)


def replayed_control(task: LabelingTask) -> ControlTag:
    """Return the control whose labels are replayed: of several the first."""
    control, *others = task.controls
    if others:
        log.warning(
            "replays the labels of '%s' alone, while the queue is ordered for all controls; "
            "to replay another, name it by --controls: %s",
            control.from_name,
            ", ".join(one.from_name for one in others),
        )
    return control


def embed_labeled(
    embedder: TaskEmbedder, control: ControlTag, rows: Sequence[TaskRow]
) -> tuple[Any, list[int], list[TaskRow]]:
    """Embed the tasks with a label of a control; warn of those that cannot be used.

    Returns
    -------
    embeddings : array or PartedVectors
        Of the tasks at ``usable``.
    usable : list of int
        Positions of the labeled tasks that can be read.
    rows : list of TaskRow
        The labeled tasks.

    Raises
    ------
    DataError
        When no labeled task can be read.
    """
    _tell_unmatched(rows)
    rows = [row for row in rows if control.from_name in (row.labels or {})]
    embeddings, usable, failed = embedder.embed(
        [row.content for row in rows], [row.content_key for row in rows]
    )
    groups = group_by_cause(
        (rows[at].task_id, error.cause, str(error)) for at, error in failed.items()
    )
    if unreadable := describe_groups(groups, f"{len(rows)} labeled", "cannot be read"):
        if not usable:
            raise DataError(f"no labeled task can be read; {unreadable}")
        log.warning("%s", unreadable)
    return embeddings, list(usable), rows


def _tell_unmatched(rows: Sequence[TaskRow]) -> None:
    """Warn of annotations that give no label."""
    groups = group_by_cause(
        (row.task_id, row.unmatched, row.unmatched) for row in rows if row.unmatched
    )
    if told := describe_groups(groups, len(rows), "are annotated without a label"):
        log.warning("%s", told)
