"""What the status page shows of a project, read from the store and the heads. No web here."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from active_learn.errors import ActiveLearnError
from active_learn.heads import load_heads

from ...errors import LabelConfigError
from ...labeling.config import LabelingTask, parse_label_config
from ...labeling.controls import ControlTag
from ...learning.quality.head_versions import Version, kept_versions
from ...learning.quality.learning_curve import Gain, Point, expected_gain, points_of
from ...learning.quality.stopping import Advice, advise
from ...learning.quality.top_labels import TopLabel, top_labels
from ...logs import context
from ...settings import Settings
from ...state.folders import heads_folder, project_folder
from ...state.queue import count_open
from ...state.round_report import LabelError
from ...state.rounds import last_round, read_rounds
from ...state.status_queries import (
    NextTask,
    TaskCounts,
    count_labels,
    count_tasks,
    next_tasks,
    unmatched_tasks,
)
from ...state.store import Project, Store
from ...state.task_groups import describe_groups
from ...state.unreadable import describe_unreadable, unreadable_tasks
from ...wording import shortened
from .activity import Activity, activity_of

__all__ = ["ProjectStatus", "QueuedTask", "Summary", "project_status", "summarize"]

log = logging.getLogger(__name__)

SHOWN_TASKS = 12
SHOWN_TEXT = 280  # characters
SHOWN_BARS = 40
SHOWN_ERRORS = 20  # suspected label errors
BINS = 10  # of numbers

CONNECTED = {
    "active": "Connected",
    "paused": "Paused",
    "paused_by_user": "Paused",
    "disconnected": "Not connected",
}


@dataclass(frozen=True)
class Summary:
    """A project in a list of projects.

    Attributes
    ----------
    state : str
        'Connected', 'Paused' or 'Not connected'.
    reason : str
        Why it is not connected, in words.
    quality : Point or None
        The latest measurement.
    """

    id: int
    title: str
    state: str
    reason: str
    mode: str
    now: Activity
    counts: TaskCounts
    quality: Point | None
    last_error: str


@dataclass(frozen=True)
class QueuedTask:
    """A task that is served soon, and why.

    Attributes
    ----------
    audit : bool
        Drawn by chance, to measure; then `top_labels` is empty, so that nothing influences people.
    top_labels : tuple of TopLabel
        The likeliest answers, between which its label decides.
    texts : mapping
        The beginning of each text of the task, by field.
    image : str or None
        The field of its first image.
    """

    task_id: int
    rank: int
    in_batch: bool
    audit: bool
    uncertainty: float
    novelty: float
    top_labels: tuple[TopLabel, ...]
    texts: Mapping[str, str]
    image: str | None
    content_key: str


@dataclass(frozen=True)
class ProjectStatus:
    """Everything on a project's page.

    Attributes
    ----------
    ordering : str
        How the queue is ordered, what is learned and what is not; empty without a config.
    unmatched : str
        How many annotations give no label, and why; empty if all do.
    learned : bool
        Whether a head is trained.
    balance : list of (str, int)
        Labels and how often each was given; in regression ranges of numbers.
    batch_done, batch : int
        Labeled tasks of the published batch, and all of it.
    advice : list of Advice
        What published criteria for stopping say.
    label_errors : list of LabelError
        Labels that are likely wrong, the likeliest first.
    """

    summary: Summary
    problem_type: str
    ordering: str
    unmatched: str
    learned: bool
    batch_done: int
    batch: int
    queue: list[QueuedTask]
    curve: list[Point]
    gain: Gain
    balance: list[tuple[str, int]]
    versions: list[Version]
    advice: list[Advice]
    label_errors: list[LabelError]
    errors: list[str]


def summarize(settings: Settings, store: Store, project: Project) -> Summary:
    """Return the most important facts about a project."""
    last = last_round(store, project.id)
    points = points_of([last] if last else [])
    return _summary(settings, store, project, points[-1] if points else None)


def project_status(settings: Settings, store: Store, project: Project) -> ProjectStatus:
    """Return all that the page of a project shows.

    Raises
    ------
    StoreError
        When the project state cannot be read.
    """
    errors = [project.last_error] if project.last_error else []
    task: LabelingTask | None = None
    try:
        task = parse_label_config(project.label_config) if project.label_config else None
    except LabelConfigError as error:
        errors.append(str(error))
    unreadable = unreadable_tasks(store, project.id)
    if unreadable:
        errors.append(describe_unreadable(unreadable, count_tasks(store, project.id).total))
    reports = read_rounds(store, project.id)
    label_errors = reports[-1].of(None).label_errors if reports else ()
    points = points_of(reports)
    left, batch = count_open(store, project.id)
    return ProjectStatus(
        summary=_summary(settings, store, project, points[-1] if points else None),
        problem_type=task.controls[0].problem_type if task else "",
        ordering=task.description if task else "",
        unmatched=describe_groups(
            unmatched_tasks(store, project.id),
            count_tasks(store, project.id).total,
            "are annotated without a label",
        ),
        learned=task is None or task.learned,
        batch_done=batch - left,
        batch=batch,
        queue=_queue(settings, store, project, task),
        curve=points,
        gain=expected_gain(points),
        balance=_balance(task.controls[0] if task else None, count_labels(store, project.id)),
        versions=kept_versions(settings, project, reports),
        advice=advise(reports),
        label_errors=list(label_errors[:SHOWN_ERRORS]),
        errors=list(dict.fromkeys(errors)),
    )


def _summary(settings: Settings, store: Store, project: Project, quality: Point | None) -> Summary:
    return Summary(
        id=project.id,
        title=project.title,
        state=CONNECTED[project.status],
        reason=project.reason,
        mode=project.mode,
        now=activity_of(settings, store, project),
        counts=count_tasks(store, project.id),
        quality=quality,
        last_error=project.last_error,
    )


# -- the queue ----------------------------------------------------------------------------------


def _queue(
    settings: Settings, store: Store, project: Project, task: LabelingTask | None
) -> list[QueuedTask]:
    if task is None or project.status == "disconnected":
        return []
    found = next_tasks(store, project.id, SHOWN_TASKS)
    likeliest = _top_labels(settings, project, found)
    return [_queued(task, one, likeliest.get(one.content_key, ())) for one in found]


def _top_labels(
    settings: Settings, project: Project, found: Sequence[NextTask]
) -> Mapping[str, tuple[TopLabel, ...]]:
    """Return the likeliest labels of each task, unless the head or its embedding is unreadable."""
    if not project.head_round:
        return {}
    folder = project_folder(settings, project.id)
    try:
        heads = load_heads(heads_folder(settings, project.id), project.head_round)
        head = next(iter(heads.values()))
        return top_labels(folder, head, [one.content_key for one in found if not one.row.audit])
    except (ActiveLearnError, OSError) as error:
        with context(project=project.id):
            log.warning("the page shows no likely labels: %s", error)
        return {}


def _queued(task: LabelingTask, one: NextTask, likeliest: tuple[TopLabel, ...]) -> QueuedTask:
    texts, image = {}, None
    for field in task.fields:
        value = one.content.get(field.name)
        if not isinstance(value, str) or not value:
            continue
        if field.image_address(value):
            image = image or field.name
        else:
            texts[field.name] = _short(value)
    row = one.row
    return QueuedTask(
        row.task_id,
        row.rank,
        row.in_batch,
        row.audit,
        row.uncertainty,
        row.novelty,
        () if row.audit else likeliest,
        texts,
        image,
        one.content_key,
    )


def _short(text: str) -> str:
    return shortened(text[: 4 * SHOWN_TEXT], SHOWN_TEXT)


# -- labels ----------------------------------------------------------------------------------


def _balance(
    control: ControlTag | None, counts: Mapping[str, Sequence[tuple[Any, int]]]
) -> list[tuple[str, int]]:
    """Count labels by name, those of the config first; numbers in bins of equal width."""
    if control is None:
        return []
    counted = counts.get(control.from_name, ())
    if control.problem_type == "regression":
        return _bins([(label, count) for label, count in counted if isinstance(label, int | float)])
    given: Counter[str] = Counter()
    for label, count in counted:
        for name in label if isinstance(label, list) else [label]:
            given[str(name)] += count
    offered = [(name, given.pop(name, 0)) for name in control.labels]
    return sorted([*offered, *given.items()], key=lambda pair: -pair[1])[:SHOWN_BARS]


def _bins(counted: Sequence[tuple[float, int]]) -> list[tuple[str, int]]:
    values = sorted({value for value, _ in counted})
    if len(values) <= BINS:
        found = dict(counted)
        return [(f"{value:g}", found[value]) for value in values]
    low, width = values[0], (values[-1] - values[0]) / BINS
    bins = [0] * BINS
    for value, count in counted:
        bins[min(int((value - low) / width), BINS - 1)] += count
    return [
        (f"{low + at * width:.3g} to {low + (at + 1) * width:.3g}", count)
        for at, count in enumerate(bins)
    ]
