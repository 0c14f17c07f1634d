"""Compares the answers of an exported model with those of the backend, on tasks of the project."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from active_learn.errors import ModelError
from active_learn.heads import TrainedHead
from active_learn.heads.hyperparameters import probabilities
from active_learn.heads.logistic import Link
from active_learn.models.onnx_model import fixed_batch_size, read_inputs

from ...errors import ContentError, SettingsError
from ..embedding.embedder import TaskEmbedder
from ..encoders.content_reader import ContentReader
from ..user_models.file_inputs import FileInputs
from ..user_models.specification import read_specification
from .head_part import labels_of

__all__ = ["TOLERANCE", "Comparison", "answers_of_head", "compare"]

TOLERANCE = 1e-5  # of probabilities; of numbers relative to the largest, or to 1
BATCH = 8

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Comparison:
    """By how much the answers of an exported model differ.

    Attributes
    ----------
    tasks : int
        On how many tasks they were compared.
    difference : float
        From those of encoder and head, at most.
    from_stored : float
        From those that the backend gives, at most: it keeps vectors in half precision.
    """

    tasks: int
    difference: float
    from_stored: float


def compare(
    path: Path,
    head: TrainedHead,
    control: str,
    embedder: TaskEmbedder,
    contents: Sequence[Mapping[str, Any]],
    load: Callable[..., bytes],
) -> Comparison:
    """Let an exported model answer for tasks, with the preparation that its JSON describes.

    Raises
    ------
    ContentError
        When none of the tasks can be read.
    SettingsError
        When the model takes batches of one size only.
    ModelError
        When it answers otherwise than encoder and head.
    """
    vectors, failed = embedder.encoder.encode(contents)
    good = [row for row in range(len(contents)) if row not in failed]
    found, wanted = _answers_of_file(path, embedder, [contents[row] for row in good], load)
    good = [good[row] for row in wanted]
    if not good:
        reason = next(iter(failed.values()), "they lack a field that the model reads")
        raise ContentError(f"none of {len(contents)} tasks can be read to check it: {reason}")
    ours = answers_of_head(head, embedder.features(control, vectors[good])[:])
    stored = vectors[good].astype(np.float16).astype(np.float32)
    theirs = answers_of_head(head, embedder.features(control, stored)[:])
    scale = max(1.0, float(np.abs(ours).max())) if head.problem_type == "regression" else 1.0
    difference = float(np.abs(found - ours).max()) / scale
    if not difference <= TOLERANCE:  # NaN neither
        raise ModelError(
            f"the ONNX model of '{control}' answers otherwise than encoder and head: by up to "
            f"{difference:.2g} on {len(good)} tasks, at most {TOLERANCE:g} is allowed; nothing was "
            "written"
        )
    return Comparison(len(good), difference, float(np.abs(found - theirs).max()) / scale)


def answers_of_head(head: TrainedHead, vectors: Array) -> Array:
    """Return the probabilities of the labels, as the exported model has them, or the numbers."""
    if head.problem_type == "regression":
        return np.array([[answer.label] for answer in head.predict(vectors)], np.float32)
    link: Link = "softmax" if head.problem_type == "classification" else "sigmoid"
    shares = probabilities(head.outputs(vectors), link)
    unseen = len(labels_of(head)) - shares.shape[1]
    return np.pad(shares, ((0, 0), (0, unseen)))


def _answers_of_file(
    path: Path,
    embedder: TaskEmbedder,
    contents: Sequence[Mapping[str, Any]],
    load: Callable[..., bytes],
) -> tuple[Array, list[int]]:
    """Return the answers of the file, and the positions of the tasks that have all it reads."""
    session = onnxruntime.InferenceSession(path)
    nodes = read_inputs(session)
    if fixed_batch_size(nodes) not in (None, 1):
        raise SettingsError(
            "MODEL takes batches of one size only; export it with a first dimension of any size"
        )
    size = fixed_batch_size(nodes) or BATCH
    names = [node.name for node in nodes]
    inputs = FileInputs(read_specification(path), names, path.parent)
    fields = [replace(one, required=True) for one in inputs.choose(embedder.encoder.fields)]
    reader = ContentReader(fields, load)
    prepared = reader.map(contents, partial(inputs.prepare, fields))
    usable = {at: one for at, one in enumerate(prepared) if not isinstance(one, ContentError)}
    answers, rows = [], list(usable.values())
    for start in range(0, len(rows), size):
        columns = inputs.collate(rows[start : start + size])
        columns = columns if isinstance(columns, tuple) else (columns,)
        answers.append(session.run(None, dict(zip(names, columns, strict=True)))[0])
    return np.concatenate(answers) if answers else np.empty((0, 0), np.float32), list(usable)
