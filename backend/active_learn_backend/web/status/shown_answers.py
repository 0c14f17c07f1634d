"""What the heads would answer for the next tasks: likely labels, and proposed regions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from active_learn.errors import ActiveLearnError
from active_learn.heads import PartTagger, SavedHead, TrainedHead, TrainedTagger, head_name

from ...labeling.config import LabelingTask
from ...learning.heads import stored_heads
from ...learning.quality.region_proposals import Proposal, propose
from ...learning.quality.top_labels import TopLabel, top_labels
from ...learning.user_models import OwnRegionHead, read_own_head
from ...logs import context
from ...settings import Settings
from ...state.folders import heads_folder, project_folder
from ...state.status_queries import NextTask
from ...state.store import Project

__all__ = ["SHOWN_TEXT", "ShownAnswers", "shown_answers"]

log = logging.getLogger(__name__)

Found = TypeVar("Found")

SHOWN_TEXT = 280  # characters


@dataclass(frozen=True)
class ShownAnswers:
    """Answers by the digest of what the encoder reads of a task."""

    likeliest: Mapping[str, tuple[TopLabel, ...]]
    proposals: Mapping[str, tuple[Proposal, ...]]

    def of(self, key: str) -> tuple[tuple[TopLabel, ...], tuple[Proposal, ...]]:
        """Return the likeliest labels and the proposals of a task."""
        return self.likeliest.get(key, ()), self.proposals.get(key, ())


def shown_answers(
    settings: Settings, project: Project, task: LabelingTask, found: Sequence[NextTask]
) -> ShownAnswers:
    """Return what is shown of the answers for some tasks; of audit tasks nothing."""
    heads = _stored_heads(settings, project, task)
    shown = [one for one in found if not one.row.audit]  # of the others nothing influences people
    return ShownAnswers(
        _answers(project, lambda: _top_labels(settings, project, heads, shown)),
        _answers(project, lambda: _proposals(settings, project, task, heads, shown)),
    )


def _stored_heads(
    settings: Settings, project: Project, task: LabelingTask
) -> Mapping[str, SavedHead]:
    # While the team's own model answers alone, the last head that was trained does not.
    if not project.head_round or not _answers_now(project):
        return {}
    folder = heads_folder(settings, project.id)
    return _answers(project, lambda: stored_heads(folder, project.head_round, task))


def _answers_now(project: Project) -> bool:
    """Return whether the heads of the last round that trained some answer."""
    own = project.model_version
    return not own or head_name(project.head_round) in own.split("+")


def _answers(project: Project, read: Callable[[], Mapping[str, Found]]) -> Mapping[str, Found]:
    """Return what is read, unless a head or an embedding is unreadable."""
    try:
        return read()
    except (ActiveLearnError, OSError) as error:
        with context(project=project.id):
            log.warning("the page shows no likely labels: %s", error)
        return {}


def _top_labels(
    settings: Settings,
    project: Project,
    heads: Mapping[str, SavedHead],
    shown: Sequence[NextTask],
) -> dict[str, tuple[TopLabel, ...]]:
    """Return the likeliest labels of each task."""
    folder, keys = project_folder(settings, project.id), [one.content_key for one in shown]
    likeliest: dict[str, tuple[TopLabel, ...]] = {}
    for name, head in heads.items():
        if isinstance(head, TrainedHead):
            for key, labels in top_labels(folder, head, keys, name).items():
                likeliest[key] = (*likeliest.get(key, ()), *labels)
    return likeliest


def _proposals(
    settings: Settings,
    project: Project,
    task: LabelingTask,
    heads: Mapping[str, SavedHead],
    shown: Sequence[NextTask],
) -> dict[str, tuple[Proposal, ...]]:
    """Return the regions that are proposed for each task."""
    folder = project_folder(settings, project.id)
    contents = {one.content_key: one.content for one in shown}
    own = _own_head(settings, project)
    proposals: dict[str, tuple[Proposal, ...]] = {}
    for control in task.regions:
        head: PartTagger
        trained = heads.get(control.from_name)
        if own is not None and own.of.control == control.from_name:
            head, encoder = own, own.of.encoder
        elif isinstance(trained, TrainedTagger):
            head, encoder = trained, trained.metadata.config.encoder
        else:
            continue
        if head.labels_offered != control.labels:
            continue  # of an earlier config: the next round makes another one
        field = next(one for one in task.fields if one.name == control.fields[0])
        found = propose(folder, head, encoder, control, field, contents, SHOWN_TEXT)
        for key, one in found.items():
            proposals[key] = (*proposals.get(key, ()), one)
    return proposals


def _own_head(settings: Settings, project: Project) -> OwnRegionHead | None:
    """Return what reads the answers of an own model that finds regions, while it serves."""
    if not project.model_version:
        return None
    own = read_own_head(heads_folder(settings, project.id))
    return own if own and own.version in project.model_version.split("+") else None
