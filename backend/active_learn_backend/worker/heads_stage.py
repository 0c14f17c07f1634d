"""The stage of a round that trains the heads, or takes those that a person went back to."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from active_learn.errors import StateError
from active_learn.heads import SavedHead, prune_heads, save_heads

from ..labeling.config import LabelingTask
from ..learning.embedding.embedder import TaskEmbedder
from ..learning.heads import ControlHeads, train_heads
from ..learning.quality.head_versions import KEEP_VERSIONS
from ..learning.selection.snapshot import Snapshot
from ..learning.user_models import OwnRegionHead, write_own_head
from ..settings import Settings
from ..state.folders import heads_folder
from ..state.store import Project, Store

__all__ = ["HeadsStage"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class HeadsStage:
    """Makes the heads of one round.

    Attributes
    ----------
    settings : Settings
        The project's own over those of the environment.
    """

    project: Project
    task: LabelingTask
    store: Store
    settings: Settings

    @property
    def folder(self) -> Path:
        """The folder of the project's trained heads."""
        return heads_folder(self.settings, self.project.id)

    def run(self, snapshot: Snapshot, embedder: TaskEmbedder, number: int) -> ControlHeads:
        """Return what answers from now on, and record it."""
        heads = self._heads(snapshot, embedder, number)
        own = heads.version if len(heads.trained) < len(heads.heads) else ""
        trained = {"head_round": heads.round} if heads.round or not own else {}
        for head in heads.heads.values():
            if isinstance(head, OwnRegionHead):  # for the status page, which loads no model
                write_own_head(self.folder, head)
        if self.requests_round:
            self.store.update(self.project.id, request_round=True)
        # Who goes back to other heads while a round runs is not overruled by what it trained.
        self.store.update_heads(
            self.project, model_version=own, served_model=self.project.next_model, **trained
        )
        if heads.round:
            pinned = self.store.known_project(self.project.id).pinned_round
            prune_heads(self.folder, KEEP_VERSIONS, also=[heads.round, pinned])
        return heads

    @property
    def requests_round(self) -> bool:
        """Whether another round has to follow if this one dies before its queue is served."""
        return self.project.next_model != self.project.served_model

    def _heads(self, snapshot: Snapshot, embedder: TaskEmbedder, number: int) -> ControlHeads:
        former = self.former(embedder)
        if self.project.pinned_round and former:
            return ControlHeads(self.task, {**former, **embedder.fixed_heads}, embedder)
        trained = train_heads(self.task, snapshot, former, self.settings, embedder, number)
        if trained:
            save_heads(self.folder, trained)
        return ControlHeads(self.task, {**trained, **embedder.fixed_heads}, embedder)

    def former(self, embedder: TaskEmbedder) -> Mapping[str, SavedHead]:
        """Load the last heads that fit, by the names of their controls.

        Pinned heads that cannot be read, or of which one does not fit, are pinned no more: what is
        trained in their place must not stay pinned.
        """
        if not self.project.head_round or len(embedder.fixed_heads) == len(self.task.controls):
            return {}
        try:
            heads, misfits = ControlHeads.load(
                self.folder, self.project.head_round, self.task, embedder
            )
        except StateError as error:
            log.warning("%s", error)
            if self.project.pinned_round:
                self.store.update(self.project.id, pinned_round=0)
            return {}
        if self.project.pinned_round and (misfits or not heads.trained):
            log.warning(
                "head-%d was trained under another config or encoder; a new head is trained",
                self.project.head_round,
            )
            self.store.update(self.project.id, pinned_round=0)
            return {}
        return heads.trained
