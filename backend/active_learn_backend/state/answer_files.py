"""Files of answers: the first line says what they are for, each other one holds an answer."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from .folders import make_private_folder

__all__ = ["Answer", "read_answer_file", "write_answer_file"]


@dataclass(frozen=True)
class Answer:
    """An answer of the heads to one task.

    Attributes
    ----------
    labels : mapping
        Label by the name of its control.
    score : float
        Calibrated probability that it is right, 0 to 1.
    """

    task_id: int
    labels: Mapping[str, Any]
    score: float


def write_answer_file(path: Path, head: Mapping[str, Any], answers: Iterable[Answer]) -> None:
    """Write a file at once: after a crash it is whole, or it is not there.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    draft = path.with_suffix(".part")
    try:
        make_private_folder(path.parent)
        with draft.open("w", encoding="utf-8") as file:
            file.write(json.dumps(head) + "\n")
            for one in answers:
                row = {"task": one.task_id, "labels": dict(one.labels), "score": one.score}
                file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        raise StoreError(
            f"answers cannot be written to {path} ({error.strerror}); free disk space, or correct "
            "the rights of MODEL_DIR"
        ) from error


def read_answer_file(path: Path) -> tuple[dict[str, Any], list[Answer]]:
    """Return the first line and the answers of a file.

    Raises
    ------
    OSError, ValueError, KeyError, TypeError
        When it is missing or damaged.
    """
    with path.open(encoding="utf-8") as lines:
        head, *rows = map(json.loads, lines)
        return head, [Answer(row["task"], row["labels"], row["score"]) for row in rows]
