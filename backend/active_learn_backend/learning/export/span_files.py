"""Writes the head of a control that labels spans as a folder that finds them without the backend.

What finds words, describes them and decodes their tags are our own modules, which import nothing
else of ours: they are copied, so that the folder computes what the backend computes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from active_learn.errors import ModelError
from active_learn.heads import NestedTaggingHead, TaggingHead, TrainedTagger, transitions
from safetensors.numpy import save_file

from ...errors import SettingsError
from ...labeling.config import Field
from ...labeling.controls import RegionTag
from ..encoders import word_states
from ..encoders.word_states import WordStates
from ..heads.region_heads import find_regions
from ..regions import words
from ..regions.embedder import PartsOfField
from ..regions.kinds import MOST_WORDS, WordEncoder
from ..regions.parts import TaskParts, in_memory
from .comparison import TOLERANCE, Comparison
from .span_example import CARD, EMBEDDED, EXAMPLE, OF_MODEL

__all__ = ["check_spans", "write_spans"]

SECONDS = 600  # that the example may take for the tasks on which it is checked
# What a copied module needs of ours, and what stands in its place.
OWN_IMPORTS = {
    "from ...errors import SettingsError\n": "SettingsError = ValueError\n",
    "from .base import FloatArray\n": "FloatArray = npt.NDArray[np.float32]\n",
}


def check_spans(control: RegionTag, field: Field, source: PartsOfField) -> WordStates | None:
    """Return what makes the states of words; None where they are known without a model.

    Raises
    ------
    SettingsError
        When the head of this control cannot be exported.
    """
    if control.tag != "Labels" or field.kind != "text":
        raise SettingsError(
            f"the head of '{control.from_name}' is not exported: of regions only those of <Labels> "
            "on <Text> are"
        )
    encoder = source.encoder
    states = encoder.states if isinstance(encoder, WordEncoder) else None
    if states is not None and type(states) is not WordStates:
        raise SettingsError(
            f"the head of '{control.from_name}' is not exported: it reads the states of your own "
            "model; with ENCODER, or without a model, it is"
        )
    return states


def write_spans(
    folder: Path,
    control: RegionTag,
    field: Field,
    head: TrainedTagger,
    source: PartsOfField,
    contents: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Write the files, and check the spans that they find.

    Raises
    ------
    SettingsError
        When the head of this control cannot be exported.
    ModelError
        When the folder finds other spans than the backend.
    """
    states = check_spans(control, field, source)
    folder.mkdir(parents=True, exist_ok=True)
    layers = {"spans": head}
    if isinstance(head, NestedTaggingHead):
        layers = {"spans": head.outer, "within": head.inner}
    described: dict[str, Any] = {"labels": head.labels_offered, "most_words": MOST_WORDS}
    tensors: dict[str, Any] = {}
    for name, one in layers.items():
        assert isinstance(one, TaggingHead)
        tensors |= {f"{name}.weight": one.weight, f"{name}.bias": one.bias}
        fields = {"classes", "starts", "pairs", "strength"}
        described[name] = one.metadata.model_dump(include=fields)
    modules = [words, transitions] + [word_states] * (states is not None)
    if states is not None:
        described["max_length"] = states.length
        states.save(folder / "encoder")
    for module in modules:
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        for ours, instead in OWN_IMPORTS.items():
            text = text.replace(ours, instead)
        name = module.__name__.rpartition(".")[2]
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()},
              folder / "head.safetensors")  # fmt: skip
    (folder / "head.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    example = EXAMPLE.replace("#FEATURES#", EMBEDDED if states is None else OF_MODEL)
    (folder / "example.py").write_text(example, encoding="utf-8")
    compared = _compare(folder, control, field, head, source, contents)
    card = CARD.format(
        control=control.from_name,
        labels=", ".join(head.labels_offered),
        version=head.version,
        encoder=head.metadata.config.encoder,
        tasks=compared.tasks,
        difference=compared.difference,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return compared


def _compare(
    folder: Path,
    control: RegionTag,
    field: Field,
    head: TrainedTagger,
    source: PartsOfField,
    contents: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Compare the spans of the folder with those of the backend."""
    parts, failed = source.encode(contents)
    known = [at for at in range(len(contents)) if at not in failed]
    stored = in_memory([_as_stored(parts[at]) for at in known], source.n_features)
    kind = source.kind.for_control(control)
    texts = [contents[at][field.name] for at in known]
    given = find_regions(head, kind, stored)
    found = _run(folder, texts)
    expected = [[list(one[:3]) for one in each.regions] for each in given]
    spans = [[[one["start"], one["end"], one["label"]] for one in each] for each in found]
    scores = [one.score for each in given for one in each.regions]
    differences = [0.0]
    if spans == expected:
        others = [one["score"] for each in found for one in each]
        differences += [abs(a - b) for a, b in zip(scores, others, strict=True)]
    if spans != expected or max(differences) > TOLERANCE:
        raise ModelError(
            f"the folder finds other spans than the backend (their scores differ by "
            f"{max(differences):.2g}), so nothing is written; report this with the encoder's name"
        )
    return Comparison(len(known), max(differences), max(differences))


def _as_stored(parts: TaskParts) -> TaskParts:
    """Return parts as the cache keeps them, in half precision."""
    return TaskParts(parts.features.astype(np.float16).astype(np.float32), parts.places)


def _run(folder: Path, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return what the example finds in some texts, as a program of its own."""
    command = [sys.executable, str(folder / "example.py"), "-"]
    try:
        done = subprocess.run(
            command, input=json.dumps(texts), text=True, capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"example.py did not end within {SECONDS} seconds") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1][:200]
        raise ModelError(f"example.py ends with an error: {reason}")
    answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return answers
