"""What the web process answers: parse, hand on, answer; nothing is learned here."""

from __future__ import annotations

from flask import current_app

from ..ml_backend import Runtime

__all__ = ["current_runtime"]


def current_runtime() -> Runtime:
    """What the app that answers this request holds open."""
    runtime: Runtime = current_app.extensions["active_learn"]
    return runtime
