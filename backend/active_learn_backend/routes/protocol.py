"""Label Studio's ML backend protocol, as version 1.23 speaks it."""

from __future__ import annotations

import hmac
import json
import logging
from typing import Any, TypeVar

from active_learn.errors import ActiveLearnError, ParameterError
from flask import Blueprint, Response, current_app, jsonify, request
from pydantic import BaseModel, Field, ValidationError

from ..errors import BadRequestError, LabelConfigError, SettingsError
from ..labelstudio.connection import SECRET_HEADER
from ..learning.embedding import project_folder
from ..learning.heads import saved_heads
from ..model import ActiveLearningModel, Runtime, project_number

__all__ = ["protocol"]

log = logging.getLogger(__name__)
protocol = Blueprint("protocol", __name__)

LARGEST_ID = 2**31 - 1


class SetupRequest(BaseModel):
    """Body of /setup; its host name and access token are not used."""

    project: str | int
    schema_: str = Field(alias="schema")
    extra_params: Any = None


class PredictTask(BaseModel):
    """One task of /predict."""

    id: int | None = None
    data: dict[str, Any]


class PredictRequest(BaseModel):
    """Body of /predict."""

    tasks: list[PredictTask]
    project: str | int
    label_config: str | None = None


class WebhookProject(BaseModel):
    """The part of a webhook's project that is read."""

    id: int = Field(ge=1, le=LARGEST_ID)


class WebhookRequest(BaseModel):
    """The part of a webhook's body that is read."""

    action: str = Field(max_length=100)
    project: WebhookProject


Body = TypeVar("Body", bound=BaseModel)


def _runtime() -> Runtime:
    runtime: Runtime = current_app.extensions["active_learn"]
    return runtime


def _read(kind: type[Body]) -> Body:
    """Read the request's JSON body.

    Raises
    ------
    BadRequestError
        In one line, naming the first field that does not fit.
    """
    try:
        return kind.model_validate(json.loads(request.get_data()))
    except (ValidationError, ValueError, RecursionError) as error:
        if isinstance(error, ValidationError):
            first = error.errors(include_input=False, include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise BadRequestError(f"{where}: {first['msg']}") from None
        raise BadRequestError(
            f"the body of {request.path} is no JSON; expected an object"
        ) from None


# -- who may ask --------------------------------------------------------------------------------


@protocol.before_app_request
def _authenticate() -> Response | None:
    """Ask for Basic auth where it is configured; a webhook may bear its project's secret."""
    settings = _runtime().settings
    if not settings.basic_auth_user:
        return None
    given = request.authorization
    user, password = (given.username or "", given.password or "") if given else ("", "")
    expected = settings.basic_auth_pass.get_secret_value()
    right = _same(user, settings.basic_auth_user) & _same(password, expected)
    if right or (request.path == "/webhook" and _bears_secret()):
        return None
    response = jsonify({"error": "wrong or missing credentials; use the backend's Basic auth"})
    response.status_code = 401
    response.headers["WWW-Authenticate"] = 'Basic realm="active sampler"'
    return response


def _bears_secret() -> bool:
    given = request.headers.get(SECRET_HEADER, "")
    if not given:
        return False
    project = _runtime().store.project(_read(WebhookRequest).project.id)
    return project is not None and _same(given, project.webhook_secret)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


# -- the protocol -------------------------------------------------------------------------------


@protocol.route("/health", methods=["GET"])
@protocol.route("/", methods=["GET"])
def health() -> Response:
    """Say that the web process is up: no store, no Label Studio, whatever the worker does."""
    return jsonify({"status": "UP", "model_class": ActiveLearningModel.__name__})


@protocol.route("/setup", methods=["POST"])
def setup() -> Response:
    """Take a project in; Label Studio shows the reason phrase of a refusal to its user."""
    try:
        body = _read(SetupRequest)
        model = ActiveLearningModel(body.project, body.schema_, runtime=_runtime())
        model.set_extra_params(body.extra_params)
        return jsonify({"model_version": model.live_version()})
    except (BadRequestError, LabelConfigError, ParameterError, SettingsError) as error:
        response = jsonify({"error": str(error)})
        response.status = f"400 {_reason_phrase(str(error))}"
        return response


@protocol.route("/predict", methods=["POST"])
def predict() -> Response:
    """Answer one result per task, in order, under a version that never orders the stream."""
    body = _read(PredictRequest)
    model = ActiveLearningModel(body.project, body.label_config, runtime=_runtime())
    answers = model.predict([task.model_dump() for task in body.tasks])
    return jsonify({"results": answers, "model_version": model.live_version()})


@protocol.route("/webhook", methods=["POST"])
def webhook() -> Response:
    """Note the event for the worker, and answer at once: an annotator's submit waits for this."""
    body = _read(WebhookRequest)
    ActiveLearningModel(body.project.id, runtime=_runtime()).fit(event=body.action)
    return jsonify({"status": "noted"})


@protocol.route("/train", methods=["POST"])
def train() -> Response:
    """Ask for a round now (older versions of Label Studio call this)."""
    body = _read(WebhookTrain)
    ActiveLearningModel(body.project, runtime=_runtime()).fit(event="START_TRAINING")
    return jsonify({"status": "noted"})


class WebhookTrain(BaseModel):
    """Body of /train."""

    project: str | int


@protocol.route("/versions", methods=["GET"])
def versions() -> Response:
    """List the heads that are kept: of one project, or of all (Label Studio names none)."""
    runtime = _runtime()
    asked = request.args.get("project")
    numbers = (
        [project_number(asked)] if asked else [project.id for project in runtime.store.projects()]
    )
    rounds = {
        saved
        for number in numbers
        for saved in saved_heads(project_folder(runtime.settings, number) / "heads")
    }
    return jsonify({"versions": [f"head-{number}" for number in sorted(rounds, reverse=True)]})


# -- errors: one line, never a traceback --------------------------------------------------------


@protocol.app_errorhandler(ActiveLearnError)
def _refused(error: ActiveLearnError) -> Response:
    bad_input = isinstance(error, (BadRequestError, LabelConfigError))
    if not bad_input:
        log.warning("%s %s: %s", request.method, request.path, error)
    response = jsonify({"error": str(error)})
    response.status_code = 400 if bad_input else 503
    return response


def _reason_phrase(text: str) -> str:
    line = " ".join(text.split())
    return line.encode("latin-1", "replace").decode("latin-1")[:420]
