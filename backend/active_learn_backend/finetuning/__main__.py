"""``python -m active_learn_backend.finetuning``: a training command, by the environment of one.

``TRAIN_DATA`` (folder of the labels), ``TRAIN_FROM`` (model to start from), ``TRAIN_OUTPUT``
(folder for the new model) and ``TRAIN_CHECKPOINT`` (folder that survives an interrupted run).
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import click
from active_learn.errors import ActiveLearnError, MissingOptionalDependencyError

from ..errors import SettingsError
from ..settings import load_settings


def main() -> None:
    """Run the command line, and say in one line what failed."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    # The Trainer would copy the model to all GPUs; what is trained here fits one.
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    os.environ["CUDA_VISIBLE_DEVICES"] = first
    try:
        command(standalone_mode=False)
    except click.ClickException as error:
        sys.exit(error.format_message())
    except (ActiveLearnError, OSError) as error:
        sys.exit(f"the training failed: {error}")


@click.command()
@click.option("--method", type=click.Choice(["lora", "full"]), help="As TRAIN; default: lora.")
@click.option("--class-weight", type=click.Choice(["none", "balanced"]), help="As CLASS_WEIGHT.")
@click.option("--device", help="As DEVICE.")
@click.option("--epochs", type=click.IntRange(1, 1000), default=10, show_default=True)
def command(method: Any, class_weight: Any, device: str | None, epochs: int) -> None:
    """Train a Hugging Face classifier on the labels of a project."""
    settings = load_settings(class_weight=class_weight, device=device)
    data, output, checkpoints = (
        Path(_variable(name)) for name in ("TRAIN_DATA", "TRAIN_OUTPUT", "TRAIN_CHECKPOINT")
    )
    _check_installed()
    from transformers.utils import logging as transformers_logging

    warnings.simplefilter("ignore", FutureWarning)  # of transformers, about itself
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    from ..learning.encoders.devices import pick_device
    from .examples import read_task
    from .starting_model import find_start
    from .training import Options, fine_tune

    start = find_start(os.environ.get("TRAIN_FROM", ""), read_task(data), settings)
    numbers = fine_tune(
        data,
        start,
        output,
        checkpoints,
        Options(method or "lora", settings.class_weight, epochs),
        pick_device(settings.device),
        lambda line: print(line, flush=True),
    )
    print(", ".join(f"{name} {value:g}" for name, value in numbers.items()), flush=True)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise SettingsError(f"{name} is not set; the backend sets it, or set it to a folder")
    return value


def _check_installed() -> None:
    try:
        import accelerate  # noqa: F401
        import peft  # noqa: F401
    except ImportError as error:
        raise MissingOptionalDependencyError(
            f"fine-tuning needs {error.name}, which is not installed: "
            "pip install 'label-studio-active-sampler[train]'"
        ) from error


if __name__ == "__main__":
    main()
