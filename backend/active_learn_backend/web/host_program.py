"""What the host of `ActiveLearningModel` does, and what it leaves to the class.

Our own web process refuses foreign requests itself and words the refusals of the class.
label-studio-ml 2.x does neither: it calls ``setup()`` in every request, takes any request, and
answers each exception with status 500, but for its own `AnswerException`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from active_learn.errors import ParameterError
from flask import Response, has_request_context, request
from label_studio_ml.exceptions import AnswerException
from werkzeug.exceptions import HTTPException

from ..errors import BadRequestError, LabelConfigError, SettingsError, UnauthorizedError
from ..settings import Settings
from .access import bears_basic_auth, bears_secret, refuse_foreign
from .project_secrets import ProjectSecrets
from .reason_phrases import reason_phrase, status_line

__all__ = ["ForeignHost", "OurHost"]

REFUSALS = (BadRequestError, LabelConfigError, ParameterError, SettingsError)


class OurHost:
    """Our own web process, and a program that uses the class without a server."""

    #: What stands for no project.
    no_project: tuple[str | None, ...] = (None,)

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """Let refusals within the block reach the client in words."""
        yield

    def refuse_foreign(self, settings: Settings) -> None:
        """Refuse a request that is not Label Studio's."""

    def require_secret(self, settings: Settings, secrets: ProjectSecrets, project_id: int) -> None:
        """Refuse an event that bears no credentials."""

    def is_setup(self) -> bool:
        """Check whether Label Studio sets a project up in this request."""
        return False

    def extra_params(self) -> Any:
        """Return the extra params of a setup."""
        return None


class ForeignHost(OurHost):
    """The server of label-studio-ml 2.x."""

    no_project = (None, "", "None")  # it writes a request without a project as text

    @contextmanager
    def refusals(self) -> Iterator[None]:
        try:
            yield
        except REFUSALS as error:
            if not has_request_context():
                raise
            refusal = error if isinstance(error, BadRequestError) else BadRequestError(str(error))
            raise _answer(refusal) from error

    def refuse_foreign(self, settings: Settings) -> None:
        if not has_request_context():
            return
        refuse_foreign(settings)
        # The server knows no password that stands in a file.
        if settings.basic_auth_user and not (_is_webhook() or bears_basic_auth(settings)):
            raise UnauthorizedError("wrong or missing credentials; use the backend's Basic auth")

    def require_secret(self, settings: Settings, secrets: ProjectSecrets, project_id: int) -> None:
        if not has_request_context():
            return
        if settings.basic_auth_user and bears_basic_auth(settings):
            return
        with self.refusals():
            if not bears_secret(secrets, project_id):
                raise UnauthorizedError("the event does not bear the secret of its project")

    def is_setup(self) -> bool:
        return has_request_context() and request.path.rstrip("/").endswith("/setup")

    def extra_params(self) -> Any:
        return (request.get_json(silent=True) or {}).get("extra_params")


def _is_webhook() -> bool:
    return request.path.rstrip("/").endswith("/webhook")


def _answer(refusal: BadRequestError) -> Exception:
    """Return the exception that the server answers with a refusal's status and reason phrase."""
    if _is_webhook():  # it handles no AnswerException there
        response = Response(reason_phrase(str(refusal)), status=status_line(refusal))
        return HTTPException(response=response)
    # It would add a traceback where there is none.
    return AnswerException(status_line(refusal), reason_phrase(str(refusal)), {"traceback": ""})
