"""Label Studio's ML backend protocol, as version 1.23 speaks it."""

from __future__ import annotations

import hmac
import logging

from active_learn.errors import ActiveLearnError, ParameterError
from active_learn.heads import head_name, saved_heads
from flask import Blueprint, Response, current_app, jsonify, request

from ...errors import BadRequestError, LabelConfigError, SettingsError
from ...labelstudio.registration import SECRET_HEADER
from ...state.folders import heads_folder
from ..health import Health
from ..ml_backend import START_TRAINING, ActiveLearningModel, project_number
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
    """Require Basic auth where it is configured, or of a webhook its project's secret."""
    settings = current_runtime().settings
    if not settings.basic_auth_user:
        return None
    given = request.authorization
    user, password = (given.username or "", given.password or "") if given else ("", "")
    expected = settings.basic_auth_pass.get_secret_value()
    right = _same(user, settings.basic_auth_user) & _same(password, expected)
    if right or (request.path == "/webhook" and _has_secret()):
        return None
    response = jsonify({"error": "wrong or missing credentials; use the backend's Basic auth"})
    response.status_code = 401
    response.headers["WWW-Authenticate"] = 'Basic realm="active sampler"'
    return response


def _has_secret() -> bool:
    given = request.headers.get(SECRET_HEADER, "")
    if not given:
        return False
    project = current_runtime().store.project(read_body(WebhookRequest).project.id)
    return project is not None and _same(given, project.webhook_secret)


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())


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
    """Register a project; Label Studio shows the reason phrase of a refusal to its user."""
    model = ActiveLearningModel(body.project, body.schema_, runtime=current_runtime())
    try:
        model.set_extra_params(body.extra_params)
    except (ParameterError, SettingsError) as error:
        raise BadRequestError(str(error)) from error
    return jsonify({"model_version": model.head_version()})


@protocol.route("/predict", methods=["POST"])
@exchanges(PredictAnswer, request_model=PredictRequest)
def predict(body: PredictRequest) -> Response:
    """Answer one result per task, in order, under a version that never orders the stream."""
    model = ActiveLearningModel(body.project, body.label_config, runtime=current_runtime())
    answers = model.predict([task.model_dump() for task in body.tasks])
    return jsonify({"results": answers, "model_version": model.head_version()})


@protocol.route("/webhook", methods=["POST"])
@exchanges(NotedAnswer, request_model=WebhookRequest)
def webhook(body: WebhookRequest) -> Response:
    """Record the event for the worker, and answer at once: an annotator's submit waits for it."""
    current_runtime().record_event(body.project.id, body.action)
    return jsonify({"status": "noted"})


@protocol.route("/train", methods=["POST"])
@exchanges(NotedAnswer, request_model=TrainRequest)
def train(body: TrainRequest) -> Response:
    """Request a round now (older versions of Label Studio call this)."""
    current_runtime().record_event(project_number(body.project), START_TRAINING)
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
    if isinstance(error, (BadRequestError, LabelConfigError)):
        return _bad_request(str(error))
    log.warning("%s %s: %s", request.method, request.path, error)
    # The error itself may name files and servers: it is for the log.
    response = jsonify({"error": "the backend cannot answer now; its log says why"})
    response.status_code = 503
    return response


def _bad_request(message: str) -> Response:
    line = " ".join(message.split())
    response = jsonify({"error": line})
    phrase = "".join(one if one.isprintable() else "?" for one in line)
    response.status = f"400 {phrase.encode('latin-1', 'replace').decode('latin-1')[:420]}"
    return response
