"""Writes the head of a control that labels regions as a folder that finds them without the backend.

What finds the parts of a content, describes them and makes regions of their tags are our own
modules: they are copied, so that the folder computes what the backend computes.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
from active_learn.errors import ModelError
from active_learn.heads import (
    NestedTaggingHead,
    TaggingHead,
    TrainedTagger,
    overlaps,
    transitions,
)
from safetensors.numpy import save_file

from ...errors import ContentError
from ...labeling.controls import RegionTag
from ...labeling.regions import ScoredRegion
from ..heads.region_heads import find_regions
from ..regions.embedder import PartsOfField
from ..regions.parts import TaskParts, in_memory
from .comparison import TOLERANCE, Comparison
from .region_example import CARD

__all__ = ["RegionFiles", "write_regions"]

SECONDS = 600  # that the example may take for the tasks on which it is checked
# What the copied modules import of ours stands beside them.
OF_OURS = re.compile(r"^( *)from \.+[\w.]*?(\w+) import ", re.MULTILINE)
# What stands in place of modules of which they need little.
INSTEAD = {
    "errors": '''"""Errors that the other modules raise."""


class SettingsError(ValueError):
    """The encoder cannot be used."""


class ContentError(ValueError):
    """A content cannot be read."""

    def __init__(self, message, cause=""):
        super().__init__(message)
''',
    "base": '''"""Types that the other modules use."""

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Encoder:
    """What other encoders derive from."""
''',
    "process": '''"""Decodes files, in this process."""

AT_ONCE = 2


def require_decoder(kind):
    """The example says what it needs."""


def decode(kind, data, rate, seconds):
    from audio import decode_audio

    return decode_audio(data, rate, seconds)
''',
}


@dataclass(frozen=True)
class RegionFiles:
    """What a folder is made of that finds the regions of a control.

    Attributes
    ----------
    title, parts, usage : str
        What the model card says: what is found, in which parts, and how.
    modules : sequence of modules
        That are copied, beside those of label transitions and overlaps.
    example : str
    given : callable
        Gives what the example is told of a task: from its content, and the path of a file that it
        may write.
    value : callable
        Gives what the example says of a region beside label and score: from the region and the
        content of its task.
    described : mapping
        What ``head.json`` says beside the labels.
    encoder : PatchStates or WordStates, optional
        Written into ``encoder/``.
    """

    title: str
    parts: str
    usage: str
    modules: Sequence[ModuleType]
    example: str
    given: Callable[[Mapping[str, Any], Path], str]
    value: Callable[[ScoredRegion, Mapping[str, Any]], Mapping[str, Any]]
    described: Mapping[str, Any] = field(default_factory=dict)
    encoder: Any = None


def write_regions(
    folder: Path,
    files: RegionFiles,
    control: RegionTag,
    head: TrainedTagger,
    source: PartsOfField,
    contents: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Write the files, and check the regions that they find.

    Raises
    ------
    ModelError
        When the folder finds other regions than the backend.
    ContentError
        When none of the tasks can be read to check that.
    """
    folder.mkdir(parents=True, exist_ok=True)
    layers = {"parts": head}
    described: dict[str, Any] = {"labels": head.labels_offered, **files.described}
    if isinstance(head, NestedTaggingHead):
        layers = {"parts": head.outer, "overlapping": head.inner}
        described["relations"] = head.metadata.relations
    tensors: dict[str, Any] = {}
    for name, one in layers.items():
        assert isinstance(one, TaggingHead)
        tensors |= {f"{name}.weight": one.weight, f"{name}.bias": one.bias}
        fields = {"classes", "starts", "pairs", "strength"}
        described[name] = one.metadata.model_dump(include=fields)
    save_file({name: np.ascontiguousarray(one) for name, one in tensors.items()},
              folder / "head.safetensors")  # fmt: skip
    (folder / "head.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    if files.encoder is not None:
        files.encoder.save(folder / "encoder")
    _copy(folder, [transitions, overlaps, *files.modules])
    (folder / "example.py").write_text(files.example, encoding="utf-8")
    compared = _compare(folder, files, control, head, source, contents)
    card = CARD.format(
        title=files.title,
        control=control.from_name,
        labels=", ".join(head.labels_offered),
        version=head.version,
        parts=files.parts,
        encoder=head.metadata.config.encoder,
        tasks=compared.tasks,
        difference=compared.difference,
        usage=files.usage,
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    return compared


def _copy(folder: Path, modules: Sequence[ModuleType]) -> None:
    """Write modules beside each other, and what stands in place of what else they import."""
    needed = set()
    for module in modules:
        text = Path(str(module.__file__)).read_text(encoding="utf-8")
        needed |= {name for _, name in OF_OURS.findall(text)} & set(INSTEAD)
        name = module.__name__.rpartition(".")[2]
        text = OF_OURS.sub(r"\1from \2 import ", text)
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    for name in needed:
        (folder / f"{name}.py").write_text(INSTEAD[name], encoding="utf-8")


def _compare(
    folder: Path,
    files: RegionFiles,
    control: RegionTag,
    head: TrainedTagger,
    source: PartsOfField,
    contents: Sequence[Mapping[str, Any]],
) -> Comparison:
    """Compare the regions of the folder with those of the backend."""
    kind = source.kind.for_control(control)
    given, expected = [], []
    reason: Any = "there are none"
    with TemporaryDirectory() as scratch:
        for at, content in enumerate(contents):  # one by one, as the example does
            parts, failed = source.encode([content])
            if failed:
                reason = failed[0]
                continue
            given.append(files.given(content, Path(scratch) / str(at)))
            stored = in_memory([_as_stored(parts[0])], source.n_features)
            (answer,) = find_regions(head, kind, stored)
            expected.append([
                {"label": one.label, "score": one.score, **files.value(one, content)}
                for one in answer.regions
            ])  # fmt: skip
        if not given:
            raise ContentError(f"none of {len(contents)} tasks can be read to check it: {reason}")
        found = _run(folder, given)
    difference = _difference(found, json.loads(json.dumps(expected)))
    if not difference <= TOLERANCE:
        raise ModelError(
            f"the folder finds other regions than the backend (their scores differ by "
            f"{difference:.2g}), so nothing is written; report this with the encoder's name"
        )
    return Comparison(len(given), difference, difference)


def _difference(found: list[list[dict[str, Any]]], expected: list[list[dict[str, Any]]]) -> float:
    """Return by how much the scores of regions differ; 1 where the regions do."""
    scores = [[one.pop("score") for each in some for one in each] for some in (found, expected)]
    if found != expected:
        return 1.0
    return max([0.0, *(abs(a - b) for a, b in zip(*scores, strict=True))])


def _as_stored(parts: TaskParts) -> TaskParts:
    """Return parts as the cache keeps them, in half precision."""
    return TaskParts(parts.features.astype(np.float16).astype(np.float32), parts.places)


def _run(folder: Path, given: Sequence[str]) -> list[list[dict[str, Any]]]:
    """Return what the example finds in some tasks, as a program of its own."""
    command = [sys.executable, str(folder / "example.py"), "-"]
    try:
        done = subprocess.run(
            command, input=json.dumps(given), text=True, capture_output=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(f"example.py did not end within {SECONDS} seconds") from error
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason"])[-1][:200]
        raise ModelError(f"example.py ends with an error: {reason}")
    answers: list[list[dict[str, Any]]] = json.loads(done.stdout)
    return answers
