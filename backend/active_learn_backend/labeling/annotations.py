"""From a task's annotations to the one label that the head of a control learns.

Skipped (cancelled) annotations are no labels, and neither are empty results. Several annotations
of one task are resolved in this order: ground truths win over others (Label Studio marks every
imported annotation as one, so there may be several); of numbers the median is taken, which one odd
annotator cannot move far; else the majority, of whole sets in multi-label; a tie goes to the side
with the latest annotation. Regions have a rule of their own, see `regions.merge_regions`.

An annotation that a labeling run wrote bears the run's mark in its result, and is no label: it
neither trains nor measures. Once a person changed or confirmed it, it is that person's label. An
empty result has no item that could bear the mark. Label Studio knows of which prediction the
annotation was made, and the version of that names the run.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from statistics import median, variance
from typing import Any

__all__ = [
    "count_votes",
    "is_automatic",
    "is_skipped",
    "is_touched",
    "is_unmarked_child",
    "lead_time",
    "marked",
    "merge_labels",
    "no_label_because",
    "resolve_label",
    "run_of",
    "run_of_version",
    "version_of_run",
    "with_parents",
]

MARK = "active_learn"  # key in the meta of a result's items; its value is the run's version
_VERSION = re.compile(r"label-([1-9]\d{0,8})")
SHOWN = 60  # characters of an answer in a reason


def merge_labels(votes: Sequence[Any]) -> Any:
    """Return the one label of several, the latest last: of numbers the median, else a majority."""
    if isinstance(votes[-1], float):
        return median(votes)
    names = [json.dumps(label, sort_keys=True) for label in votes]
    counts = Counter(names)
    most = max(counts.values())
    winner = next(name for name in reversed(names) if counts[name] == most)
    return json.loads(winner)


def _differs(vote: Any, label: Any) -> float:
    return float(vote != label)


def resolve_label(
    annotations: Sequence[Mapping[str, Any]],
    read: Callable[[Sequence[Mapping[str, Any]]], Any],
    merge: Callable[[Sequence[Any]], Any] = merge_labels,
) -> Any:
    """Resolve all annotations of a task to one label.

    Parameters
    ----------
    annotations : sequence of dict
        As Label Studio sends them.
    read : callable
        Reads the label out of one annotation's ``result``; None when it holds none.
    merge : callable
        Makes one label of several, the latest last.

    Returns
    -------
    The label (a JSON value), or None when the task is not labeled.
    """
    votes = _votes(annotations, read)
    return merge(votes) if votes else None


def count_votes(
    annotations: Sequence[Mapping[str, Any]],
    read: Callable[[Sequence[Mapping[str, Any]]], Any],
    merge: Callable[[Sequence[Any]], Any] = merge_labels,
    differs: Callable[[Any, Any], float] = _differs,
) -> tuple[int, float]:
    """Count the annotations that `resolve_label` resolves, and compute how far they disagree.

    Parameters
    ----------
    differs : callable
        Returns how much an annotation is against the label, from 0 to 1.

    Returns
    -------
    count : int
    disagreement : float
        Of numbers their sample variance, 0 of a single one; else how many are against the label.
    """
    votes = _votes(annotations, read)
    if votes and isinstance(votes[-1], float):
        return len(votes), variance(votes) if len(votes) > 1 else 0.0
    label = merge(votes) if votes else None
    return len(votes), float(sum(differs(vote, label) for vote in votes))


def _votes(
    annotations: Sequence[Mapping[str, Any]],
    read: Callable[[Sequence[Mapping[str, Any]]], Any],
) -> list[Any]:
    """Return the labels that count, the latest last."""
    votes = []
    for annotation in annotations:
        if annotation.get("was_cancelled"):
            continue
        label = read(annotation.get("result") or [])
        if label is not None:
            when = str(annotation.get("updated_at") or annotation.get("created_at") or "")
            votes.append((bool(annotation.get("ground_truth")), when, annotation["id"], label))
    votes = [vote for vote in votes if vote[0]] or votes
    votes.sort(key=lambda vote: vote[1:3])
    return [label for *_, label in votes]


def marked(result: Sequence[Mapping[str, Any]], run: int) -> list[dict[str, Any]]:
    """Return a result whose items bear the mark of the labeling run that writes it."""
    return [{**item, "meta": {MARK: version_of_run(run)}} for item in result]


def version_of_run(run: int) -> str:
    """Return the version of the predictions of a labeling run, ``label-<run>``."""
    return f"label-{run}"


def run_of_version(version: Any) -> int | None:
    """Return the labeling run of which predictions are; None when a version is of no run."""
    match = _VERSION.fullmatch(version) if isinstance(version, str) else None
    return int(match[1]) if match else None


def with_parents(
    annotations: Sequence[Mapping[str, Any]], predictions: Iterable[Any]
) -> list[Mapping[str, Any]]:
    """Return annotations of a task, marked where they were made of a labeling run's prediction.

    Parameters
    ----------
    predictions : iterable
        Of the task, as Label Studio sends them. An export has their ids only, which say nothing.
    """
    versions = {
        one["id"]: one.get("model_version") for one in predictions if isinstance(one, Mapping)
    }
    return [
        {**one, MARK: versions.get(one["parent_prediction"])} if is_unmarked_child(one) else one
        for one in annotations
    ]


def is_unmarked_child(annotation: Mapping[str, Any]) -> bool:
    """Check whether an annotation was made of a prediction, and bears no mark of a labeling run."""
    return annotation.get("parent_prediction") is not None and run_of(annotation) is None


def run_of(annotation: Mapping[str, Any]) -> int | None:
    """Return the number of the labeling run whose mark an annotation bears; None without one.

    Parameters
    ----------
    annotation : mapping
        From `with_parents`, if it may be empty.
    """
    if (run := run_of_version(annotation.get(MARK))) is not None:
        return run
    result = annotation.get("result")
    for item in result if isinstance(result, list) else []:
        meta = item.get("meta") if isinstance(item, Mapping) else None
        run = run_of_version(meta.get(MARK)) if isinstance(meta, Mapping) else None
        if run is not None:
            return run
    return None


def is_automatic(annotation: Mapping[str, Any]) -> bool:
    """Check whether a labeling run wrote an annotation, and nobody changed it since.

    Label Studio keeps the mark when a person changes the answer. But it names whoever updated the
    annotation, even to the same answer, and its page sends the time that this took.
    """
    return not is_touched(annotation) and run_of(annotation) is not None


def is_touched(annotation: Mapping[str, Any]) -> bool:
    """Check whether a person submitted or changed an annotation, and no labeling run alone."""
    return annotation.get("updated_by") is not None or annotation.get("lead_time") is not None


def lead_time(annotations: Sequence[Mapping[str, Any]]) -> float | None:
    """Return the seconds that an annotation took, the median of several; None if not known.

    What was sent through the API has no time, and a skip is no work.
    """
    times = [
        float(seconds)
        for one in annotations
        if isinstance(seconds := one.get("lead_time"), int | float)
        and 0 < seconds < float("inf")
        and not one.get("was_cancelled")
    ]
    return median(times) if times else None


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
