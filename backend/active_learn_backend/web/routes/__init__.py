"""Routes of the web process: they parse, call and answer; nothing is learned here."""

from __future__ import annotations

from flask import current_app

from ..ml_backend import Runtime

__all__ = ["current_runtime"]


def current_runtime() -> Runtime:
    """Return the runtime of the app that answers this request."""
    runtime: Runtime = current_app.extensions["active_learn"]
    return runtime
