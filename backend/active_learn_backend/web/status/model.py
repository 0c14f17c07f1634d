"""What the status page shows of a project's own model: its versions and its training."""

from __future__ import annotations

from dataclasses import dataclass

from active_learn.errors import ActiveLearnError

from ...project_settings import project_settings
from ...settings import Settings
from ...state.model_versions import ModelVersion, read_refusal, read_versions
from ...state.store import Project
from ...state.training_status import TrainingStatus, read_output, read_training

__all__ = ["ModelStatus", "TrainingShown", "model_status"]

SHOWN_LINES = 40  # of the output of a training


@dataclass(frozen=True)
class TrainingShown:
    """The last training.

    Attributes
    ----------
    status : TrainingStatus
    seconds_left : float or None
    output : str
        The last lines that it wrote.
    """

    status: TrainingStatus
    seconds_left: float | None
    output: str


@dataclass(frozen=True)
class ModelStatus:
    """A project's own model.

    Attributes
    ----------
    served : int
        Number of the version that serves; 0: none.
    refused : str
        Why what MODEL names now does not serve; empty otherwise.
    """

    versions: list[ModelVersion]
    served: int
    refused: str
    training: TrainingShown | None


def model_status(settings: Settings, project: Project) -> ModelStatus | None:
    """Return what is known of a project's own model; None where it has none and trains none."""
    versions = read_versions(settings, project.id)
    status = read_training(settings, project.id)
    refused = read_refusal(settings, project.id) if _names_a_model(settings, project) else None
    if not versions and status is None and refused is None:
        return None
    training = None
    if status is not None:
        lines = read_output(settings, project.id).splitlines()[-SHOWN_LINES:]
        training = TrainingShown(status, status.seconds_left, "\n".join(lines))
    return ModelStatus(versions, project.served_model, refused.reason if refused else "", training)


def _names_a_model(settings: Settings, project: Project) -> bool:
    try:
        return bool(project_settings(settings, project.params).model)
    except ActiveLearnError:
        return False
