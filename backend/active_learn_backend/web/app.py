"""The web process: a Flask app that speaks Label Studio's protocol, and its status page."""

from __future__ import annotations

import logging

from active_learn.errors import ActiveLearnError
from flask import Flask, Response, jsonify
from gunicorn.arbiter import Arbiter
from werkzeug.exceptions import HTTPException

from ..heartbeat import beat_in_background
from ..settings import Settings, load_settings
from . import limits
from .health import Health
from .ml_backend import Runtime
from .routes.metrics import metrics
from .routes.openapi import openapi
from .routes.pages import pages
from .routes.protocol import protocol
from .warm_up import warm_up_in_background

__all__ = ["create_app", "serving_app"]

log = logging.getLogger(__name__)


def create_app(settings: Settings | None = None, *, warm_up: bool = False) -> Flask:
    """Build the app.

    Parameters
    ----------
    settings : Settings, optional
        Read from the environment when omitted.
    warm_up : bool
        Load the models of projects at once, in the background.

    Raises
    ------
    SettingsError, StoreError
        When a setting is bad or the project state cannot be opened.
    """
    settings = settings or load_settings()
    app = Flask(__name__)
    # Nothing is redirected: the redirect to a usual path fails where the query has a line end.
    app.url_map.strict_slashes = app.url_map.merge_slashes = False
    app.config["MAX_CONTENT_LENGTH"] = limits.LARGEST_BODY
    app.extensions["active_learn"] = runtime = Runtime.open(settings)
    app.extensions["active_learn_health"] = Health(runtime.store, settings.model_dir)
    for blueprint in (
        metrics,
        protocol,
        openapi,
        pages,
    ):  # metrics first: it times the others' checks
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _internal_error)
    beat_in_background()
    if warm_up:
        warm_up_in_background(runtime)
    return app


def serving_app() -> Flask:
    """Build the app that gunicorn serves.

    Raises
    ------
    SystemExit
        When it cannot be built; the reason is logged in one line, where gunicorn would log a
        traceback.
    """
    try:
        return create_app(warm_up=True)
    except ActiveLearnError as error:
        log.error("the web process cannot start: %s", error)
        raise SystemExit(Arbiter.WORKER_BOOT_ERROR) from None


def _http_error(error: HTTPException) -> Response:
    response = jsonify({"error": f"{error.name}: {error.description}"})
    response.status_code = error.code or 500
    return response


def _internal_error(error: Exception) -> Response:
    log.exception("internal error", exc_info=error)
    response = jsonify({"error": "internal error; the log of the backend has the details"})
    response.status_code = 500
    return response
