"""Whether an answer of the heads is right, by what people say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...labeling.regions import count_matches

__all__ = ["is_right", "wrong_decisions"]


def is_right(answer: Mapping[str, Any], labels: Mapping[str, Any] | None, tolerance: float) -> bool:
    """Return whether an answer is right: the answers of all controls are.

    Regions are right if each one that is there was found and no other, see `count_matches`.

    Parameters
    ----------
    answer, labels : mapping
        Label by the name of its control, as the heads answer and as people do. A control that
        people left out makes the answer wrong.
    tolerance : float
        A number is right if it is no farther from the label.
    """
    given = labels or {}
    return all(
        name in given and _is_same(label, given[name], tolerance) for name, label in answer.items()
    )


def wrong_decisions(
    answer: Mapping[str, Any], labels: Mapping[str, Any], tolerance: float
) -> set[tuple[str, str]]:
    """Return which decisions of an answer are wrong, as pairs of control and label.

    Of a control with several labels a task, they are the labels that are wrongly set or wrongly
    missing; of another one, the control with an empty label.

    Parameters
    ----------
    answer, labels, tolerance
        See `is_right`; people have answered all controls.
    """
    wrong: set[tuple[str, str]] = set()
    for name, label in answer.items():
        if _is_same(label, labels[name], tolerance):
            continue
        if isinstance(label, list) and all(isinstance(one, str) for one in (*label, *labels[name])):
            wrong |= {(name, one) for one in set(label) ^ set(labels[name])}
        else:
            wrong.add((name, ""))
    return wrong


def _is_same(answer: Any, label: Any, tolerance: float) -> bool:
    if isinstance(answer, int | float):
        return abs(answer - float(label)) <= tolerance
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        if any(isinstance(one, Sequence) and not isinstance(one, str) for one in (*answer, *label)):
            return count_matches(label, answer) == len(label) == len(answer)
        return set(answer) == set(label)
    return bool(answer == label)
