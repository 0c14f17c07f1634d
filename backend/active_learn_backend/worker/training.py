"""The training of a project's own model: when it is due, and what becomes of its result."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from active_learn.errors import ActiveLearnError

from ..errors import EngineError, WorkerStoppingError
from ..learning.training.data import trained_control, trained_task
from ..learning.training.run import TrainingRun, training_command
from ..learning.user_models import load_own_model
from ..learning.user_models.model_files import digest_of_model, find_model
from ..project_settings import project_settings
from ..state.model_versions import (
    ModelVersion,
    add_version,
    prune_versions,
    remove_version,
    served_settings,
    with_version,
)
from ..state.rounds import last_round
from ..state.store import Project
from ..state.training_status import read_training
from .model_update import candidate_of
from .work import Work

__all__ = ["train", "training_is_due"]

log = logging.getLogger(__name__)


def training_is_due(work: Work, project: Project) -> bool:
    """Return whether a training has to run: an interrupted one, or one on enough new labels."""
    try:
        settings = project_settings(work.settings, project.params)
        if training_command(settings) is None:
            return False
        task = trained_task(project.label_config, settings)
        control = trained_control(task)
    except ActiveLearnError:
        return False  # said where the project itself is checked
    report = last_round(work.store, project.id)
    if report is None:
        return False
    former = read_training(work.settings, project.id)
    if former is not None and former.state in ("running", "interrupted"):
        return True  # nobody runs it: this worker would know, and another one holds the lock
    found = report.of(control.from_name)
    known = former.labels if former is not None else 0
    return found.labeled - found.audit - known >= settings.train_every


def train(work: Work, project: Project) -> None:
    """Train a model, and compare it with what serves; `ModelUpdates` sees to what follows."""
    settings = served_settings(work.settings, project)
    task = trained_task(project.label_config, settings)
    control = trained_control(task)
    run = TrainingRun(
        settings, work.store, project, task, control, work.load, work.stopping, work.engine
    )
    version: ModelVersion | None = None
    try:
        version = _add(work, project, run, run.run())
        version = candidate_of(work, project).compared(version, control)
    except (WorkerStoppingError, EngineError):
        raise  # it is taken up
    except (ActiveLearnError, OSError) as error:
        reason = str(error) if isinstance(error, ActiveLearnError) else _of_the_disk(error)
        log.warning("the training gave no model, the former one serves: %s", reason)
        if version is not None:
            remove_version(work.settings, project.id, version)
        run.record_end(reason=reason)
        return
    run.record_end(reason=version.reason, version=version.number)
    now = work.store.known_project(project.id)
    prune_versions(work.settings, project.id, {now.served_model, now.next_model})
    log.info("the training made %s: %s", version.name, version.reason or "it may serve")


def _add(work: Work, project: Project, run: TrainingRun, output: Path) -> ModelVersion:
    """Return what a training made as a version that loads and fits the labeling config.

    Raises
    ------
    SettingsError, ModelError
        When it does not.
    """
    assert run.status is not None
    path = find_model(output)
    new = ModelVersion(
        0,
        "training",
        run.status.command,
        "" if path == output else path.name,
        digest_of_model(path),
        time.time(),
        labels=run.status.labels,
        reason="it is being checked",
    )
    version = add_version(work.settings, project.id, new, lambda folder: _move(output, folder))
    settings = with_version(run.settings, project.id, version.number)
    try:
        load_own_model(settings, run.task, work.load)
    except BaseException:
        remove_version(work.settings, project.id, version)
        raise
    return version


def _of_the_disk(error: OSError) -> str:
    where = f" at {error.filename}" if error.filename else ""
    return f"its files cannot be read or written: {error.strerror or error}{where}"


def _move(output: Path, folder: Path) -> None:
    output.rename(folder)
