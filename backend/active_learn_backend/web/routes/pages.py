"""The status page: HTML for browsers, JSON for machines. `status` collects what it shows.

Nothing that is shown can be trusted: templates escape it, and the headers below forbid what
might slip through to run, to load anything from elsewhere, or to be framed.
"""

from __future__ import annotations

import hashlib
import io
import logging
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from active_learn.heads import head_name, saved_heads
from flask import (
    Blueprint,
    Response,
    current_app,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)

from ...errors import BadRequestError, ContentError, LabelConfigError
from ...labeling.config import parse_label_config
from ...learning.encoders.images import open_image
from ...learning.quality.head_versions import roll_back
from ...logs import context
from ...state.folders import heads_folder
from ...state.model_versions import read_versions
from ...state.schedule import resume
from ...state.status_queries import queued_content
from ...state.store import Project
from ..health import Health
from ..ml_backend import LARGEST_ID, Runtime
from ..status.chart import HEIGHT, WIDTH, draw, draw_shares
from ..status.controls import ControlStatus
from ..status.project import ProjectStatus, project_status, summarize
from . import current_runtime
from .guards import guard_reading, why_foreign, why_not_change
from .messages import HealthAnswer, exchanges
from .protocol import health

__all__ = ["pages"]

log = logging.getLogger(__name__)

WEB = Path(__file__).parents[1]
pages = Blueprint(
    "pages",
    __name__,
    template_folder=str(WEB / "templates"),
    static_folder=str(WEB / "static"),
    static_url_path="/pages",
)

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self' data:; "
    "script-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # the Origin of our own form stays; nothing goes elsewhere
    "Cross-Origin-Resource-Policy": "same-origin",
}
NUMBER = f"int(max={LARGEST_ID})"
PROJECT = f"/projects/<{NUMBER}:number>"
THUMBNAIL = 192  # pixels of the longer side
MORE_THREADS = 2  # of the web process, which always stay with Label Studio


@pages.after_request
def _harden(response: Response) -> Response:
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Vary"] = "Accept"
    return response


# -- pages --------------------------------------------------------------------------------------


@pages.route("/", methods=["GET"])
@exchanges(HealthAnswer)
def index() -> Response:
    """Return that the web process is up; browsers get the list of projects instead."""
    if not _wants_html():
        return health()
    guard_reading()
    health_checks: Health = current_app.extensions["active_learn_health"]
    runtime = current_runtime()
    projects = [summarize(runtime.settings, runtime.store, one) for one in runtime.store.projects()]
    return _page("index.html", projects=projects, problems=health_checks.problems())


@pages.route("/projects.json", methods=["GET"])
def projects_json() -> Response:
    """List the projects."""
    guard_reading()
    runtime = current_runtime()
    return jsonify(
        [
            asdict(summarize(runtime.settings, runtime.store, one))
            for one in runtime.store.projects()
        ]
    )


@pages.route(PROJECT, methods=["GET"])
def project_page(number: int) -> Response:
    """Show a project to a browser; all others get it as JSON."""
    if not _wants_html():
        return project_json(number)
    guard_reading()
    runtime = current_runtime()
    project = runtime.store.project(number)
    if project is None:
        return _page("missing.html", number=number, status=404)
    target = _target()
    status = project_status(runtime.settings, runtime.store, project, target)
    health_checks: Health = current_app.extensions["active_learn_health"]
    return _page(
        "project.html",
        project=status,
        summary=status.summary,
        drawings=[
            draw(control.curve, control.target, _random(status, control))
            for control in status.controls
        ],
        target=target,
        shares=draw_shares(status.automation),
        width=WIDTH,
        height=HEIGHT,
        # The page shows this project's own errors instead of the line about all projects.
        problems=[one for one in health_checks.problems() if not one.startswith("projects:")],
        label_studio=f"{runtime.settings.label_studio_url}/projects/{number}/data",
        may_change=why_not_change() == "",
    )


@pages.route(f"{PROJECT}.json", methods=["GET"])
def project_json(number: int) -> Response:
    """Return all that the page of a project shows."""
    guard_reading()
    runtime = current_runtime()
    project = runtime.store.project(number)
    if project is None:
        return _refuse(404, f"project {number} is not connected to this backend")
    return jsonify(asdict(project_status(runtime.settings, runtime.store, project, _target())))


def _target() -> float | None:
    """Return the target that the page is asked for; None for none."""
    try:
        target = float(request.args.get("target", "").replace("%", "").replace(",", "."))
    except ValueError:
        return None
    return target if 0 < target < float("inf") else None


def _random(status: ProjectStatus, control: ControlStatus) -> list[tuple[int, float]]:
    """Return what random order reached in the last backtest, if that was of this control."""
    replayed = status.random
    return replayed.of("random") if replayed and replayed.control == control.name else []


