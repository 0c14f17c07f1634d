"""The route that Prometheus reads, and the timing of each request."""

from __future__ import annotations

import time

from flask import Blueprint, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST

from ..prometheus import expose, observe_request
from . import current_runtime
from .messages import exchanges

__all__ = ["metrics"]

metrics = Blueprint("metrics", __name__)


@metrics.route("/metrics", methods=["GET"])
@exchanges(response_model=None)
def scrape() -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(expose(current_runtime().store), content_type=CONTENT_TYPE_LATEST)


@metrics.before_app_request
def _start() -> None:
    g.started = time.perf_counter()


@metrics.after_app_request
def _stop(response: Response) -> Response:
    route = request.url_rule.rule if request.url_rule else "none"
    observe_request(route, response.status_code, time.perf_counter() - g.started)
    return response
