"""`active-learn train`: train the model of a project now, and say what came of it."""

from __future__ import annotations

import signal
import threading
from typing import Any

import click

from ..errors import SettingsError, TrainingError
from .options import project_option, read_settings, settings_options

__all__ = ["train_command"]


@click.command("train")
@project_option
@settings_options(
    "label studio", "state", "selection", "models", "training", "content", "engine", "logs"
)
def train_command(project_id: int, **given: Any) -> None:
    """Train a project's model now, by TRAIN_COMMAND or TRAIN, and compare it."""
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.content_loader import ContentLoader
    from ..learning.engines.configured import configured_engine
    from ..learning.training.run import training_command
    from ..state.store import Store
    from ..state.training_status import read_output, read_training
    from ..worker.training import train
    from ..worker.work import Work, alone

    settings = read_settings(given)
    if training_command(settings) is None:
        raise SettingsError("nothing trains a model; set TRAIN_COMMAND, or TRAIN to lora or full")
    client, store, stopping = (
        LabelStudioClient(settings),
        Store(settings.store_url),
        _on_interrupt(),
    )
    load = ContentLoader(settings, client).load
    work = Work(settings, store, load, configured_engine(settings), stopping)
    try:
        project = store.known_project(project_id)
        with alone(settings, project_id, "training"):
            train(work, project)
    except BlockingIOError:
        raise TrainingError(f"the worker trains the model of project {project_id} now") from None
    finally:
        client.close()
        store.close()
    status = read_training(settings, project_id)
    click.echo(read_output(settings, project_id), nl=False)
    if status is None or status.state != "done":
        raise TrainingError(f"the training gave no model: {status.reason if status else 'unknown'}")
    outcome = status.reason or "the worker lets the next round take it"
    click.echo(f"project {project_id}: version {status.version} of its model is trained; {outcome}")


def _on_interrupt() -> threading.Event:
    """Return an event that Ctrl+C sets: the command is ended then, and can be taken up."""
    stopping = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stopping.set())
    return stopping