@pages.route(f"{PROJECT}/rollback", methods=["POST"])
def rollback(number: int) -> Response:
    """Go back to an earlier head or model, as a button of the page asks for."""
    if reason := why_not_change() or why_foreign():
        return _refuse(403, reason)
    runtime = current_runtime()
    if runtime.store.project(number) is None:
        return _refuse(404, f"project {number} is not connected to this backend")
    version = request.form.get("version", "")
    saved = saved_heads(heads_folder(runtime.settings, number))
    models = [one.name for one in read_versions(runtime.settings, number)]
    if version not in ("latest", *map(head_name, saved), *models):
        raise BadRequestError("that version is not kept any more; reload the page")
    roll_back(runtime.settings, runtime.store, number, version)
    return make_response(redirect(url_for("pages.project_page", number=number), 303))


@pages.route(f"{PROJECT}/resume", methods=["POST"])
def take_up(number: int) -> Response:
    """Order a paused project again, as the button of the page asks for."""
    if reason := why_not_change() or why_foreign():
        return _refuse(403, reason)
    runtime = current_runtime()
    if runtime.store.project(number) is None:
        return _refuse(404, f"project {number} is not connected to this backend")
    if not resume(runtime.store, number):
        raise BadRequestError("the project is not paused any more; reload the page")
    return make_response(redirect(url_for("pages.project_page", number=number), 303))


# -- thumbnails ---------------------------------------------------------------------------------


@pages.route(f"{PROJECT}/tasks/<{NUMBER}:task_id>.jpg", methods=["GET"])
def thumbnail(number: int, task_id: int) -> Response:
    """Show a queued task's image, decoded and encoded anew: never bytes of unknown origin."""
    guard_reading()
    runtime = current_runtime()
    project = runtime.store.project(number)
    address = _image_address(project, task_id) if project else None
    if address is None:
        return _refuse(404, f"project {number} has no queued task {task_id} with an image")
    etag = hashlib.sha256(address.encode("utf-8", "replace")).hexdigest()[:32]
    response = make_response()
    response.set_etag(etag)
    response.headers["Cache-Control"] = "private, max-age=3600"
    if request.if_none_match.contains(etag):
        response.status_code = 304
        return response
    slots: threading.Semaphore = current_app.extensions["active_learn_thumbnails"]
    if not slots.acquire(blocking=False):
        busy = _refuse(503, "too many images are being loaded; try again in a second")
        busy.headers["Retry-After"] = "1"
        return busy
    try:
        data = _shrink(runtime.content.load(address))
    except ContentError as error:
        with context(project=number):
            log.warning("the page lacks the image of task %s: %s", task_id, error)
        return _refuse(404, "the image cannot be loaded; the backend's log says why")
    finally:
        slots.release()
    response.set_data(data)
    response.content_type = "image/jpeg"
    return response


@pages.record
def _count_slots(state: Any) -> None:
    """Leave some threads to Label Studio, however slowly the images come."""
    runtime: Runtime = state.app.extensions["active_learn"]
    slots = threading.Semaphore(runtime.settings.web_threads - MORE_THREADS)
    state.app.extensions["active_learn_thumbnails"] = slots


def _image_address(project: Project, task_id: int) -> str | None:
    content = queued_content(current_runtime().store, project.id, task_id)
    try:
        fields = parse_label_config(project.label_config).fields
    except LabelConfigError:
        return None
    found = (field.image_address((content or {}).get(field.name)) for field in fields)
    return next((address for address in found if address), None)


def _shrink(data: bytes) -> bytes:
    image = open_image(data)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


# -- answers ------------------------------------------------------------------------------------


def _wants_html() -> bool:
    accepted = request.accept_mimetypes
    return bool(accepted["text/html"] > accepted["application/json"])


def _page(template: str, *, status: int = 200, **values: Any) -> Response:
    html = render_template(template, now=time.time(), **values)
    response = make_response(html, status)
    response.content_type = "text/html; charset=utf-8"
    return response


def _refuse(status: int, reason: str) -> Response:
    response = jsonify({"error": reason})
    response.status_code = status
    return response


@pages.app_template_filter("ago")
def _ago(then: float | None) -> str:
    """Write how long ago a time was."""
    if not then:
        return "never"
    seconds = max(time.time() - then, 0)
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name} ago"
    return f"{seconds:.0f} s ago"


@pages.app_template_filter("duration")
def _duration(seconds: float) -> str:
    """Write how long something takes."""
    for unit, name in ((3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s"


@pages.app_template_filter("label")
def _label(label: Any) -> str:
    """Write a label: a name, several names, or a number."""
    if isinstance(label, list):
        return ", ".join(map(str, label)) or "none"
    return f"{label:.4g}" if isinstance(label, float) else str(label)


@pages.app_template_filter("quality")
def _quality(point: Any) -> str:
    """Write what was measured, with its interval."""
    if point.metric == "mean absolute error":
        return f"{point.metric} {point.value:.3g} ({point.low:.3g} to {point.high:.3g})"
    return (
        f"{point.metric} {100 * point.value:.0f}\u00a0% "
        f"({100 * point.low:.0f} to {100 * point.high:.0f}\u00a0%)"
    )
