"""Trains a classifier by the Trainer of transformers; goes on where an interrupted run ended."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from ..learning.encoders.folders import content_digest
from ..settings import RANDOM_STATE
from .examples import Example, Task, held_out_rows, read_examples, read_task
from .first_head import fit_head_first
from .losses import loss_function
from .samples import Samples
from .starting_model import StartingModel, load_start

__all__ = ["Options", "fine_tune"]

PATIENCE = 3  # epochs without a smaller loss on the held-out labels, after which it ends
LEARNING_RATE = {"lora": 1e-3, "full": 1e-4}
BATCHES = (4, 32)  # least and most samples of a batch
STEPS_AN_EPOCH = 20  # that few labels make, by smaller batches
WARMUP, DECAY = 0.1, 0.01
FINISHED = "trainer_state.json"  # what the Trainer writes last into a checkpoint


@dataclass(frozen=True)
class Options:
    """How a model is trained.

    Attributes
    ----------
    method : {'lora', 'full'}
        Low-rank adapters, or all weights.
    class_weight : {'none', 'balanced'}
        As in the settings.
    epochs : int
        Most passes over the labels.
    """

    method: Literal["lora", "full"] = "lora"
    class_weight: Literal["none", "balanced"] = "none"
    epochs: int = 10


def fine_tune(
    data: Path,
    start_folder: Path,
    output: Path,
    checkpoints: Path,
    options: Options,
    device: torch.device,
    tell: Callable[[str], None],
) -> dict[str, float]:
    """Train a classifier, and write it into a folder as `save_pretrained` does.

    Parameters
    ----------
    data : Path
        The labels, see backend/docs/training.md.
    start_folder : Path
        The model that training starts from.
    checkpoints : Path
        Folder for what an interrupted run leaves; a run of other data or options clears it.
    tell : callable
        Takes lines about the progress.

    Returns
    -------
    dict
        Numbers of the run: labels, held-out labels, epochs, losses.

    Raises
    ------
    DataError
        When the labels cannot be read, or are too few.
    SettingsError
        When the model cannot be loaded or trained.
    """
    transformers.set_seed(RANDOM_STATE)
    task = read_task(data)
    examples = read_examples(data, task)
    start = load_start(start_folder, task, device)
    samples, held_out = _split(start, task, examples, data)
    tell(f"{len(samples)} labels to train on, {len(held_out)} that decide when to stop")
    if fit_head_first(start, task, samples, held_out, options.class_weight):
        tell("a new head is fitted on the model as it is")
    folder = checkpoints / _fingerprint(data, start_folder, options)
    for other in checkpoints.glob("*"):
        if other != folder:
            shutil.rmtree(other, ignore_errors=True)
    model: Any = start.model
    if options.method == "lora":
        from .lora import add_adapters

        model = add_adapters(start)
    trainer = _trainer(model, start, task, samples, held_out, folder, options, tell)
    before, weights = trainer.evaluate()["eval_loss"], _trained_weights(model)
    last = _last_checkpoint(folder)
    if last is not None:
        tell(f"goes on from {last.name} of an interrupted run")
    trained = trainer.train(resume_from_checkpoint=None if last is None else str(last))
    best = trainer.state.best_metric
    if best is None or not best < before:
        model.load_state_dict(weights, strict=False)
        tell(f"no epoch is better than the start, whose held-out loss is {before:.4f}: it is kept")
    if options.method == "lora":
        from .lora import merged

        model = merged(model)
    model.save_pretrained(output)
    start.processor.save_pretrained(output)
    return {
        "labels": len(samples),
        "held_out_labels": len(held_out),
        "epochs": float(trainer.state.epoch or 0.0),
        "steps": trained.global_step,
        "held_out_loss": min(before, np.inf if best is None else best),
    }


def _split(
    start: StartingModel, task: Task, examples: list[Example], data: Path
) -> tuple[Samples, Samples]:
    """Return what is trained on, and what decides when to stop."""
    held = held_out_rows(examples)
    parts = (
        [example for example, out in zip(examples, held, strict=True) if out is which]
        for which in (np.False_, np.True_)
    )
    train, held_out = (Samples(start, task, part, data) for part in parts)
    return train, held_out


def _trained_weights(model: Any) -> dict[str, torch.Tensor]:
    """Return a copy of what training changes, as it is now."""
    fixed = {name for name, weight in model.named_parameters() if not weight.requires_grad}
    return {n: value.clone() for n, value in model.state_dict().items() if n not in fixed}


def _fingerprint(data: Path, start_folder: Path, options: Options) -> str:
    """Name what a run depends on: a checkpoint of anything else is of no use."""
    digest = hashlib.blake2b(digest_size=8)
    digest.update(content_digest(start_folder).encode())
    digest.update(json.dumps(asdict(options), sort_keys=True).encode())
    for name in ("labels.json", "tasks.jsonl"):
        digest.update((data / name).read_bytes())
    return digest.hexdigest()


def _last_checkpoint(folder: Path) -> Path | None:
    """Return the last checkpoint that was written to its end, and remove those that were not."""
    found: dict[int, Path] = {}
    for path in folder.glob("checkpoint-*"):
        try:
            found[int(json.loads((path / FINISHED).read_text())["global_step"])] = path
        except (OSError, ValueError, KeyError, TypeError):
            shutil.rmtree(path, ignore_errors=True)
    return found[max(found)] if found else None


def _trainer(
    model: Any,
    start: StartingModel,
    task: Task,
    samples: Samples,
    held_out: Samples,
    folder: Path,
    options: Options,
    tell: Callable[[str], None],
) -> Trainer:
    least, most = BATCHES
    batch = int(np.clip(len(samples) // STEPS_AN_EPOCH, least, most))
    device = next(model.parameters()).device
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=options.epochs,
        per_device_train_batch_size=batch,
        per_device_eval_batch_size=most,
        learning_rate=LEARNING_RATE[options.method],
        warmup_steps=WARMUP,  # a share of all steps
        weight_decay=DECAY,
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=1,  # and the best one
        load_best_model_at_end=True,
        metric_for_best_model="loss",
        seed=RANDOM_STATE,
        use_cpu=device.type == "cpu",
        bf16=device.type == "cuda" and torch.cuda.is_bf16_supported(),
        train_sampling_strategy="group_by_length" if start.is_text else "random",
        remove_unused_columns=False,
        label_names=["labels"],
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=True,
        report_to="none",
    )
    trainer = Trainer(
        model,
        arguments,
        data_collator=samples.collate,
        train_dataset=samples,
        eval_dataset=held_out,
        processing_class=start.processor,
        compute_loss_func=loss_function(
            task.problem_type,
            samples.targets,
            start.model.config.num_labels,
            balanced=options.class_weight == "balanced",
        ),
        callbacks=[EarlyStoppingCallback(PATIENCE), Report(tell)],
    )
    trainer.remove_callback(PrinterCallback)  # `Report` says it shorter
    return trainer


class Report(TrainerCallback):
    """Tells how far the training is, and how good."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell, self._told = tell, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        share = state.global_step / state.max_steps
        if share >= self._told + 0.01:
            self._told = share
            self._tell(f"progress: {share:.2f}")

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any
    ) -> None:
        shown = {"loss": "training", "eval_loss": "held-out"}
        said = [f"{title} loss {float(logs[n]):.4f}" for n, title in shown.items() if n in logs]
        if said:
            self._tell(f"epoch {logs.get('epoch', 0):.0f}: {', '.join(said)}")
