"""Errors of the plugin, on the library's one exception tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from active_learn.errors import ActiveLearnError

__all__ = [
    "BadRequestError",
    "ConnectionRefusedByLabelStudioError",
    "ContentError",
    "EngineError",
    "ForbiddenError",
    "LabelConfigError",
    "LabelStudioError",
    "LabelStudioUnreachableError",
    "LeaseLostError",
    "MissingTokenError",
    "NotLabelStudioError",
    "ProjectMissingError",
    "SettingsError",
    "StoreError",
    "TooManyRequestsError",
    "TrainingError",
    "UnauthorizedError",
    "UnsupportedMediaTypeError",
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

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), ()


class BadRequestError(ActiveLearnError):
    """A request to the backend is refused; answered with this one line.

    Attributes
    ----------
    status : int
        HTTP status of the answer.
    """

    status = 400


class UnauthorizedError(BadRequestError):
    """A request bears no password or secret of ours, or a wrong one."""

    status = 401


class ForbiddenError(BadRequestError):
    """A request comes from another web page, or was sent to a name that is not ours."""

    status = 403


class UnsupportedMediaTypeError(BadRequestError):
    """The body of a request is not declared as JSON."""

    status = 415


class TooManyRequestsError(BadRequestError):
    """More projects wait to be connected than are kept."""

    status = 429


class LabelConfigError(ActiveLearnError):
    """The labeling config has no task that can be learned; the message names the remedy."""


class ContentError(ActiveLearnError):
    """The content of one task (text, image) cannot be loaded; the other tasks go on.

    Attributes
    ----------
    cause : str
        The message without what is special to this task, such as its file's name.
    source : str
        Host that did not send it; empty where it is not a host's fault.
    """

    def __init__(self, message: str, *, cause: str = "", source: str = "") -> None:
        super().__init__(message)
        self.cause, self.source = cause or message, source

    @property
    def parts(self) -> tuple[str, str, str]:
        """Message, cause and source, to make it anew in another process."""
        return str(self), self.cause, self.source

    @classmethod
    def of(cls, parts: Sequence[str]) -> ContentError:
        """Return the error with those parts."""
        message, cause, source = parts
        return cls(message, cause=cause, source=source)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).of, (self.parts,)


class TrainingError(ActiveLearnError):
    """A training gave no model that may serve; the former one serves on."""


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
