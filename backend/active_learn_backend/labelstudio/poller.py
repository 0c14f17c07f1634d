"""Reads what changed in Label Studio into the store, also after webhooks were lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..labeling.annotations import is_automatic, is_skipped, lead_time, run_of, with_parents
from ..labeling.config import LabelingTask, parse_label_config
from ..state.store import Project, Store, TaskRow
from ..state.tasks import annotated_ids, apply_changes, count_annotations, count_tasks, task_ids
from .client import LabelStudioClient
from .task_filters import Filter, stamp

__all__ = ["Changes", "poll", "task_row"]

log = logging.getLogger(__name__)

# Label Studio stamps a change before it commits it. So a poll reads again from this long before
# the last one, but not from before the last change that was seen by then.
SETTLE = timedelta(seconds=5)
FEW = 100  # changed tasks that are read in full in one call
MANY = 5000  # young changes that take longer to read once more than to wait until they settled
SLIM = "id,data,updated_at"
BEGINNING = datetime.fromtimestamp(0, UTC)
# Label Studio's counters of a task can be wrong after it was killed; this filter reads the
# annotations themselves.
ANNOTATED = Filter("annotations_ids", "greater", "Number", 0)
COMPARE_EVERY = 6 * 3600.0  # seconds between two full comparisons of the annotations


@dataclass(frozen=True)
class Changes:
    """Result of one poll: the project as Label Studio holds it, and how much is new."""

    project: Mapping[str, Any]
    labels: int
    tasks: int


def poll(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    wait: Callable[[float], None] = time.sleep,
) -> Changes:
    """Bring the store up to date with Label Studio.

    Parameters
    ----------
    wait : callable
        Waits for so many seconds, or raises an error; called after an import of many tasks.

    Raises
    ------
    LabelConfigError
        When the project's labeling config cannot be learned.
    """
    remote = client.project(project.id)
    settled = client.clock - SETTLE
    label_config = remote["label_config"] or ""
    task = parse_label_config(label_config)
    if (title := str(remote.get("title") or "")) != project.title:
        store.update(project.id, title=title)
    if label_config != project.label_config:
        if project.cursor:
            log.info("the labeling config changed; reading all again")
        # The answers in the published queue may not fit the new config: a round is due at once.
        store.update(project.id, label_config=label_config, cursor="", request_round=True)
        project = store.known_project(project.id)
    if not project.cursor:
        labels, tasks = _read_all(client, store, project, task, wait)
        return Changes(remote, labels, tasks)
    labels, tasks = _read_changed(client, store, project, task, settled, wait)
    missed = _read_unseen_annotations(client, store, project, task, remote)
    labels, tasks = labels + missed[0], tasks + missed[1]
    if count_tasks(store, project.id) == remote["task_number"]:
        return Changes(remote, labels, tasks)
    # Label Studio lists no deleted tasks, and a poll can miss new ones: compare the ids.
    known = task_ids(store, project.id)
    present = {item["id"] for page in client.task_pages(project.id, include="id") for item in page}
    if present - known:
        log.info("%d tasks were missed", len(present - known))
        more = _read_all(client, store, project, task, wait)
    else:
        log.info("%d tasks were deleted", len(known - present))
        more = apply_changes(store, project.id, [], deleted=known - present)
    return Changes(remote, labels + more[0], tasks + more[1])


def _read_all(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    task: LabelingTask,
    wait: Callable[[float], None],
) -> tuple[int, int]:
    settled = _settle(client, project.id, wait)
    items = _read_many(client, project.id, None)
    found = apply_changes(store, project.id, [task_row(task, item) for item in items], replace=True)
    store.update(project.id, annotation_gap=0, accepted_gap=0, compared_at=time.time())
    _advance(store, project, items, settled)
    return found


def _read_changed(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    task: LabelingTask,
    settled: datetime,
    wait: Callable[[float], None],
) -> tuple[int, int]:
    since = [Filter("updated_at", "greater", "Datetime", project.cursor)]
    items = client.few_tasks(project.id, since, FEW)
    if items is None:
        settled = _settle(client, project.id, wait)
        items = _read_many(client, project.id, datetime.fromisoformat(project.cursor))
    found = apply_changes(store, project.id, [task_row(task, item) for item in items])
    _advance(store, project, items, settled)
    return found


def _settle(client: LabelStudioClient, project_id: int, wait: Callable[[float], None]) -> datetime:
    """Return a time before which all stamped changes are committed, right before many are read.

    The next poll reads again what bears a later stamp. Right after an import that is the whole
    import, and each 1,000 tasks take Label Studio a second: so wait until it is older.
    """
    now = client.clock
    young = Filter("updated_at", "greater", "Datetime", stamp(now - SETTLE))
    if client.count_tasks(project_id, [young]) < MANY:
        return now - SETTLE
    log.info("waiting until a large import is whole")
    second = timedelta(seconds=1)  # the clock has no fractions
    wait((SETTLE + second).total_seconds())
    return now + second


def _read_many(
    client: LabelStudioClient, project_id: int, since: datetime | None
) -> list[dict[str, Any]]:
    """Read tasks slim, and only the annotated ones in full, which costs ten times as much."""
    slim = (
        client.task_pages(project_id, include=SLIM)  # of all tasks none enters or leaves unseen
        if since is None
        else client.changed_tasks(project_id, since, include=SLIM)
    )
    tasks = {item["id"]: item for page in slim for item in page}
    for page in client.changed_tasks(project_id, since or BEGINNING, filters=[ANNOTATED]):
        tasks |= {item["id"]: item for item in page}
    return list(tasks.values())


def _read_unseen_annotations(
    client: LabelStudioClient,
    store: Store,
    project: Project,
    task: LabelingTask,
    remote: Mapping[str, Any],
) -> tuple[int, int]:
    """Read all annotations when Label Studio counts others than we do, and now and then.

    An annotation does not always move its task's ``updated_at``: Label Studio was killed in
    between, or committed it long after the stamp. A difference counts from the second poll that
    finds it, because people annotate between the count and the read; one that remains after all
    was read is left alone until it changes.
    """
    there = remote["total_annotations_number"] + remote["skipped_annotations_number"]
    gap = there - count_annotations(store, project.id)
    confirmed = gap == project.annotation_gap
    if confirmed and gap == 0 and project.accepted_gap:
        store.update(project.id, accepted_gap=0)  # a later one of that size is another one
    differs = confirmed and gap not in (0, project.accepted_gap)
    now = time.time()
    if not differs and 0 <= now - project.compared_at < COMPARE_EVERY:
        if not confirmed:
            store.update(project.id, annotation_gap=gap)
        return 0, 0
    found = _read_annotations(client, store, project, task)
    gap = there - count_annotations(store, project.id)
    store.update(project.id, annotation_gap=gap, accepted_gap=gap, compared_at=now)
    if found[0]:
        log.info("%d labels were found whose tasks bear no new time stamp", found[0])
    return found


def _read_annotations(
    client: LabelStudioClient, store: Store, project: Project, task: LabelingTask
) -> tuple[int, int]:
    pages = client.changed_tasks(project.id, BEGINNING, filters=[ANNOTATED])
    annotated = {item["id"]: task_row(task, item) for page in pages for item in page}
    emptied = annotated_ids(store, project.id) - annotated.keys()
    rows = list(annotated.values())
    if emptied:
        slim = client.task_pages(project.id, include=SLIM)
        rows += [task_row(task, one) for page in slim for one in page if one["id"] in emptied]
    return apply_changes(store, project.id, rows)


def task_row(task: LabelingTask, item: Mapping[str, Any]) -> TaskRow:
    """Return the row of a task as Label Studio sends it, with its annotations."""
    content = task.content(item["data"])
    annotations = with_parents(item.get("annotations") or [], item.get("predictions") or [])
    automatic = [one for one in annotations if is_automatic(one)]
    by_people = [one for one in annotations if one not in automatic]
    stamps = [
        given_at
        for one in by_people
        # What a run wrote became a label when a person changed it.
        if (given_at := one.get("created_at" if run_of(one) is None else "updated_at"))
        and not one.get("was_cancelled")
    ]
    labels = task.labels(by_people)
    unmatched = labels is None and bool(by_people) and not is_skipped(by_people)
    return TaskRow(
        task_id=item["id"],
        content=content,
        content_key=task.content_key(content),
        labels=labels,
        # Label Studio serves the task no more, also after an annotation without our controls.
        skipped=is_skipped(by_people) or unmatched,
        labeled_at=min(map(_seconds, stamps), default=None),
        annotations=len(annotations),
        unmatched=task.no_label_because(by_people) if unmatched else "",
        run=_run(automatic if labels is None else by_people),
        votes=task.votes(by_people),
        lead_time=lead_time(by_people),
    )


def _run(annotations: Sequence[Mapping[str, Any]]) -> int | None:
    """Return the labeling run that wrote all of some annotations; None if a person wrote one."""
    runs = {run_of(one) or 0 for one in annotations}
    return max(runs) if runs and 0 not in runs else None


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _advance(
    store: Store, project: Project, items: Sequence[Mapping[str, Any]], settled: datetime
) -> None:
    """Move the cursor to the last change seen, but not past what had settled when we read."""
    if items:
        latest = max(datetime.fromisoformat(item["updated_at"]) for item in items)
    elif project.cursor:
        return
    else:
        latest = BEGINNING
    store.update(project.id, cursor=stamp(min(latest, settled)))
