"""Loads the models of projects when a web process starts, so that no annotator waits for that."""

from __future__ import annotations

import logging
import threading

from active_learn.errors import ActiveLearnError

from ..logs import context
from .ml_backend import ActiveLearningModel, Runtime

__all__ = ["warm_up_in_background"]

log = logging.getLogger(__name__)

MOST_PROJECTS = 4  # the newest ones: a process keeps four encoders


def warm_up_in_background(runtime: Runtime) -> threading.Thread:
    """Load what answers for the newest projects, in a thread that keeps no process alive."""
    thread = threading.Thread(target=_warm_up, args=[runtime], name="warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up(runtime: Runtime) -> None:
    try:
        projects = [one for one in runtime.store.projects() if one.status != "disconnected"]
    except ActiveLearnError as error:
        log.info("no models are loaded ahead: %s", error)
        return
    for project in projects[-MOST_PROJECTS:]:
        with context(project=project.id):
            try:
                ActiveLearningModel(project.id, runtime=runtime).load_models()
            except ActiveLearnError as error:  # the worker and the status page say it to people
                log.info("its models are not loaded ahead: %s", error)
