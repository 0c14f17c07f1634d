"""What is known of the last training of a project's own model; its worker writes it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ..settings import Settings
from .folders import training_folder
from .json_files import read_record, write_record

__all__ = ["TrainingStatus", "output_file", "read_output", "read_training", "record_training"]

STATUS = "status.json"
OUTPUT = "output.log"


@dataclass(frozen=True)
class TrainingStatus:
    """The last training.

    Attributes
    ----------
    state : {'running', 'interrupted', 'failed', 'done'}
        'interrupted': its worker ended, and the next one takes it up.
    command : str
        The setting that it comes from, such as ``TRAIN_COMMAND``.
    labels, audit : int
        Training labels that it was given, and audit labels that it was not.
    fingerprint : str
        Of its data, see `TrainingData`.
    begun_at, ended_at : float
        Seconds since 1970; 0: not ended.
    progress : float or None
        Share that is done, where the command tells it.
    version : int
        The version of the model that it made; 0: none.
    reason : str
        Why it gave no model, or why its model does not serve; empty otherwise.
    tries : int
        How often it was begun, with the same data.
    """

    state: str
    command: str
    labels: int
    audit: int
    fingerprint: str
    begun_at: float
    ended_at: float = 0.0
    progress: float | None = None
    version: int = 0
    reason: str = ""
    tries: int = 1

    @property
    def seconds_left(self) -> float | None:
        """Seconds that it still takes, where that can be told."""
        if self.state != "running" or not self.progress:
            return None
        return (time.time() - self.begun_at) * (1 - self.progress) / self.progress


def output_file(settings: Settings, project_id: int) -> Path:
    """Return the file that holds the end of what the last training wrote."""
    return training_folder(settings, project_id) / OUTPUT


def read_output(settings: Settings, project_id: int) -> str:
    """Return the end of what the last training wrote; empty before the first."""
    try:
        return output_file(settings, project_id).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_training(settings: Settings, project_id: int) -> TrainingStatus | None:
    """Return the last training of a project; None before the first."""
    return read_record(training_folder(settings, project_id) / STATUS, TrainingStatus)


def record_training(settings: Settings, project_id: int, status: TrainingStatus) -> None:
    """Record how a training stands.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    write_record(training_folder(settings, project_id) / STATUS, status)
