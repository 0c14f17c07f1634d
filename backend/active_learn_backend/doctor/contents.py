"""Checks whether the first tasks of a project can be read, before a worker does so with all."""

from __future__ import annotations

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
    """Load and decode the contents of the first tasks of a project.

    Raises
    ------
    LabelStudioError, LabelStudioUnreachableError
        When Label Studio does not list them.
    MissingOptionalDependencyError
        When what decodes them is not installed.
    """
    from ..learning.encoders import TaskEncoder, embedded_encoders, readable_fields  # scipy

    task = parse_label_config(client.project(project_id)["label_config"] or "")
    fields = readable_fields(task.fields)
    kinds = {field.kind for field in fields}
    items = client.first_tasks(project_id, LOOKED_AT_VIDEOS if "video" in kinds else LOOKED_AT)
    encoder = TaskEncoder(fields, ContentLoader(settings, client).load, embedded_encoders(kinds))
    found = encoder.check([task.content(item["data"]) for item in items])
    failed = group_by_cause(
        (item["id"], error.cause, str(error))
        for item, error in zip(items, found, strict=True)
        if isinstance(error, ContentError)
    )
    if not failed:
        return ok(_readable(len(items)))
    report = wrong if sum(one.n for one in failed) == len(items) else warning
    return report(describe_unreadable(failed, f"the first {len(items)}"), RETRIED)


def _readable(looked_at: int) -> str:
    if not looked_at:
        return "it has no tasks yet"
    return f"the first {looked_at} tasks can be read" if looked_at > 1 else "its task can be read"
