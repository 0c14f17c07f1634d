"""Verification: people label a sample of a set, blind, which shows how few answers are wrong.

The sample is drawn by chance from exactly the set whose answers would be granted, and those answers
are frozen. So the bound on the rest of the set is exact, whatever the queue has taken before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import StoreError
from ...settings import Settings
from ...state import verification as stored
from ...state.answer_files import Answer
from ...state.looks import record_look
from ...state.store import Store, TaskRow
from ...state.tasks import read_tasks
from ...state.verification import Verification
from .certification import plan_sample, significance_of_look
from .certified_labels import CertifiedLabels
from .right_answers import is_right, wrong_decisions

__all__ = ["VerifiedLabels", "begin_verification"]

EVERY = ("", "")  # all decisions of an answer


def begin_verification(
    settings: Settings, store: Store, project_id: int, found: CertifiedLabels, tolerance: float
) -> Verification:
    """Draw the sample of the set that leaves most tasks to the heads, and let it be served first.

    It counts as a look.

    Raises
    ------
    StoreError
        When no sample smaller than its set would show it.
    """
    pool = found.pool
    look = record_look(
        store,
        project_id,
        # Each is a look of its own, also if the former one was of the same head.
        head_version=f"verification of {pool.version} at {time.time()}",
        audit_labels=len(pool.audit),
        accuracy=found.accuracy,
        tolerance=tolerance,
    )
    plan = found.plan
    if look > found.next_look:  # somebody else looked meanwhile
        significance = significance_of_look(found.confidence, look)
        measured = pool.audit_scores, pool.wrong_by_decision, pool.scores
        plan = plan_sample(*measured, found.accuracy, significance)
    if plan is None:
        raise StoreError(
            "no sample can be verified: by its scores, the head is not sure enough of any set of "
            "tasks; label on"
        )
    answers = [one for one in found.pool.answers if one.score >= plan.threshold]
    drawn = np.random.default_rng().choice(len(answers), plan.sample, replace=False)
    verification = Verification(
        found.pool.version,
        found.accuracy,
        found.confidence,
        tolerance,
        plan.most_wrong,
        tuple(answers[at].task_id for at in drawn),
        "task" if pool.decisions is None else "label",
    )
    stored.save(settings, project_id, verification, answers)
    store.update(project_id, request_round=True)
    store.mark_changed(project_id)
    return verification


@dataclass(frozen=True)
class VerifiedLabels:
    """How far an open verification is.

    Attributes
    ----------
    verification : Verification
    labeled, wrong : int
        Tasks of the sample that people have dealt with, and how many of the answers are wrong; by
        label, in the one that is wrong most often. One of a task that was skipped or deleted counts
        as wrong.
    rest : list of Answer
        The answers for the tasks of the set that nobody has labeled.
    """

    verification: Verification
    labeled: int
    wrong: int
    rest: list[Answer]

    accuracy = property(lambda self: self.verification.accuracy)
    confidence = property(lambda self: self.verification.confidence)
    head_version = property(lambda self: self.verification.head_version)

    @classmethod
    def read(cls, settings: Settings, store: Store, project_id: int) -> VerifiedLabels | None:
        """Return the open verification of a project; None without one."""
        found = stored.read_open(settings, project_id)
        if found is None:
            return None
        verification, answers = found
        rows = {row.task_id: row for row in read_tasks(store, project_id, contents=False)}
        by_task = {answer.task_id: answer for answer in answers}
        judged = [
            _judged(by_task[task], rows.get(task), verification) for task in verification.sample
        ]
        sample = set(verification.sample)
        known = [one for one in judged if one is not None]
        wrong = Counter(decision for one in known for decision in one if decision != EVERY)
        lost = sum(EVERY in one for one in known)
        return cls(
            verification,
            len(known),
            lost + max(wrong.values(), default=0),
            [one for one in answers if one.task_id not in sample and _is_open(rows, one.task_id)],
        )

    @property
    def failed(self) -> bool:
        """Whether more answers are wrong than may be."""
        return self.wrong > self.verification.most_wrong

    @property
    def passed(self) -> bool:
        """Whether all of the sample is labeled, and few enough answers are wrong."""
        return self.labeled == len(self.verification.sample) and not self.failed

    @property
    def granted(self) -> list[Answer]:
        """The answers that are certified."""
        return self.rest if self.passed else []

    def describe(self) -> Iterator[str]:
        """Yield what was found, in lines for people."""
        asked = f"{self.verification.accuracy:.1%} right with {self.verification.confidence:.0%}"
        size, most = len(self.verification.sample), self.verification.most_wrong
        so_far = f"{self.wrong} of {self.labeled} answers of the sample are wrong"
        if self.verification.by == "label":
            so_far += " in the label that is wrong most often"
        if self.failed:
            yield (
                f"not certified: {so_far}, at most {most} may be; the labels of the sample train "
                "from now on, so label on and ask again"
            )
        elif self.passed:
            yield (
                f"{len(self.rest)} tasks are certified to be {asked} confidence: {so_far}, at most "
                f"{most} may be"
            )
        else:
            yield (
                f"a verification is open: {size - self.labeled} of {size} tasks are still to be "
                f"labeled, they are served first; {so_far}, at most {most} may be"
            )


def _judged(
    answer: Answer, row: TaskRow | None, verification: Verification
) -> set[tuple[str, str]] | None:
    """Return what is wrong in an answer; None where nobody has said so yet."""
    if row is None or row.skipped:
        return {EVERY}
    if row.labels is None:
        return None
    if is_right(answer.labels, row.labels, verification.tolerance):
        return set()
    if verification.by == "task" or not answer.labels.keys() <= row.labels.keys():
        return {EVERY}
    return wrong_decisions(answer.labels, row.labels, verification.tolerance)


def _is_open(rows: Mapping[int, TaskRow], task: int) -> bool:
    row = rows.get(task)
    return row is not None and row.labels is None and not row.skipped and not row.automatic
