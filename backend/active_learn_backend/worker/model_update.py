"""Makes another version of a project's own model ready, while the former one serves.

A new file of MODEL is copied, loaded and checked, and all tasks are embedded by it; then the next
round takes it. So does a model that was trained. What cannot be used is said in one line.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from active_learn.errors import DataError, ModelError

from ..errors import SettingsError
from ..labeling.config import LabelingTask
from ..learning.encoders.names import is_factory
from ..learning.quality.learning_curve import LEAST_AUDITED
from ..learning.selection.project_params import learned_task
from ..learning.training.candidates import Candidate
from ..learning.training.data import trained_control
from ..learning.user_models import load_model_of_project
from ..learning.user_models.loading import find_model_path, model_signature
from ..project_settings import project_settings
from ..settings import Settings
from ..state.model_versions import (
    ModelVersion,
    RefusedModel,
    add_version,
    marked_served,
    prune_versions,
    read_refusal,
    read_version,
    read_versions,
    record_refusal,
    record_version,
    remove_version,
    served_settings,
    with_version,
)
from ..state.rounds import last_round
from ..state.store import Project, Store
from .work import Work

__all__ = ["ModelUpdates", "candidate_of", "record_served", "with_usable_model"]

log = logging.getLogger(__name__)


@dataclass
class ModelUpdates:
    """Sees to the models of all projects of a worker.

    Attributes
    ----------
    seen : dict
        By project, the files that MODEL named at the last look; while they change, they are left
        alone.
    examined : dict
        By project, the files that were last examined.
    compared_on : dict
        By project, the audit labels at the last comparison.
    """

    work: Work
    seen: dict[int, Any] = field(default_factory=dict)
    examined: dict[int, Any] = field(default_factory=dict)
    compared_on: dict[int, int] = field(default_factory=dict)

    def due(self, project: Project) -> Callable[[Project], None] | None:
        """Return what has to be done for a project; None for nothing. It only looks."""
        try:
            settings = project_settings(self.work.settings, project.params)
        except SettingsError:
            return None  # said where the project itself is checked
        if self._file_changed(settings, project):
            return self._examine
        versions = read_versions(self.work.settings, project.id)
        # What MODEL names now may be another one, so it is looked at first.
        looked = not settings.model or project.id in self.examined
        if looked and _last_served(versions, settings, project) is not None:
            return self._restore
        # A person who went back to a head keeps it.
        if not project.pinned_round and any(_is_waiting(one, project) for one in versions):
            return self._make_ready
        if versions and versions[0].undecided and self._is_comparable(project):
            return self._compare
        return None

    # -- a new file of MODEL ------------------------------------------------------------------

    def _file_changed(self, settings: Settings, project: Project) -> bool:
        """Return whether MODEL names other files than those examined, which do not change now."""
        if not settings.model:
            return False
        if last_round(self.work.store, project.id) is None:
            return False  # the first round loads what MODEL names, or says why it cannot
        # Whether it fits is up to the labeling config.
        files = (_signature(settings), project.label_config)
        former, self.seen[project.id] = self.seen.get(project.id), files
        return files == former and files != self.examined.get(project.id)

    def _examine(self, project: Project) -> None:
        """Copy and check what MODEL names, unless that is the newest version or was refused."""
        settings = project_settings(self.work.settings, project.params)
        task = learned_task(project.label_config, settings)
        files = self.seen[project.id]
        try:
            version = self._copy(settings, project, task)
        except (SettingsError, ModelError) as error:
            self._refuse(project, str(error))
        except FileNotFoundError as error:
            self._refuse(project, f"it lacks {error.filename}")
        except OSError as error:  # perhaps of the disk: it is tried again
            self._refuse(project, f"it cannot be copied: {error.strerror or error}")
            raise
        else:
            if version is not None and _in_use(version, settings, project):
                self._adopt(project, version)
        self.examined[project.id] = files

    def _copy(
        self, settings: Settings, project: Project, task: LabelingTask
    ) -> ModelVersion | None:
        """Return a new version, a copy of what MODEL names; None where it is none."""
        new, fill = self._named(settings, task)
        copies = [one for one in self._versions(project) if one.origin == "MODEL"]
        if copies and copies[0].digest == new.digest:
            record_refusal(settings, project.id, None)
            return None
        log.info("MODEL names another model than before; it is loaded and checked")
        version = add_version(settings, project.id, new, fill)
        try:
            chosen = with_version(settings, project.id, version.number)
            load_model_of_project(chosen, task, self.work.load)
        except (SettingsError, ModelError) as error:
            remove_version(settings, project.id, version)
            self._refuse(project, str(error))
            return None
        record_refusal(settings, project.id, None)
        return version

    def _named(
        self, settings: Settings, task: LabelingTask
    ) -> tuple[ModelVersion, Callable[[Path], None]]:
        """Return what MODEL names as a version without a number, and what copies it."""
        from ..learning.user_models.factory import pinned
        from ..learning.user_models.model_files import copy_model, digest_of_model

        made = ModelVersion(0, "MODEL", settings.model, "", "", time.time())
        if is_factory(settings.model):
            factory = pinned(settings.model)
            own = settings.model_copy(update={"model": factory})
            digest = load_model_of_project(own, task, self.work.load).digest
            return replace(made, factory=factory, digest=digest), Path.mkdir
        path = find_model_path(settings)
        digest = digest_of_model(path)

        def fill(folder: Path) -> None:
            if digest_of_model(copy_model(path, folder)) != digest:
                raise SettingsError("it is being written; it is looked at again")

        return replace(made, file="" if path.is_dir() else path.name, digest=digest), fill

    def _refuse(self, project: Project, reason: str) -> None:
        former = read_refusal(self.work.settings, project.id)
        if former is not None and former.reason == reason:
            return
        log.warning("the model that MODEL names now is not used, the former one serves: %s", reason)
        record_refusal(self.work.settings, project.id, RefusedModel(reason, time.time()))

    def _adopt(self, project: Project, version: ModelVersion) -> None:
        """Record that a copy of what serves already is that version: nothing changes by it."""
        self.work.store.update(project.id, served_model=version.number, next_model=version.number)
        record_version(self.work.settings, project.id, marked_served(version))

    def _restore(self, project: Project) -> None:
        """Let the version that served last serve again, where the project state knows of none.

        The state was lost, or a person went back to a head, and now to the latest.
        """
        settings = project_settings(self.work.settings, project.params)
        version = _last_served(self._versions(project), settings, project)
        if version is not None:
            log.info("%s served last, and serves again", version.name)
            self.work.store.update(project.id, next_model=version.number)
            self.work.store.mark_changed(project.id)

    # -- any version --------------------------------------------------------------------------

    def _make_ready(self, project: Project) -> None:
        """Embed all tasks by the newest version that waits, and let the next round take it."""
        version = next(one for one in self._versions(project) if _is_waiting(one, project))
        began = time.monotonic()
        try:
            self._candidate(project).embed(version, self.work.engine)
        except (SettingsError, ModelError, DataError) as error:
            record_version(
                self.work.settings, project.id, replace(version, reason=f"it fails: {error}")
            )
            raise
        self.work.store.update(project.id, next_model=version.number)
        self.work.store.mark_changed(project.id)
        log.info(
            "%s is ready after %.1f s; the next round takes it",
            version.name,
            time.monotonic() - began,
        )
        keep = {project.served_model, version.number}
        prune_versions(self.work.settings, project.id, keep)

    def _compare(self, project: Project) -> None:
        """Compare a model that waits for audit labels again, as there are more of them."""
        candidate = self._candidate(project)
        version = self._versions(project)[0]
        found = candidate.compared(version, trained_control(candidate.task))
        log.info("%s: %s", found.name, found.reason or "it may serve")

    def _candidate(self, project: Project) -> Candidate:
        return candidate_of(self.work, project)

    def _versions(self, project: Project) -> list[ModelVersion]:
        return read_versions(self.work.settings, project.id)

    def _is_comparable(self, project: Project) -> bool:
        """Return whether there are enough audit labels, and more than at the last comparison."""
        report = last_round(self.work.store, project.id)
        audit = 0 if report is None else report.audit
        if audit < LEAST_AUDITED or audit <= self.compared_on.get(project.id, 0):
            return False
        self.compared_on[project.id] = audit
        return True


def with_usable_model(
    settings: Settings, store: Store, project: Project, load: Callable[..., bytes]
) -> Project:
    """Return a project whose next model can be used; else the former one stays, with a reason."""
    if project.next_model == project.served_model:
        return project
    own = project_settings(settings, project.params)
    try:
        task = learned_task(project.label_config, own)
        chosen = with_version(own, project.id, project.next_model)
        if chosen.model:
            load_model_of_project(chosen, task, load)
        return project
    except (SettingsError, ModelError) as error:
        version = read_version(settings, project.id, project.next_model)
        log.warning("%s is not used, the former model serves: %s", _name(version), error)
        if version is not None:
            record_version(settings, project.id, replace(version, reason=f"it fails: {error}"))
        store.update(project.id, next_model=project.served_model)
        return store.known_project(project.id)


def record_served(settings: Settings, project: Project) -> None:
    """Record that the next model of a project serves, after the round that took it."""
    if project.next_model != project.served_model:
        version = read_version(settings, project.id, project.next_model)
        if version is not None:
            record_version(settings, project.id, marked_served(version))
        log.info("%s serves from now on", _name(version))


def _name(version: ModelVersion | None) -> str:
    return "what MODEL names" if version is None else version.name


def candidate_of(work: Work, project: Project) -> Candidate:
    """Return what compares and embeds versions of a project's model."""
    settings = served_settings(work.settings, project)
    return Candidate(
        settings,
        project_settings(work.settings, project.params),
        work.store,
        project,
        learned_task(project.label_config, settings),
        work.load,
        work.stopping,
    )


