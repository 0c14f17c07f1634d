"""State on disk: one npz file of arrays and one JSON text, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .errors import StateError
from .models import LinearHead, ModelOutput

__all__ = ["pack_output", "read_state", "retake_logits", "unpack_output", "write_state"]

FORMAT = "active_learn state"
VERSION = 1


Groups = dict[str, dict[str, np.ndarray]]


def write_state(path: str | os.PathLike[str], meta: dict[str, Any], groups: Groups) -> None:
    """Write a state, replacing an earlier one in one step.

    Parameters
    ----------
    path : path of the file
    meta : dict
        What JSON can hold.
    groups : dict of dict of ndarray
        Arrays by group and name; in the file they are called ``group.name``.
    """
    target = Path(path)
    arrays = {
        f"{group}.{name}": array for group, held in groups.items() for name, array in held.items()
    }
    text = json.dumps({"format": FORMAT, "version": VERSION, **meta})
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(
                file, allow_pickle=False, meta=np.frombuffer(text.encode(), np.uint8), **arrays
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def read_state(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Groups]:
    """Read what `write_state` wrote; groups without arrays are not there.

    Raises
    ------
    StateError
        When there is no such file, or it is damaged, foreign or of a later version.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes().decode())
    except FileNotFoundError as error:
        raise StateError(f"there is no state at {path}; save one first") from error
    except (OSError, EOFError, ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise StateError(
            f"the state at {path} is damaged or no state ({error}); save it again"
        ) from error
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise StateError(f"the file at {path} is no state of ActiveSampler; save one first")
    if meta.get("version") != VERSION:
        raise StateError(
            f"the state at {path} has version {meta.get('version')}, this release reads "
            f"{VERSION}; update the package"
        )
    groups: Groups = {}
    for key, array in arrays.items():
        group, _, name = key.partition(".")
        groups.setdefault(group, {})[name] = array
    return meta, groups


def pack_output(output: ModelOutput) -> dict[str, np.ndarray]:
    """Give model outputs as a group of arrays."""
    return {"logits": output.logits.cpu().numpy(), "embedding": output.embedding.cpu().numpy()}


def unpack_output(group: dict[str, np.ndarray], device: torch.device) -> ModelOutput:
    """Give the model outputs of a group."""
    logits, embedding = (torch.from_numpy(group[name]) for name in ("logits", "embedding"))
    return ModelOutput(logits.to(device), embedding.to(device))


def retake_logits(groups: Groups, head: LinearHead) -> None:
    """Replace saved logits by those of a head that was trained on since.

    What a linear head reads is the embedding itself, which is saved: so a stream goes on under a
    new head, also one of other classes, as if that had been its head all along.

    Raises
    ------
    ValueError
        When the head reads embeddings of another size.
    """
    for arrays in groups.values():
        for name in [name for name in arrays if name.endswith("embedding")]:
            of = name.removesuffix("embedding") + "logits"
            embedding = arrays[name]
            if embedding.shape[1] != head.weight.shape[1]:
                raise ValueError(
                    f"it holds embeddings of size {embedding.shape[1]}, the head reads "
                    f"{head.weight.shape[1]}"
                )
            logits = head(torch.from_numpy(embedding)).logits.cpu().numpy()
            same = logits.shape == arrays[of].shape and np.allclose(logits, arrays[of], atol=1e-5)
            if not same:  # under the same head the bits stay as they were
                arrays[of] = logits
