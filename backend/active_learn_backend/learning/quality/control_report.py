"""What a round finds about one control: the quality of its head, label errors, stability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from active_learn.heads import Head, TrainedHead

from ...settings import RANDOM_STATE
from ...state.round_report import ControlReport, Evaluation, LabelError, RoundReport
from ..selection.snapshot import ControlSnapshot
from .audit_sample import audit_sample
from .cross_validation import cross_validate
from .evaluation import audit_estimate, evaluate
from .head_comparison import compare_heads
from .label_errors import find_label_errors, unchanged_errors

__all__ = ["report_control"]

# Cross-validation costs several fits: it is repeated when there are this many more labels.
EVALUATE_AGAIN = 1.1


def report_control(
    snapshot: ControlSnapshot,
    head: Head | None,
    reports: Sequence[RoundReport],
    folder: Path,
    *,
    pinned: bool,
) -> ControlReport:
    """Estimate the quality of a control's head, find label errors, and compare earlier heads.

    Parameters
    ----------
    reports : sequence of RoundReport
        Of the former rounds.
    folder : Path
        Of the heads.
    pinned : bool
        Whether a person went back to this head: it does not change, so nothing is compared.
    """
    last = reports[-1].of(snapshot.from_name) if reports else None
    sample, population = audit_sample(snapshot, reports)
    evaluation, label_errors = _evaluate(snapshot, head, last)
    if head is not None:
        losses = head.losses(snapshot.embeddings[sample], snapshot.labels(sample))
        audit = audit_estimate(head.problem_type, losses, population)
        evaluation = replace(evaluation, audit=audit)
    stability = None
    if isinstance(head, TrainedHead) and not pinned:
        stability = compare_heads(head, snapshot, reports, folder)
    return ControlReport(
        snapshot.from_name,
        int(snapshot.labeled.sum()),
        len(sample),
        evaluation,
        label_errors,
        stability,
    )


def _evaluate(
    snapshot: ControlSnapshot, head: Head | None, last: ControlReport | None
) -> tuple[Evaluation, tuple[LabelError, ...]]:
    """Return the estimates but that by audit labels, and label errors.

    Cross-validation is repeated now and then only; between, its results are carried over.
    """
    if head is None:
        return Evaluation(), ()
    training, measuring = snapshot.training, snapshot.measuring
    if last is not None and len(training) < EVALUATE_AGAIN * last.evaluation.labels:
        current = {row.task_id: snapshot.of_task(row) for row in snapshot.rows.marked.values()}
        errors = unchanged_errors(last.label_errors, current)
        return last.evaluation, tuple(errors)
    embeddings, labels = snapshot.embeddings[training], snapshot.labels(training)
    losses, errors = None, []
    if not isinstance(head, TrainedHead):
        losses = head.losses(embeddings, labels)
    elif held_out := cross_validate(head, embeddings, labels, random_state=RANDOM_STATE):
        ids = [snapshot.rows[at].task_id for at in training]
        losses, errors = held_out.losses, find_label_errors(head, held_out, labels, ids)
    both = np.concatenate([training, measuring])
    evaluation = evaluate(
        head,
        losses,
        head.losses(snapshot.embeddings[measuring], snapshot.labels(measuring)),
        selection_probabilities=snapshot.selection_probabilities(both),
        order=snapshot.labeled_at(both),
        n_tasks=snapshot.population,
    )
    return replace(evaluation, labels=len(training)), tuple(errors)
