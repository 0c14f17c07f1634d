"""The model card beside an exported model: what it is, what it learned from, how good it is."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from active_learn.heads import TrainedHead

from ...labeling.controls import ControlTag
from ...settings import RANDOM_STATE
from ...state.round_report import Estimate
from ...state.rounds import read_rounds
from ...state.store import Project, Store, TaskRow
from ...state.tasks import read_tasks
from ..selection.audit_set import places, served_as_audit, taken_from_outside
from ..user_models.specification import InputSpecification
from .comparison import TOLERANCE, Comparison
from .example_code import packages_of

__all__ = ["DataSummary", "model_card"]

PACKAGES = (
    "label-studio-active-sampler", "torch", "transformers", "tokenizers", "onnx", "onnxruntime",
    "numpy", "scikit-learn", "pillow",
)  # fmt: skip
MOST_LABELS = 200  # that are listed


@dataclass(frozen=True)
class DataSummary:
    """The labels of one control that a project holds.

    Attributes
    ----------
    training, audit : list
        The labels that heads learn from, and those that only measure.
    fingerprint : str
        Digest of all labels with the digests of their contents: another one is other data.
    estimate : Estimate or None
        Quality of the head, by the audit labels; None where there are too few.
    trained : float or None
        When the head was trained, in seconds since 1970.
    """

    training: list[Any]
    audit: list[Any]
    fingerprint: str
    estimate: Estimate | None
    trained: float | None

    @classmethod
    def read(cls, store: Store, project: Project, control: str, head: TrainedHead) -> DataSummary:
        """Read what the project state holds."""
        rows = read_tasks(store, project.id, contents=False)
        rows = [row for row in rows if row.labels is not None]
        reports = read_rounds(store, project.id)
        measures = served_as_audit(rows, project.connected_at)
        drawn = places((row.content_key for row in rows), RANDOM_STATE)
        aside = taken_from_outside(rows, drawn, measures, project.connected_at, reports)
        digest = hashlib.sha256()
        labels: dict[bool, list[Any]] = {False: [], True: []}
        held_out = [*np.array(measures, dtype=bool) | aside]
        for line, measured, label in sorted(_lines(rows, held_out, control)):
            digest.update(line.encode())
            labels[measured].append(json.loads(label))
        estimate, trained = None, None
        for report in reports:
            if report.round == head.round:
                trained = report.finished_at
            if head.version in report.head_version.split("+"):
                estimate = report.of(control).evaluation.audit
        return cls(labels[False], labels[True], digest.hexdigest()[:16], estimate, trained)


def _lines(
    rows: Sequence[TaskRow], measures: Sequence[bool], control: str
) -> list[tuple[str, bool, str]]:
    found = []
    for row, measured in zip(rows, measures, strict=True):
        if control in (row.labels or {}):
            label = json.dumps((row.labels or {})[control])
            split = "audit" if measured else "train"
            found.append((f"{row.content_key} {split} {label}\n", measured, label))
    return found


def model_card(
    project: Project,
    control: ControlTag,
    head: TrainedHead,
    labels: Sequence[str],
    fields: Sequence[str],
    inputs: Sequence[InputSpecification],
    data: DataSummary,
    compared: Comparison,
) -> str:
    """Return the model card, in Markdown.

    Parameters
    ----------
    labels : sequence of str
        Of the outputs, in their order; empty in regression.
    fields : sequence of str
        What the model reads of a task.
    inputs : sequence
        What its inputs are.
    """
    title = f"{control.tag} '{control.from_name}' of project {project.id}"
    trained = "unknown" if data.trained is None else _date(data.trained)
    parts = [
        "---\nlibrary_name: onnx\ntags: [active-learning, label-studio]\n---",
        f"# {title}",
        f"`model.onnx` answers for {control.tag} '{control.from_name}' ({head.problem_type}): "
        "encoder, pooling, head and temperature in one ONNX graph. Made by "
        "label-studio-active-sampler from a project of Label Studio. It runs without both.",
        "## Use",
        f"`pip install {' '.join(packages_of(inputs))}`, then see `example.py`, or set "
        "`MODEL` of a backend to `model.onnx`. `model.onnx.json` describes inputs and labels.",
        f"It reads, in this order: {', '.join(fields)}. Texts are given as plain text (the "
        "backend removes HTML tags before). Images are turned as their EXIF data says, and what "
        "is transparent is put on white.",
        _outputs(head),
        _table("Property", "Value", _facts(head, data, trained)),
        "## Labels",
        *_label_table(labels, head, data),
        "## Quality",
        _quality(data.estimate),
        f"On {compared.tasks} tasks of the project its answers differ by at most "
        f"{compared.difference:.1g} from those of encoder and head (allowed: {TOLERANCE:g}), and "
        f"by at most {compared.from_stored:.1g} from those that the backend gives, which stores "
        "embeddings in half precision.",
        "## Versions",
        _table("Package", "Version", _versions()),
    ]
    return "\n\n".join(parts) + "\n"


def _facts(head: TrainedHead, data: DataSummary, trained: str) -> list[tuple[str, Any]]:
    return [
        ("Head", f"{head.version}, trained {trained}"),
        ("Temperature", f"{head.metadata.hyperparameters.temperature:.6g} (in the graph)"),
        ("Encoder", head.metadata.config.encoder),
        ("Training labels of the project at the export", len(data.training)),
        ("Audit labels, which train nothing", len(data.audit)),
        ("Fingerprint of the labels and their contents", data.fingerprint),
        ("Exported", _date(time.time())),
    ]


def _outputs(head: TrainedHead) -> str:
    if head.problem_type == "regression":
        bounds = head.metadata.config.bounds
        limits = f", within {bounds[0]:g} and {bounds[1]:g}" if bounds else ""
        return f"Its output `prediction` (n, 1) holds a number for each row{limits}."
    rule = (
        "they sum to 1, and the answer is the greatest"
        if head.problem_type == "classification"
        else "each label is on its own, and chosen from 0.5 on"
    )
    return f"Its output `probabilities` (n, labels) is calibrated; {rule}. `logits` precede them."


def _label_table(labels: Sequence[str], head: TrainedHead, data: DataSummary) -> list[str]:
    if not labels:
        low, high = min(data.training, default=0.0), max(data.training, default=0.0)
        return [f"{len(data.training)} numbers from {low:g} to {high:g} to train on."]
    counted = [_counts(data.training), _counts(data.audit)]
    rows = [(f"{label} | {counted[0][label]}", counted[1][label]) for label in labels[:MOST_LABELS]]
    parts = [_table("Label | Training labels", "Audit labels", rows)]
    if len(labels) > MOST_LABELS:
        parts.append(f"And {len(labels) - MOST_LABELS} more.")
    if unseen := [label for label in labels if label not in head.classes]:
        parts.append(f"Never answered, as the head has seen no example: {', '.join(unseen)}.")
    return parts


def _counts(labels: Sequence[Any]) -> Counter[str]:
    return Counter(
        name for label in labels for name in (label if isinstance(label, list) else [str(label)])
    )


def _quality(estimate: Estimate | None) -> str:
    if estimate is None:
        return "It is not measured: the project has too few audit labels."
    return (
        f"By {estimate.n} audit labels: {estimate.metric} {estimate.value:.3f}, with 95 % "
        f"confidence from {estimate.low:.3f} to {estimate.high:.3f} ({estimate.method})."
    )


def _versions() -> list[tuple[str, Any]]:
    found = [("Python", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def _table(left: str, right: str, rows: Sequence[tuple[str, Any]]) -> str:
    line = " | ".join("---" for _ in f"{left} | {right}".split("|"))
    return "\n".join(
        [f"| {left} | {right} |", f"| {line} |", *(f"| {name} | {value} |" for name, value in rows)]
    )


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))
