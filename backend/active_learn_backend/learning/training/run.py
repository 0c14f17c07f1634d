"""One run of a training: writes the data, runs the command, and returns the model it wrote."""

from __future__ import annotations

import logging
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...errors import EngineError, TrainingError, WorkerStoppingError
from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag
from ...settings import Settings
from ...state.folders import DISK_LOW, make_private_folder, training_folder
from ...state.store import Project, Store
from ...state.training_status import (
    TrainingStatus,
    output_file,
    read_training,
    record_training,
)
from ..encoders.configured import find_encoder
from ..encoders.names import find_path, split_encoders
from ..engines.base import Engine
from ..engines.command import Output, training_environment
from .data import TASKS, labeled_tasks, write_training_data

__all__ = ["MOST_TRIES", "TrainingRun", "training_command"]

log = logging.getLogger(__name__)

MOST_TRIES = 3  # of one training, whose worker ended each time: perhaps because of it
REPORT_EVERY = 1.0  # seconds between two reports of the progress
DATA, OUTPUT, CHECKPOINTS = "data", "model", "checkpoints"


def training_command(settings: Settings) -> tuple[str, str | Sequence[str]] | None:
    """Return the setting that a training comes from, and its command; None where nothing trains."""
    if settings.train_command:
        return "TRAIN_COMMAND", settings.train_command
    if settings.train != "off":
        options = {
            "method": settings.train,
            "class-weight": settings.class_weight,
            "device": settings.device,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return "TRAIN", [sys.executable, "-m", "active_learn_backend.finetuning", *given]
    return None


@dataclass
class TrainingRun:
    """One run of a training.

    Attributes
    ----------
    settings : Settings
        The project's own, with the version of the model that serves.
    control : ControlTag
        The one that the model is trained for.
    load : callable
        Gives the bytes of a file, from its address in a task; raises ContentError.
    stopping : threading.Event
        Set when the worker has to stop.
    engine : Engine
        Where the training runs.
    """

    settings: Settings
    store: Store
    project: Project
    task: LabelingTask
    control: ControlTag
    load: Callable[..., bytes]
    stopping: threading.Event
    engine: Engine
    status: TrainingStatus | None = None
    _reported_at: float = field(default=0.0, init=False)

    @property
    def folder(self) -> Path:
        """The folder of the project's training: absolute, as the command runs elsewhere."""
        return training_folder(self.settings, self.project.id).resolve()

    def run(self) -> Path:
        """Train, and return the folder that the command wrote its model into.

        Raises
        ------
        TrainingError
            When the command fails, or cannot be run; `record_end` records it.
        WorkerStoppingError, EngineError
            When the worker stops, or the cluster goes away; the training is taken up.
        OSError
            When the disk is full.
        """
        found = training_command(self.settings)
        assert found is not None
        source, command = found
        self._begin(source)
        assert self.status is not None
        output, checkpoint = self._empty_folders(self.status.fingerprint)
        environment = training_environment(
            {
                "TRAIN_PROJECT": str(self.project.id),
                "TRAIN_DATA": str(self.folder / DATA),
                "TRAIN_OUTPUT": str(output),
                "TRAIN_FROM": _starts_from(self.settings, self.task),
                "TRAIN_CHECKPOINT": str(checkpoint),
            },
        )
        log.info("%s trains on %d labels", source, self.status.labels)
        lines = Output(output_file(self.settings, self.project.id), self._report)
        try:
            self.engine.train(
                command,
                environment,
                lines,
                self.settings.train_timeout,
                self.stopping,
                folder=self.folder,
            )
        except (WorkerStoppingError, EngineError):
            self._record(state="interrupted")
            raise
        shutil.rmtree(checkpoint, ignore_errors=True)
        return output

    def record_end(self, *, reason: str = "", version: int = 0) -> None:
        """Record how the training ended: with a reason why it gave no model that serves, or not."""
        if self.status is None:
            now = time.time()
            self.status = TrainingStatus("failed", "", 0, 0, "", now)
        shutil.rmtree(self.folder / OUTPUT, ignore_errors=True)
        state = "done" if version else "failed"
        self._record(state=state, reason=reason, version=version, ended_at=time.time())

    def _begin(self, source: str) -> None:
        """Write the data, or take up those of a run that was interrupted."""
        former = read_training(self.settings, self.project.id)
        taken_up = (
            former is not None
            and former.state in ("running", "interrupted")
            and former.command == source
            and (self.folder / DATA / TASKS).is_file()
        )
        if former is not None and taken_up:
            now = time.time()
            self.status = replace(former, tries=former.tries + 1, begun_at=now, progress=None)
            if former.tries >= MOST_TRIES:
                raise TrainingError(
                    f"it was interrupted {MOST_TRIES} times, perhaps because of it; it "
                    "is run again with new labels"
                )
            log.info("a training that was interrupted is taken up")
            self._record(state="running", ended_at=0.0)
            return
        snapshot = labeled_tasks(self.store, self.project, self.settings, self.control)
        n_train, n_audit = len(snapshot.training), len(snapshot.measuring)
        self.status = TrainingStatus("failed", source, n_train, n_audit, "", time.time())
        if shutil.disk_usage(self.settings.model_dir).free < DISK_LOW:
            raise TrainingError(
                f"the disk of MODEL_DIR has less than {DISK_LOW / 2**20:.0f} MiB left; free some "
                "space"
            )
        data = write_training_data(
            self.folder / DATA,
            snapshot,
            self.task,
            self.control,
            self.store,
            self.load,
            self._check,
        )
        if data.unreadable:
            log.warning("%d labeled tasks cannot be read and train nothing", data.unreadable)
        self._record(state="running", fingerprint=data.fingerprint)

    def _check(self) -> None:
        if self.stopping.is_set():
            raise WorkerStoppingError

    def _empty_folders(self, fingerprint: str) -> tuple[Path, Path]:
        """Return an empty folder for the model, and the one for checkpoints of these data."""
        output, checkpoints = self.folder / OUTPUT, self.folder / CHECKPOINTS
        shutil.rmtree(output, ignore_errors=True)
        make_private_folder(output)
        make_private_folder(checkpoints / fingerprint)
        for other in checkpoints.iterdir():
            if other.name != fingerprint:
                shutil.rmtree(other, ignore_errors=True)
        return output, checkpoints / fingerprint

    def _report(self, share: float) -> None:
        """Record the progress, unless that was just done."""
        if time.monotonic() >= self._reported_at + REPORT_EVERY:
            self._reported_at = time.monotonic()
            self._record(progress=share)

    def _record(self, **values: object) -> None:
        assert self.status is not None
        self.status = replace(self.status, **values)  # type: ignore[arg-type]
        record_training(self.settings, self.project.id, self.status)


def _starts_from(settings: Settings, task: LabelingTask) -> str:
    """Return what MODEL or ENCODER names: a path where it is on this machine; empty: nothing."""
    if settings.model:
        path = find_path(settings.model, settings)
        return str(path.resolve()) if path else settings.model.partition("@")[0]
    kinds = {one.kind for one in task.fields}
    for name in split_encoders(settings.encoder):
        found = find_encoder(name, settings)
        if found is None:
            return name
        if found[1] in kinds:
            return str(found[0].resolve())
    return ""
