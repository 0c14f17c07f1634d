"""Answers that the labeling config does not list: its classes are those that come again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

__all__ = ["LONGEST", "classes_of_answers"]

LONGEST = 100  # characters of an answer that is a label
COMES_AGAIN = 2  # tasks that have an answer, before it is a class


def classes_of_answers(labels: Iterable[Any]) -> tuple[str, ...]:
    """Return the answers that were given more than once, in alphabetical order."""
    counts = Counter(label for label in labels if isinstance(label, str))
    return tuple(sorted(label for label, n in counts.items() if n >= COMES_AGAIN))
