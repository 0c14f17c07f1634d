"""`active-learn worker`: the worker alone."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Any

import click

from ..errors import StoreError
from .options import read_settings, settings_options

__all__ = ["worker_command"]

WORKER_NICENESS = 10  # a round on every core must not make a webhook wait


@click.command("worker")
@settings_options(
    "label studio",
    "state",
    "address",
    "worker",
    "selection",
    "models",
    "training",
    "content",
    "engine",
    "logs",
)
def worker_command(**given: Any) -> None:
    """Run the worker alone, where another server hosts the web part."""
    # Read when torch is loaded: threads that wait by spinning make a ranking ten times slower on
    # a machine where Label Studio is at work too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ..labelstudio.client import LabelStudioClient
    from ..state.folders import make_model_dir
    from ..state.recovery import DAMAGED_EXIT
    from ..state.store import Store
    from ..worker.loop import Worker

    settings = read_settings(given)
    os.nice(WORKER_NICENESS)
    make_model_dir(settings)
    try:
        store = Store(settings.store_url)
        running = Worker(settings, store, LabelStudioClient(settings))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: running.stopping.set())
        all_ended = running.run()
    except StoreError as error:
        if not error.damaged:
            raise
        logging.getLogger(__name__).error("%s", error)
        sys.exit(DAMAGED_EXIT)
    status = DAMAGED_EXIT if store.damaged.is_set() else 0
    if not all_ended:  # Python would wait for the thread that still computes
        logging.shutdown()
        os._exit(status)
    sys.exit(status)
