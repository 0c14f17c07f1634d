"""Trained heads on disk: one ``head-<round>.safetensors`` a round, written in one step.

A file holds the heads of one round, each under the name of the task that it answers for; a head
that works alone may have none. The name of the file is derived from its round here, and nowhere
else.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from ..errors import StateError
from .base import FloatArray

__all__ = [
    "StoredHead",
    "head_name",
    "head_path",
    "prune_heads",
    "read_file",
    "round_of_head",
    "saved_heads",
    "write_file",
]

#: Metadata as JSON, weight and bias.
StoredHead = tuple[str, FloatArray, FloatArray]

PREFIX, SUFFIX = "head-", ".safetensors"


def head_name(round: int) -> str:
    """Return the name of the head of a round; that of round 0 stands for no head."""
    return f"{PREFIX}{round}"


def round_of_head(name: str) -> int | None:
    """Return the round of a head by its name, or None for any other name."""
    match = re.fullmatch(rf"{PREFIX}(0|[1-9][0-9]{{0,8}})", name)
    return int(match[1]) if match else None


def head_path(folder: Path, round: int) -> Path:
    """Return the file of the head of one round."""
    return folder / f"{head_name(round)}{SUFFIX}"


def write_file(path: Path, heads: Mapping[str, StoredHead]) -> None:
    """Write heads by name, completely or not at all; make the folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = {"digest": _digest(heads)}
    tensors: dict[str, FloatArray] = {}
    for name, (metadata, weight, bias) in heads.items():
        texts[_key(name, "metadata")] = metadata
        tensors |= {_key(name, "weight"): weight, _key(name, "bias"): bias}
    data = save_tensors(tensors, metadata=texts)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def read_file(path: Path) -> dict[str, StoredHead]:
    """Read heads by name: metadata, weight and bias, as they were written.

    Raises
    ------
    StateError
        When the file is missing, damaged, of an earlier format, or no head.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            texts = file.metadata() or {}
            names = sorted(key.rpartition("/")[0] for key in texts if _is_metadata(key))
            lacks = [] if names else ["metadata"]
            if missing := lacks + ([] if "digest" in texts else ["digest"]):
                raise ValueError(
                    f"it has no {' and no '.join(missing)}: "
                    "an earlier version of this software wrote it, or it is no head"
                )
            heads = {
                name: (
                    texts[_key(name, "metadata")],
                    file.get_tensor(_key(name, "weight")),
                    file.get_tensor(_key(name, "bias")),
                )
                for name in names
            }
        for _, weight, bias in heads.values():
            if weight.dtype != np.float32 or bias.dtype != np.float32:
                raise ValueError(f"its weights are {weight.dtype} and {bias.dtype}, not float32")
        if texts["digest"] != _digest(heads):
            raise ValueError("its content is not what was written")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"the head {path.name} cannot be read ({str(error).partition(chr(10))[0]}); "
            "the next round trains a new one"
        ) from error
    return heads


def saved_heads(folder: Path) -> list[int]:
    """List the rounds whose heads are saved, newest first."""
    rounds = (round_of_head(path.stem) for path in folder.glob(f"{PREFIX}*{SUFFIX}"))
    return sorted((round for round in rounds if round is not None), reverse=True)


def prune_heads(folder: Path, keep: int, also: Collection[int] = ()) -> None:
    """Remove all heads but the newest ``keep`` and those of the rounds ``also``."""
    for number in saved_heads(folder)[keep:]:
        if number not in also:
            head_path(folder, number).unlink(missing_ok=True)


def _key(name: str, part: str) -> str:
    """Return the key of a part of a head in its file; of one without a name that of the part."""
    return f"{name}/{part}" if name else part


def _is_metadata(key: str) -> bool:
    return key.rpartition("/")[2] == "metadata"


def _digest(heads: Mapping[str, StoredHead]) -> str:
    """Compute the SHA-256 of names, metadata and tensors, which finds a flipped bit."""
    state = hashlib.sha256()
    for name, (metadata, weight, bias) in sorted(heads.items()):
        state.update(name.encode())
        state.update(metadata.encode())
        for tensor in (weight, bias):
            state.update(str(tensor.shape).encode())
            state.update(np.ascontiguousarray(tensor).tobytes())
    return state.hexdigest()
