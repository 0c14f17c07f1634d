"""Checks whether the first tasks of a project can be read, before a worker does so with all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import ContentError
from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.content_loader import ContentLoader
from ..settings import Settings
from ..state.task_groups import group_by_cause
from ..state.unreadable import describe_unreadable
from .finding import Finding, ok, warning, wrong

__all__ = ["RETRIED", "check_contents"]

LOOKED_AT = 20
LOOKED_AT_VIDEOS = 3  # they are large
#: What becomes of tasks that cannot be read.
RETRIED = (
    "the worker tries them again, at the latest after an hour, and at once when it is restarted"
)


def check_contents(client: LabelStudioClient, settings: Settings, project_id: int) -> Finding:
    """Load the contents of the first tasks of a project.

    Raises
    ------
    LabelStudioError, LabelStudioUnreachableError
        When Label Studio does not list them.
    """
    from ..learning.encoders.content_reader import ContentReader  # imports numpy

    task = parse_label_config(client.project(project_id)["label_config"] or "")
    videos = any(field.kind == "video" for field in task.fields)
    items = client.first_tasks(project_id, LOOKED_AT_VIDEOS if videos else LOOKED_AT)
    reader = ContentReader(task.fields, ContentLoader(settings, client).load)
    found = reader.map([task.content(item["data"]) for item in items], _load_all)
    failed = group_by_cause(
        (item["id"], error.cause, str(error))
        for item, error in zip(items, found, strict=True)
        if isinstance(error, ContentError)
    )
    if not failed:
        return ok(f"the first {len(items)} tasks can be read" if items else "it has no tasks yet")
    report = wrong if sum(one.n for one in failed) == len(items) else warning
    return report(describe_unreadable(failed, f"the first {len(items)}"), RETRIED)


def _load_all(values: Iterable[Any]) -> None:
    """Load what comes one by one: the images of a list."""
    for value in values:
        if isinstance(value, Iterator):
            list(value)