def _is_waiting(version: ModelVersion, project: Project) -> bool:
    """Return whether a version may serve, and is newer than all that served."""
    return version.number > project.next_model and not version.served_at and not version.reason


def _last_served(
    versions: Sequence[ModelVersion], settings: Settings, project: Project
) -> ModelVersion | None:
    """Return the version that served last, if none serves now and no person wants it so."""
    if project.served_model or project.next_model or project.pinned_round:
        return None
    served = [one for one in versions if one.served_at]
    last = max(served, key=lambda one: one.served_at, default=None)
    if last is None or (last.origin == "MODEL" and not settings.model):
        return None
    return last


def _in_use(version: ModelVersion, settings: Settings, project: Project) -> bool:
    """Return whether the rounds use just that already, read from where MODEL lies."""
    if project.served_model or project.next_model:
        return False
    if settings.model_use == "as-is":
        return project.model_version.split("+")[0] == version.name
    from ..state.folders import embeddings_folder

    caches = embeddings_folder(settings, project.id)
    return any(caches.glob(f"*model-{version.digest}-encoder*"))


def _signature(settings: Settings) -> Any:
    try:
        if is_factory(settings.model):
            from ..learning.user_models.factory import pinned

            return pinned(settings.model)
        return model_signature(find_model_path(settings))
    except (SettingsError, OSError) as error:
        return str(error)
