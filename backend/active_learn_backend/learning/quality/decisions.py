"""Answers taken apart: yes or no for each label of a task; the whole answer of other controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...labeling.controls import ControlTag
from ..selection.snapshot import Mask
from .right_answers import wrong_decisions

__all__ = ["Decision", "Decisions", "decisions_of"]

Array = npt.NDArray[np.float64]


class Decision(NamedTuple):
    """What is decided: whether a task bears a label, or (label "") what a control says of it."""

    control: str
    label: str

    def __str__(self) -> str:
        return f"{self.control}: {self.label}" if self.label else self.control


@dataclass(frozen=True)
class Decisions:
    """The decisions of the heads, a column for each.

    Attributes
    ----------
    names : list of Decision, length k
    yes : array of shape (m, k), bool
        Whether the label is set, for the unlabeled tasks; True where a control decides.
    scores : array of shape (m, k)
        How likely each is right.
    audit_yes, audit_scores : arrays of shape (n, k)
        The same for the labeled audit tasks.
    wrong : array of shape (n, k), bool
        Which of those are wrong.
    """

    names: list[Decision]
    yes: Mask
    scores: Array
    audit_yes: Mask
    audit_scores: Array
    wrong: Mask

    @classmethod
    def of(
        cls,
        controls: Sequence[ControlTag],
        answers: Sequence[Mapping[str, Any]],
        scores: Mapping[str, Array],
        given: Sequence[Mapping[str, Any]],
        tolerance: float,
    ) -> Decisions:
        """Take answers apart.

        Parameters
        ----------
        answers : sequence of mappings
            Label by the name of its control: for the unlabeled tasks, then for the audit tasks.
        scores : mapping
            By the name of the control: an array of a column for each of its decisions.
        given : sequence of mappings
            What people say of the audit tasks.
        """
        names = [one for control in controls for one in decisions_of(control)]
        score = np.concatenate([scores[control.from_name] for control in controls], axis=1)
        yes = np.array(
            [[not one.label or one.label in answer[one.control] for one in names]
             for answer in answers], dtype=bool,
        ).reshape(len(answers), len(names))  # fmt: skip
        open_ = len(answers) - len(given)
        errors = [
            wrong_decisions(answer, labels, tolerance)
            for answer, labels in zip(answers[open_:], given, strict=True)
        ]
        wrong = np.array(
            [[one in found for one in names] for found in errors], dtype=bool
        ).reshape(len(given), len(names))  # fmt: skip
        return cls(names, yes[:open_], score[:open_], yes[open_:], score[open_:], wrong)


def decisions_of(control: ControlTag) -> list[Decision]:
    """Return what the head of a control decides of each task."""
    labels = control.labels if control.problem_type == "multilabel" else [""]
    return [Decision(control.from_name, label) for label in labels]
