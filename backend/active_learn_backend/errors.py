"""Errors of the plugin, on the library's one exception tree."""

from __future__ import annotations

from typing import Any

from active_learn.errors import ActiveLearnError

__all__ = [
    "BadRequestError",
    "ConnectionRefusedByLabelStudioError",
    "ContentError",
    "EngineError",
    "LabelConfigError",
    "LabelStudioError",
    "LabelStudioUnreachableError",
    "LeaseLostError",
    "MissingTokenError",
    "NotLabelStudioError",
    "ProjectMissingError",
    "SettingsError",
    "StoreError",
    "WorkerStoppingError",
]


class SettingsError(ActiveLearnError):
    """A setting is missing or has a value that cannot be used."""


class MissingTokenError(SettingsError):
    """There is no token for Label Studio."""

    WHAT = "no token for Label Studio"
    REMEDY = "set LABEL_STUDIO_API_KEY (Account & Settings, Access token)"

    def __init__(self) -> None:
        super().__init__(f"{self.WHAT}; {self.REMEDY}")


class StoreError(ActiveLearnError):
    """The project state cannot be read or written.

    Attributes
    ----------
    damaged : bool
        Trying again will not help.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


class LeaseLostError(ActiveLearnError):
    """Another worker has the project, or may have it: what was about to be written is dropped."""

    def __init__(self, project_id: int) -> None:
        super().__init__(
            f"the lease of project {project_id} is lost: another worker took it over, or it was "
            "not renewed in time; what this worker began is dropped, and nothing has to be done"
        )
        self.project_id = project_id

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.project_id,)


class WorkerStoppingError(ActiveLearnError):
    """The worker was told to stop in the middle of a project's work; the next start goes on."""

    def __init__(self) -> None:
        super().__init__("the worker stops; its next start goes on from here")


class BadRequestError(ActiveLearnError):
    """A request to the backend is malformed; answered with status 400 and this one line."""


class LabelConfigError(ActiveLearnError):
    """The labeling config has no task that can be learned; the message names the remedy."""


class ContentError(ActiveLearnError):
    """The content of one task (text, image) cannot be loaded; the other tasks go on."""


class EngineError(ActiveLearnError):
    """The cluster that embeds and ranks cannot do it now; the queue stays as it is."""


class LabelStudioError(ActiveLearnError):
    """Label Studio answered with an error.

    Attributes
    ----------
    status : int
        HTTP status of its answer.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.status)


class LabelStudioUnreachableError(ActiveLearnError):
    """Label Studio did not answer: down, wrong address, or too slow."""


class NotLabelStudioError(LabelStudioError):
    """Another server answers at the address of Label Studio."""


class ProjectMissingError(LabelStudioError):
    """Label Studio has no such project, or does not show it to the user of the token."""


class ConnectionRefusedByLabelStudioError(LabelStudioError):
    """Label Studio's address protection refuses our address."""
