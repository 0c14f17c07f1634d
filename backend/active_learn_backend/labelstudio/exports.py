"""All tasks of a project with their labels, read at once: from Label Studio, or from its export."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from active_learn.errors import DataError

from ..labeling.config import LabelingTask, parse_label_config
from ..state.store import Store, TaskRow
from ..state.tasks import read_tasks
from .client import LabelStudioClient
from .poller import poll, task_row
from .task_filters import stamp

__all__ = ["read_export", "read_project"]

STAMPS = ("created_at", "updated_at")


def read_project(client: LabelStudioClient, project_id: int) -> tuple[LabelingTask, list[TaskRow]]:
    """Read a project as the worker does; it need not be connected, and nothing is changed.

    Raises
    ------
    LabelConfigError
        When the project's labeling config cannot be learned.
    """
    scratch = Store("sqlite://")  # in memory: the worker's own state is left alone
    try:
        scratch.register(project_id)
        poll(client, scratch, scratch.known_project(project_id))
        label_config = scratch.known_project(project_id).label_config
        return parse_label_config(label_config), read_tasks(scratch, project_id)
    finally:
        scratch.close()


def read_export(path: Path, label_config: str) -> tuple[LabelingTask, list[TaskRow]]:
    """Read a file that Label Studio exported as JSON.

    Parameters
    ----------
    path : Path
    label_config : str
        The XML of the project.

    Raises
    ------
    LabelConfigError
    DataError
        When the file is no such export.
    """
    task = parse_label_config(label_config)
    try:
        items = json.loads(path.read_bytes())  # of any Unicode encoding, also with a mark of it
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(items, list):
        raise DataError(f"{path} holds no list of tasks; export the project as JSON")
    found = [_task(item, f"item {at} of {path}") for at, item in enumerate(items)]
    for item, number in zip(found, _numbers(found), strict=True):
        item["id"] = number
    return task, [task_row(task, item) for item in found]


def _task(item: Any, where: str) -> dict[str, Any]:
    """Return a task of an export as Label Studio sends it now.

    Raises
    ------
    DataError
        When it lacks its data or its annotations.
    """
    if isinstance(item, dict) and "annotations" not in item:
        item = item | {"annotations": item.get("completions")}  # of Label Studio before 1.0
    if not (
        isinstance(item, dict)
        and isinstance(item.get("data"), dict)
        and isinstance(item["annotations"], list)
        and all(isinstance(one, dict) for one in item["annotations"])
    ):
        raise DataError(
            f"{where} is no task with data and annotations; export the project as JSON (JSON-MIN "
            "and CSV leave out what is needed)"
        )
    numbers = _numbers(item["annotations"])
    annotations = [
        one
        | {"id": number}
        | {name: _stamp(one.get(name)) for name in ("created_at", "updated_at")}
        for one, number in zip(item["annotations"], numbers, strict=True)
    ]
    for one in annotations:
        one["was_cancelled"] = bool(one.get("was_cancelled") or one.get("skipped"))
    return item | {"annotations": annotations}


def _numbers(records: Sequence[Mapping[str, Any]]) -> list[int]:
    """Return the ids of records; their positions where they do not all have a number of their own.

    Only the order of the records depends on them.
    """
    numbers = [one.get("id") for one in records]
    given = [one for one in numbers if isinstance(one, int)]
    return given if len(set(given)) == len(records) else list(range(len(records)))


def _stamp(value: Any) -> str | None:
    """Return a time stamp as Label Studio writes it now; None when it is none.

    Old exports hold seconds since 1970.
    """
    try:
        when = (
            datetime.fromtimestamp(value, UTC)
            if isinstance(value, (int, float))
            else datetime.fromisoformat(value)
        )
        return stamp(when)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
