"""Writes the folder that a training command reads: the labeled tasks, the labels, the images."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ContentError, TrainingError
from ...labeling.config import Field, LabelingTask
from ...labeling.controls import ControlTag
from ...settings import Settings
from ...state.folders import make_private_folder
from ...state.rounds import read_rounds
from ...state.store import Project, Store
from ...state.task_table import read_task_table
from ...state.tasks import read_contents
from ...state.verification import open_sample
from ..encoders.content_reader import ContentReader
from ..encoders.images import image_suffix
from ..selection.project_params import learned_task
from ..selection.snapshot import ControlSnapshot, Snapshot
from ..user_models import finds_regions

__all__ = [
    "TASKS",
    "TrainingData",
    "labeled_tasks",
    "trained_control",
    "trained_task",
    "write_training_data",
]

TASKS, LABELS, FILES = "tasks.jsonl", "labels.json", "files"
PROBLEMS = ("classification", "multilabel", "regression")
KINDS = ("text", "image")
CHUNK = 64  # tasks whose files are loaded at once


@dataclass(frozen=True)
class TrainingData:
    """A folder of training data.

    Attributes
    ----------
    labels, audit : int
        Training labels, and tasks of the audit set, whose labels are not in it.
    unreadable : int
        Labeled tasks that are left out, because their content cannot be loaded.
    fingerprint : str
        Digest of all that is in it.
    """

    labels: int
    audit: int
    unreadable: int
    fingerprint: str


def trained_task(label_config: str, settings: Settings) -> LabelingTask:
    """Return the labeling task of a project as own models know it: without regions.

    Raises
    ------
    LabelConfigError, SettingsError
        See `learned_task`.
    TrainingError
        When MODEL finds regions: a model that is trained would take its place.
    """
    task = learned_task(label_config, settings)
    if finds_regions(settings):
        raise TrainingError(
            f"MODEL '{settings.model}' finds regions, and a model that is trained for another "
            "control would take its place; leave MODEL out"
        )
    return replace(task, controls=task.others) if task.regions and task.others else task


def trained_control(task: LabelingTask, name: str = "") -> ControlTag:
    """Return the control that a model is trained for: the named one, else the first that fits.

    Raises
    ------
    TrainingError
        When a model of no control can be trained.
    """
    for control in task.others:
        fits = control.learned and control.problem_type in PROBLEMS
        if fits and name in ("", control.from_name):
            return control
    raise TrainingError("no control of the labeling config is one that a model is trained for")


def labeled_tasks(
    store: Store, project: Project, settings: Settings, control: ControlTag
) -> ControlSnapshot:
    """Return the labeled tasks of a control, without vectors, as a round would train on them.

    Answers of labeling runs and the labels of an open verification are not among them.
    """
    verified = set(open_sample(settings, project.id))
    tasks = read_task_table(store, project.id)
    labeled = tasks.where(
        lambda row: row.labels is not None and not row.automatic and row.task_id not in verified
    )
    tasks = tasks.select(labeled)
    nothing = np.empty((len(tasks), 0), np.float32)
    reports = read_rounds(store, project.id)
    return Snapshot.take(project, tasks, nothing, settings, reports).of(control.from_name)


def write_training_data(
    folder: Path,
    snapshot: ControlSnapshot,
    task: LabelingTask,
    control: ControlTag,
    store: Store,
    load: Callable[..., bytes],
    checkpoint: Callable[[], None] = lambda: None,
) -> TrainingData:
    """Write the training data of a control into a folder, which is emptied before.

    Parameters
    ----------
    snapshot : ControlSnapshot
        See `labeled_tasks`.
    load : callable
        Gives the bytes of a file, from its address in a task; raises ContentError.
    checkpoint : callable
        Called now and then; what it raises stops the work.

    Raises
    ------
    TrainingError
        When the labeling config shows neither texts nor images.
    OSError
        When it cannot be written.
    """
    fields = [field for field in task.fields if field.kind in KINDS]
    if not fields:
        shown = ", ".join(sorted({field.kind for field in task.fields}))
        raise TrainingError(f"models are trained on texts and images; the tasks show {shown}")
    shutil.rmtree(folder, ignore_errors=True)
    make_private_folder(folder / FILES)
    digest = hashlib.blake2b(digest_size=8)
    counts = {"train": 0, "audit": 0, "unreadable": 0}
    with (folder / TASKS).open("w", encoding="utf-8") as file:
        for line in _lines(folder, snapshot, fields, store, load):
            checkpoint()
            counts["unreadable" if line is None else line["split"]] += 1
            if line is not None:
                text = json.dumps(line, ensure_ascii=False) + "\n"
                digest.update(text.encode())
                file.write(text)
    description = json.dumps(_description(control, fields), ensure_ascii=False, indent=1)
    (folder / LABELS).write_text(description, encoding="utf-8")
    digest.update(description.encode())
    return TrainingData(counts["train"], counts["audit"], counts["unreadable"], digest.hexdigest())


def _description(control: ControlTag, fields: list[Field]) -> dict[str, Any]:
    return {
        "control": control.from_name,
        "problem_type": control.problem_type,
        "labels": list(control.labels),
        "fields": [{"name": field.name, "type": field.kind} for field in fields],
    }


def _lines(
    folder: Path,
    snapshot: ControlSnapshot,
    fields: list[Field],
    store: Store,
    load: Callable[..., bytes],
) -> Iterator[dict[str, Any] | None]:
    """Yield what is written of each task; None of one that cannot be read."""
    reader = ContentReader(fields, load)

    def prepare(raws: list[Any]) -> dict[str, Any]:
        return {
            field.name: _store_image(folder, raw) if isinstance(raw, bytes) else raw or ""
            for field, raw in zip(fields, raws, strict=True)
        }

    positions = np.flatnonzero(snapshot.labeled)
    for start in range(0, len(positions), CHUNK):
        at = positions[start : start + CHUNK]
        ids = [int(snapshot.rows.ids[one]) for one in at]
        stored = read_contents(store, snapshot.project_id, ids)
        found = reader.map([stored.get(one, {}) for one in ids], prepare)
        labels = snapshot.labels(at)
        for position, task_id, content, label in zip(at, ids, found, labels, strict=True):
            if isinstance(content, ContentError):
                yield None
            elif snapshot.audit[position]:  # without its label, so that nothing can train on it
                yield {"id": task_id, "content": content, "split": "audit"}
            else:
                yield {"id": task_id, "content": content, "label": label, "split": "train"}


def _store_image(folder: Path, data: bytes) -> str:
    """Write an image under a name that its content gives it, and return that name."""
    name = hashlib.blake2b(data, digest_size=16).hexdigest() + image_suffix(data)
    path = folder / FILES / name
    if not path.exists():
        path.write_bytes(data)
    return f"{FILES}/{name}"
