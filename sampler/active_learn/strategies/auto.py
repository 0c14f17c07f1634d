"""The default: weighted coverage while labels are few, A-optimal design from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..posterior.fisher import split_outputs
from ..validation import types_of
from .aopt import AOpt
from .base import Context, Selection, register
from .coverage import Coverage

__all__ = ["Auto"]

# Coverage is ahead while a class has about two labels; the design is level or ahead afterwards.
LABELS_PER_CLASS = 2
FEWEST_LABELS = 100
# Of few classes it goes on too long: most of its picks are of the class that varies most.
MOST_PER_CLASS = 20


@register
@dataclass(frozen=True)
class Auto(AOpt):
    """`coverage` while labels are few, `aopt` from then on.

    They are few up to ``max(2 K, min(100, 20 K))`` for K classes, up to ``max(2 L, 100)`` for L
    labels of a multi-label task.

    Of several outputs the largest number counts. In regression, with tasks of
    parts, on a stream, and with labeled data that is not conditioned on, it is `aopt` throughout.
    Takes the parameters of `aopt`.
    """

    name: ClassVar[str] = "auto"

    def rank_pool(self, context: Context) -> Selection:
        """Return the picks of one of the two strategies."""
        if not _labels_are_few(context):
            return super().rank_pool(context)
        return Coverage(self.gamma, self.ridge, self.references, self.beta).rank_pool(context)


def _labels_are_few(context: Context) -> bool:
    """Return whether coverage selects."""
    if set(types_of(context.problem_type)) <= {"regression", "tagging"}:
        return False
    if context.labeled is None:
        return not context.has_labels
    outputs = split_outputs(context.labeled.logits, context.problem_type)
    needed = max(_needed(logits.shape[1], kind) for logits, kind in outputs if kind != "regression")
    return len(context.labeled) < needed


def _needed(n: int, kind: str) -> int:
    """Return the labels from which on they are not few, for n classes or labels."""
    fewest = min(FEWEST_LABELS, MOST_PER_CLASS * n) if kind == "classification" else FEWEST_LABELS
    return max(LABELS_PER_CLASS * n, fewest)
