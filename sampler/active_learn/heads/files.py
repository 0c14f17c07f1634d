"""Trained heads on disk: one ``head-<round>.safetensors`` each, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_tensors

from ..errors import StateError
from .base import FloatArray

__all__ = ["head_name", "head_path", "prune_heads", "read_file", "saved_heads", "write_file"]

PREFIX, SUFFIX = "head-", ".safetensors"


def head_name(round: int) -> str:
    """Return the name of the head of a round; that of round 0 stands for no head."""
    return f"{PREFIX}{round}"


def head_path(folder: Path, round: int) -> Path:
    """File of the head of one round."""
    return folder / f"{head_name(round)}{SUFFIX}"


def write_file(path: Path, description: str, weight: FloatArray, bias: FloatArray) -> None:
    """Write a head, whole or not at all; makes the folder if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"description": description, "digest": _digest(description, weight, bias)}
    data = save_tensors({"weight": weight, "bias": bias}, metadata=metadata)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(file.name, path)


def read_file(path: Path) -> tuple[str, FloatArray, FloatArray]:
    """Read description, weight and bias, as they were written.

    Raises
    ------
    StateError
        When the file is missing, damaged, or of another kind.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            description, digest = metadata["description"], metadata["digest"]
            weight, bias = (file.get_tensor(name) for name in ("weight", "bias"))
        if weight.dtype != np.float32 or bias.dtype != np.float32:
            raise ValueError(f"its weights are {weight.dtype} and {bias.dtype}, not float32")
        if digest != _digest(description, weight, bias):
            raise ValueError("what it holds is not what was written")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StateError(
            f"the head {path.name} cannot be read ({str(error).partition(chr(10))[0]}); "
            "the next round trains a new one"
        ) from error
    return description, weight, bias


def saved_heads(folder: Path) -> list[int]:
    """Give the rounds whose heads are kept, newest first."""
    rounds = [path.stem.removeprefix(PREFIX) for path in folder.glob(f"{PREFIX}*{SUFFIX}")]
    numbers = [int(number) for number in rounds if number.isascii() and number.isdigit()]
    return sorted(numbers, reverse=True)


def prune_heads(folder: Path, keep: int, also: Collection[int] = ()) -> None:
    """Remove all heads but the newest ``keep`` and those of the rounds ``also``."""
    for number in saved_heads(folder)[keep:]:
        if number not in also:
            head_path(folder, number).unlink(missing_ok=True)


def _digest(description: str, weight: FloatArray, bias: FloatArray) -> str:
    """SHA-256 of all that the file says, by which a flipped bit is found."""
    state = hashlib.sha256(description.encode())
    for tensor in (weight, bias):
        state.update(str(tensor.shape).encode())
        state.update(np.ascontiguousarray(tensor).tobytes())
    return state.hexdigest()
