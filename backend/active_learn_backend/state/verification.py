"""A verification: a sample that people label, to show how few answers of a set are wrong.

One file in the project's folder: the first line says what is verified and names the sample, the
others hold the answers of the whole set, as they were when the sample was drawn. It outlives a
project state that is rebuilt.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import StoreError
from ..settings import Settings
from .answer_files import Answer, read_answer_file, write_answer_file
from .folders import labeling_folder

__all__ = ["Verification", "close", "open_sample", "read_open", "save"]

NAME = "verification.jsonl"


@dataclass(frozen=True)
class Verification:
    """A set of answers, and the sample of its tasks that people label.

    Attributes
    ----------
    head_version : str
        Whose answers they are.
    accuracy, confidence, tolerance : float
        What was asked for.
    most_wrong : int
        With so many wrong answers in the sample, the set passes.
    sample : tuple of int
        Ids of the tasks in it.
    by : {'task', 'label'}
        What has to be right: the whole answers, or each label by itself.
    """

    head_version: str
    accuracy: float
    confidence: float
    tolerance: float
    most_wrong: int
    sample: tuple[int, ...]
    by: str = "task"


def save(
    settings: Settings, project_id: int, verification: Verification, answers: list[Answer]
) -> None:
    """Store an open verification, completely or not at all.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    path = labeling_folder(settings, project_id) / NAME
    write_answer_file(path, asdict(verification), answers)


def read_open(settings: Settings, project_id: int) -> tuple[Verification, list[Answer]] | None:
    """Return the open verification of a project with the answers of its set; None without one.

    Raises
    ------
    StoreError
        When its file is damaged.
    """
    path = labeling_folder(settings, project_id) / NAME
    try:
        head, answers = read_answer_file(path)
        return _parsed(head), answers
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def open_sample(settings: Settings, project_id: int) -> tuple[int, ...]:
    """Return the tasks of the open verification's sample; none without one."""
    path = labeling_folder(settings, project_id) / NAME
    try:
        with path.open(encoding="utf-8") as lines:
            return _parsed(json.loads(lines.readline())).sample
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def close(settings: Settings, project_id: int) -> None:
    """Close the open verification: its labels train from now on. The file is kept."""
    path = labeling_folder(settings, project_id) / NAME
    if path.exists():
        path.rename(path.with_name(f"verification-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"))


def _parsed(values: Mapping[str, Any]) -> Verification:
    return Verification(**{**values, "sample": tuple(map(int, values["sample"]))})


def _damaged(path: Path, error: Exception) -> StoreError:
    return StoreError(
        f"{path} cannot be read ({error}); delete it: its labels train then, and a new "
        "verification can be begun"
    )
