"""What the status page shows of a project, read from the store and the heads. No web here."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from ...errors import LabelConfigError, SettingsError
from ...labeling.config import LabelingTask
from ...learning.quality.automation import automation_history, expected_automation
from ...learning.quality.head_versions import Version, kept_versions
from ...learning.quality.learning_curve import Point, latest_points
from ...learning.quality.region_proposals import Proposal
from ...learning.quality.replayed_curves import ReplayedCurves, read_replayed_curves
from ...learning.quality.top_labels import TopLabel
from ...learning.selection.project_params import learned_task
from ...project_settings import project_settings
from ...settings import Settings
from ...state.queue import count_open
from ...state.round_report import Automation
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
from ...state.task_cost import TaskCost
from ...state.task_groups import describe_groups
from ...state.unreadable import describe_unreadable, unreadable_tasks
from ...wording import shortened
from .activity import Activity, activity_of
from .condition import condition_of
from .controls import ControlStatus, control_status
from .model import ModelStatus, model_status
from .shown_answers import SHOWN_TEXT, shown_answers

__all__ = ["ProjectStatus", "QueuedTask", "Summary", "project_status", "summarize"]

log = logging.getLogger(__name__)

SHOWN_TASKS = 12
SHOWN_PLANS = 60
SHOWN_ACCURACIES = (0.95, 0.98)  # what more labels would buy


@dataclass(frozen=True)
class Summary:
    """A project in a list of projects.

    Attributes
    ----------
    state, color, sentence, command, resumable
        Its `Condition`.
    reason : str
        Why it is paused or not connected, as the store holds it.
    quality : list of Point
        The latest measurement of each control.
    """

    id: int
    title: str
    state: str
    color: str
    sentence: str
    command: str
    resumable: bool
    reason: str
    mode: str
    now: Activity
    counts: TaskCounts
    quality: list[Point]
    last_error: str


@dataclass(frozen=True)
class QueuedTask:
    """A task that is served soon, and why.

    Attributes
    ----------
    audit : bool
        Drawn by chance, to measure; then `top_labels` is empty, so that nothing influences people.
    top_labels : tuple of TopLabel
        The likeliest answers of each control, between which its label decides.
    proposals : tuple of Proposal
        The regions that are proposed, and why the task is worth labeling; empty of audit tasks.
    texts : mapping
        The beginning of each other text of the task, by field.
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
    proposals: tuple[Proposal, ...]
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
    batch_done, batch : int
        Labeled tasks of the published batch, and all of it.
    controls : list of ControlStatus
        What is known of each control, in the order of the config.
    automation : list of Automation
        How many unlabeled tasks the heads could label, as the rounds planned it, oldest first.
    more_labels : list of str
        What more labels would buy there, in words.
    random : ReplayedCurves or None
        The curves of the last backtest.
    cost : TaskCost or None
        How long people take for a task; None while that is not known.
    own_model : str
        Version of the team's own model, if that answers; else empty.
    model : ModelStatus or None
        The versions and the training of the team's own model; None without any.
    """

    summary: Summary
    ordering: str
    unmatched: str
    learned: bool
    batch_done: int
    batch: int
    queue: list[QueuedTask]
    controls: list[ControlStatus]
    versions: list[Version]
    automation: list[Automation]
    more_labels: list[str]
    random: ReplayedCurves | None
    cost: TaskCost | None
    own_model: str
    model: ModelStatus | None
    errors: list[str]


def summarize(settings: Settings, store: Store, project: Project) -> Summary:
    """Return the most important facts about a project."""
    quality = latest_points(last_round(store, project.id))
    return _summary(settings, store, project, quality)


def project_status(
    settings: Settings, store: Store, project: Project, target: float | None = None
) -> ProjectStatus:
    """Return all that the page of a project shows.

    Parameters
    ----------
    target : float, optional
        See `control_status`.

    Raises
    ------
    StoreError
        When the project state cannot be read.
    """
    task, error = _task(settings, project)
    errors = [one for one in (project.last_error, error) if one]
    unreadable = unreadable_tasks(store, project.id)
    if unreadable:
        errors.append(describe_unreadable(unreadable, count_tasks(store, project.id).total))
    reports = read_rounds(store, project.id)
    counts = count_labels(store, project.id)
    left, batch = count_open(store, project.id)
    automation = automation_history(reports)[-SHOWN_PLANS:]
    return ProjectStatus(
        summary=_summary(settings, store, project, latest_points(reports[-1] if reports else None)),
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
        controls=[
            control_status(control, reports, counts.get(control.from_name, ()), target)
            for control in (task.controls if task else ())
        ],
        versions=kept_versions(settings, project, reports),
        automation=automation,
        more_labels=[expected_automation(automation, one) for one in SHOWN_ACCURACIES],
        random=read_replayed_curves(settings, project.id),
        cost=reports[-1].cost if reports else None,
        own_model=project.model_version,
        model=model_status(settings, project),
        errors=list(dict.fromkeys(errors)),
    )


def _task(settings: Settings, project: Project) -> tuple[LabelingTask | None, str]:
    """Return what is learned, and why that cannot be told; each may be missing."""
    try:
        if project.label_config:
            own = project_settings(settings, project.params)
            return learned_task(project.label_config, own), ""
    except (LabelConfigError, SettingsError) as error:
        return None, str(error)
    return None, ""


def _summary(settings: Settings, store: Store, project: Project, quality: list[Point]) -> Summary:
    counts = count_tasks(store, project.id)
    unreadable = sum(one.n for one in unreadable_tasks(store, project.id))
    error = project.last_error or _task(settings, project)[1]
    condition = condition_of(project, error, counts, unreadable)
    return Summary(
        id=project.id,
        title=project.title,
        **vars(condition),
        reason=project.reason,
        mode=project.mode,
        now=activity_of(settings, store, project),
        counts=counts,
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
    answers = shown_answers(settings, project, task, found)
    return [_queued(task, one, *answers.of(one.content_key)) for one in found]


def _queued(
    task: LabelingTask,
    one: NextTask,
    likeliest: tuple[TopLabel, ...],
    proposals: tuple[Proposal, ...],
) -> QueuedTask:
    texts, image = {}, None
    for field in task.fields:
        value = one.content.get(field.name)
        if not isinstance(value, str) or not value:
            continue
        if field.image_address(value):
            image = image or field.name
        elif field.name not in {proposal.field for proposal in proposals}:
            texts[field.name] = _short(field.shown(value))
    row = one.row
    return QueuedTask(
        row.task_id,
        row.rank,
        row.in_batch,
        row.audit,
        row.uncertainty,
        row.novelty,
        likeliest,
        proposals,
        texts,
        image,
        one.content_key,
    )


def _short(text: str) -> str:
    return shortened(text[: 4 * SHOWN_TEXT], SHOWN_TEXT)
