"""Label Studio's ML backend protocol, as version 1.23 speaks it."""

from __future__ import annotations

import logging

from active_learn.errors import ActiveLearnError, ParameterError
from active_learn.heads import head_name, saved_heads
from flask import Blueprint, Response, current_app, jsonify, request

from ...errors import BadRequestError, LabelConfigError, SettingsError, UnauthorizedError
from ...labelstudio.registration import PROJECT_HEADER, SECRET_HEADER
from ...state.folders import heads_folder
from ..access import bears_basic_auth, bears_secret, refuse_foreign
from ..health import Health
from ..ml_backend import START_TRAINING, ActiveLearningModel, project_number
from ..reason_phrases import one_line, status_line
from . import current_runtime
from .messages import (
    HealthAnswer,
    NotedAnswer,
    PredictAnswer,
    PredictRequest,
    SetupAnswer,
    SetupRequest,
    TrainRequest,
    VersionsAnswer,
    WebhookRequest,
    exchanges,
    read_body,
)

__all__ = ["protocol"]

log = logging.getLogger(__name__)
protocol = Blueprint("protocol", __name__)

# -- who may ask --------------------------------------------------------------------------------


@protocol.before_app_request
def _authenticate() -> Response | None:
    """Require Basic auth where it is configured, or of an event its project's secret."""
    settings = current_runtime().settings
    if not settings.basic_auth_user or bears_basic_auth(settings):
        return None
    offers_secret = request.path == "/webhook" and SECRET_HEADER in request.headers
    if offers_secret and bears_secret(
        current_runtime().secrets, _event_project(read_body(WebhookRequest))
    ):
        return None
    response = jsonify({"error": "wrong or missing credentials; use the backend's Basic auth"})
    response.status_code = 401
    response.headers["WWW-Authenticate"] = 'Basic realm="active sampler"'
    return response


@protocol.before_request
def _refuse_foreign() -> None:
    """Take what changes or computes something from Label Studio only; all may look at the rest."""
    if request.method == "POST":
        refuse_foreign(current_runtime().settings)


def _event_project(event: WebhookRequest) -> int:
    """Return the project of an event, which its body or else a header names."""
    if event.project is not None:
        return event.project.id
    if named := request.headers.get(PROJECT_HEADER):
        return project_number(named)
    raise BadRequestError(
        f"the event names no project, neither in its body nor in the header {PROJECT_HEADER}"
    )


def _require_secret(project_id: int) -> None:
    """Take an event only with Basic auth, which was checked, or with its project's secret."""
    runtime = current_runtime()
    if runtime.settings.basic_auth_user or bears_secret(runtime.secrets, project_id):
        return
    raise UnauthorizedError(
        f"the event does not bear the secret of project {project_id}; the worker adds it to the "
        f"webhook of a connected project, and `active-learn doctor --project {project_id}` tells "
        "whether it is there"
    )


# -- the protocol -------------------------------------------------------------------------------


@protocol.route("/health", methods=["GET"])
@exchanges(HealthAnswer)
def health() -> Response:
    """Return that the web process is up, and the problems of the rest; wait for nothing."""
    checks: Health = current_app.extensions["active_learn_health"]
    name = ActiveLearningModel.__name__
    return jsonify({"status": "UP", "model_class": name, "degraded": checks.problems()})


@protocol.route("/setup", methods=["POST"])
@exchanges(SetupAnswer, request_model=SetupRequest)
def setup(body: SetupRequest) -> Response:
    """Note a project for the worker, which connects it once Label Studio lists our model.

    Label Studio shows the reason phrase of a refusal to its user.
    """
    model = ActiveLearningModel(body.project, body.schema_, runtime=current_runtime())
    try:
        model.request_connection(body.extra_params)
    except (ParameterError, SettingsError) as error:
        raise BadRequestError(str(error)) from error
    return jsonify({"model_version": model.head_version()})


@protocol.route("/predict", methods=["POST"])
@exchanges(PredictAnswer, request_model=PredictRequest)
def predict(body: PredictRequest) -> Response:
    """Answer one result per task, in order, under a version that never orders the stream."""
    # By the labeling config that we read from Label Studio, whatever the request holds.
    model = ActiveLearningModel(body.project, runtime=current_runtime())
    context = body.params.context if body.params else None
    answers = model.predict([task.model_dump() for task in body.tasks], context)
    return jsonify({"results": answers, "model_version": model.head_version()})


@protocol.route("/webhook", methods=["POST"])
@exchanges(NotedAnswer, request_model=WebhookRequest)
def webhook(body: WebhookRequest) -> Response:
    """Record the event for the worker, and answer at once: an annotator's submit waits for it."""
    number = _event_project(body)
    _require_secret(number)
    current_runtime().record_event(number, body.action)
    return jsonify({"status": "noted"})


@protocol.route("/train", methods=["POST"])
@exchanges(NotedAnswer, request_model=TrainRequest)
def train(body: TrainRequest) -> Response:
    """Request a round now (older versions of Label Studio call this)."""
    number = project_number(body.project)
    _require_secret(number)
    current_runtime().record_event(number, START_TRAINING)
    return jsonify({"status": "noted"})


@protocol.route("/versions", methods=["GET"])
@exchanges(VersionsAnswer)
def versions() -> Response:
    """List the saved heads of one project, or of all (Label Studio names none)."""
    runtime = current_runtime()
    asked = request.args.get("project")
    numbers = (
        [project_number(asked)] if asked else [project.id for project in runtime.store.projects()]
    )
    rounds = {
        saved for number in numbers for saved in saved_heads(heads_folder(runtime.settings, number))
    }
    return jsonify({"versions": [head_name(number) for number in sorted(rounds, reverse=True)]})


# -- errors: one line, never a traceback --------------------------------------------------------


@protocol.app_errorhandler(ActiveLearnError)
def _refused(error: ActiveLearnError) -> Response:
    if isinstance(error, LabelConfigError):
        error = BadRequestError(str(error))
    if isinstance(error, BadRequestError):
        response = jsonify({"error": one_line(str(error))})
        response.status = status_line(error)
        return response
    log.warning("%s %s: %s", request.method, request.path, error)
    # The error itself may name files and servers: it is for the log.
    response = jsonify({"error": "the backend cannot answer now; its log says why"})
    response.status_code = 503
    return response
