"""All tasks of a project with their labels, read at once: from Label Studio, or from its export."""

from __future__ import annotations

import json
from pathlib import Path

from active_learn.errors import DataError

from ..labeling.config import LabelingTask, parse_label_config
from ..state.store import Store, TaskRow
from ..state.tasks import read_tasks
from .client import LabelStudioClient
from .poller import poll, task_row

__all__ = ["read_export", "read_project"]


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
        items = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(items, list):
        raise DataError(f"{path} holds no list of tasks; export the project as JSON")
    for at, item in enumerate(items):
        whole = (
            isinstance(item, dict)
            and isinstance(item.get("id"), int)
            and isinstance(item.get("data"), dict)
            and isinstance(item.get("annotations"), list)
            and all(isinstance(one, dict) and "id" in one for one in item["annotations"])
        )
        if not whole:
            raise DataError(
                f"item {at} of {path} is no task with id, data and annotations; export the project "
                "as JSON (JSON-MIN and CSV leave out what is needed)"
            )
    return task, [task_row(task, item) for item in items]
