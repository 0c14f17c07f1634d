"""From a task's annotations to the one label that the head of a control learns.

Skipped (cancelled) annotations are no labels, and neither are empty results. Several annotations
of one task are resolved in this order: ground truths win over others (Label Studio marks every
imported annotation as one, so there may be several); of numbers the median is taken, which one odd
annotator cannot move far; else the majority, of whole sets in multi-label; a tie goes to the side
with the latest annotation.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from statistics import median
from typing import Any

__all__ = ["is_skipped", "no_label_because", "resolve_label"]

SHOWN = 60  # characters of an answer in a reason


def resolve_label(
    annotations: Sequence[Mapping[str, Any]],
    read: Callable[[Sequence[Mapping[str, Any]]], Any],
) -> Any:
    """Resolve all annotations of a task to one label.

    Parameters
    ----------
    annotations : sequence of dict
        As Label Studio sends them.
    read : callable
        Reads the label out of one annotation's ``result``; None when it holds none.

    Returns
    -------
    The label (a JSON value), or None when the task is not labeled.
    """
    votes = []
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue
        label = read(annotation.get("result") or [])
        if label is not None:
            when = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            votes.append((bool(annotation.get("ground_truth")), when, annotation["id"], label))
    if not votes:
        return None
    votes = [vote for vote in votes if vote[0]] or votes
    votes.sort(key=lambda vote: vote[1:3])
    latest = votes[-1][-1]
    if isinstance(latest, float):
        return median(label for *_, label in votes)
    names = [json.dumps(label, sort_keys=True) for *_, label in votes]
    counts = Counter(names)
    most = max(counts.values())
    winner = next(name for name in reversed(names) if counts[name] == most)
    return json.loads(winner)


def is_skipped(annotations: Sequence[Mapping[str, Any]]) -> bool:
    """Check whether somebody skipped the task."""
    return any(annotation.get("was_cancelled") for annotation in annotations)


def no_label_because(
    annotations: Sequence[Mapping[str, Any]], learned: Collection[str], others: Collection[str]
) -> str:
    """Return in words why annotations that nobody skipped hold no label.

    Parameters
    ----------
    annotations : sequence of dict
        As Label Studio sends them; no label was read out of any.
    learned, others : collections of str
        Names of the controls that are learned, and patterns of the names of the others.
    """
    items = [
        item
        for annotation in annotations
        if isinstance(result := annotation.get("result"), list)
        for item in result
        if isinstance(item, Mapping) and isinstance(item.get("from_name"), str)
    ]
    for item in items:
        name = item["from_name"]
        if name in learned:
            return f"'{name}' is answered with {_answer(item)}, which is none of its labels"
        if not any(fnmatchcase(name, other) for other in others):
            return f"'{name}' is answered, which is no control of the labeling config"
    return "only controls that are not learned are answered" if items else "the annotation is empty"


def _answer(item: Mapping[str, Any]) -> str:
    """Write what an item of a result answers, such as 'cat'."""
    value = item.get("value")
    if isinstance(value, Mapping):
        value = value.get(str(item.get("type")), value)
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else "a long answer"
