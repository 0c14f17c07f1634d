"""Reads the labels that a model is trained on, and splits off those that decide when to stop."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import DataError

from ..labeling.data_objects import Field

__all__ = ["Example", "Task", "held_out_rows", "read_examples", "read_task"]

TASKS, LABELS = "tasks.jsonl", "labels.json"
PROBLEMS = ("classification", "multilabel", "regression")
LEAST_LABELS = 10
HELD_OUT = 8  # one label of so many decides when to stop


@dataclass(frozen=True)
class Task:
    """What is to be learned.

    Attributes
    ----------
    problem_type : {'classification', 'multilabel', 'regression'}
    labels : tuple of str
        All that the labeling config offers, in its order; empty in regression.
    fields : tuple of Field
        What a task shows: texts and images.
    """

    problem_type: str
    labels: tuple[str, ...]
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Example:
    """A labeled task: its content by the names of the fields, and its label."""

    id: int
    content: dict[str, str]
    label: Any


def read_task(folder: Path) -> Task:
    """Read what is to be learned.

    Raises
    ------
    DataError
        When the file is missing or damaged, or is about another kind of problem.
    """
    described = _read_json(folder / LABELS)
    try:
        problem, labels = described["problem_type"], tuple(map(str, described["labels"]))
        fields = tuple(Field(str(one["name"]), one["type"]) for one in described["fields"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{LABELS} lacks {error}; expected problem_type, labels, fields") from error
    if problem not in PROBLEMS:
        raise DataError(f"problem_type is {problem!r}; expected one of {', '.join(PROBLEMS)}")
    return Task(problem, labels, fields)


def read_examples(folder: Path, task: Task) -> list[Example]:
    """Read the training labels; of the audit tasks nothing but the line that names them.

    Labels that the labeling config does not offer any more are left out.

    Raises
    ------
    DataError
        When the file is missing or damaged, or holds too little to learn from.
    """
    path = folder / TASKS
    found, number = [], 0
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                number += 1
                row = json.loads(line)
                if row["split"] != "train":
                    continue
                label = _offered(row["label"], task)
                if label is not None:
                    found.append(Example(int(row["id"]), row["content"], label))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); set TRAIN_DATA") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"line {number} of {TASKS} is damaged: {error!r}") from error
    _check_enough(found, task)
    return found


def held_out_rows(examples: Sequence[Example]) -> npt.NDArray[np.bool_]:
    """Return which rows decide when to stop, and are not trained on: shape (n,), bool.

    They are drawn by a hash of the task, so that a task which is held out once always is: the model
    that training starts from may come from an earlier training. At least two are.
    """
    hashes = np.array([_hash(example.id) for example in examples])
    return hashes <= max(1 / HELD_OUT, np.partition(hashes, 1)[1])


def _hash(task_id: int) -> float:
    digest = hashlib.blake2b(b"held out %d" % task_id, digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); set TRAIN_DATA") from error
    except ValueError as error:
        raise DataError(f"{path.name} is damaged: {error}") from error


def _offered(label: Any, task: Task) -> Any:
    """Return a label as far as the labeling config offers it; None where it does not."""
    if task.problem_type == "regression":
        return float(label)
    if task.problem_type == "multilabel":
        return [one for one in label if one in task.labels]
    return label if label in task.labels else None


def _sort_key(label: Any) -> Any:
    return sorted(label) if isinstance(label, list) else label


def _check_enough(examples: Sequence[Example], task: Task) -> None:
    if len(examples) < LEAST_LABELS:
        raise DataError(
            f"there are {len(examples)} training labels, and at least {LEAST_LABELS} are needed; "
            "label more"
        )
    if len({str(_sort_key(example.label)) for example in examples}) < 2:
        raise DataError("all training labels are the same; label tasks with other answers")
