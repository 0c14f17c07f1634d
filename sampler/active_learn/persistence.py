"""State on disk: one npz file of arrays and a JSON text, written in one step."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .errors import StateError
from .sklearn_interface import Parameters

if TYPE_CHECKING:
    from .models import EmbeddingHead, ModelOutput

__all__ = ["Persistent", "read_state", "write_state"]

S = TypeVar("S", bound="Persistent")

FORMAT = "active_learn state"
VERSION = 1
OUTPUT_PARTS = ("logits", "embedding", "targets", "noise")


Groups = dict[str, dict[str, np.ndarray]]


def write_state(path: str | os.PathLike[str], meta: dict[str, Any], groups: Groups) -> None:
    """Write a state, replacing an earlier one in one step.

    Parameters
    ----------
    path : path of the file
    meta : dict
        Values that JSON can hold.
    groups : dict of dict of ndarray
        Arrays by group and name; in the file they are called ``group.name``.

    Raises
    ------
    StateError
        When its folder is missing.
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise StateError(f"there is no folder {target.parent}; make it first")
    arrays = {
        f"{group}.{name}": array for group, named in groups.items() for name, array in named.items()
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
    """Return what `write_state` wrote, without the groups that have no arrays.

    Raises
    ------
    StateError
        When the file is missing, damaged, of another kind or of a later version.
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
    """Return model outputs as a group of arrays."""
    parts = {name: getattr(output, name) for name in OUTPUT_PARTS}
    return {name: part.cpu().numpy() for name, part in parts.items() if part is not None}


def unpack_output(group: dict[str, np.ndarray]) -> ModelOutput:
    """Return the model outputs of a group."""
    import torch

    from .models import ModelOutput

    return ModelOutput(
        **{name: torch.from_numpy(group[name]) for name in OUTPUT_PARTS if name in group}
    )


def recompute_logits(groups: Groups, head: EmbeddingHead) -> None:
    """Replace saved logits by those of a head that was trained further since.

    A head on embeddings reads the embedding itself, which is saved. So a stream continues under a
    new head, also one of other classes, as if that had been its head from the start.

    Raises
    ------
    ValueError
        When the head reads embeddings of another size.
    """
    import torch

    for arrays in groups.values():
        for name in [name for name in arrays if name.endswith("embedding")]:
            of = name.removesuffix("embedding") + "logits"
            embedding = arrays[name]
            if embedding.shape[1] != head.sizes[0]:
                raise ValueError(
                    f"it holds embeddings of size {embedding.shape[1]}, the head reads "
                    f"{head.sizes[0]}"
                )
            logits = head(torch.from_numpy(embedding)).logits.cpu().numpy()
            same = logits.shape == arrays[of].shape and np.allclose(logits, arrays[of], atol=1e-5)
            if not same:  # the same head keeps the saved bits
                arrays[of] = logits


class Persistent(Parameters):
    """Saving and loading, for a class with a `SelectionProblem` and a stream in progress."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model outputs of labeled data and the stream in progress to one file.

        The file holds arrays and JSON, no pickle and no model, and is replaced in one step.
        """
        problem = self.problem
        meta: dict[str, Any] = {
            "arguments": {
                "problem_type": problem.problem_type,
                "budget": problem.budget,
                "precompute_covariance": problem.precompute_covariance,
                "seed_fisher": problem.seed_fisher,
                "strategy": problem.strategy.name,
                "max_conditioned": problem.max_conditioned,
                **self._strategy_parameters(),
            },
            "random_state": str(problem.seed),
        }
        groups = {}
        if problem.labeled is not None:
            groups["labeled"] = pack_output(problem.labeled)
        if self._stream is not None:
            meta["stream"], groups["stream"] = self._stream.state()
        write_state(path, meta, groups)

    @classmethod
    def load(cls: type[S], path: str | os.PathLike[str], model: Any, **arguments: Any) -> S:
        """Return the sampler of a saved state.

        Parameters
        ----------
        path : path of the file
        model
            The model, which is not part of the state. It has to be the same one as before, except
            that a head on embeddings may have been trained further, also on other classes.
        **arguments
            ``device``, ``batch_size``, ``progress`` and ``layer``, as for a new sampler; also
            ``problem_type``, where outputs of the model have other numbers of logits by now.

        Raises
        ------
        StateError
            When the file is missing, damaged, foreign, or does not fit together.
        """
        from .models import EmbeddingHead

        meta, groups = read_state(path)
        try:
            if isinstance(model, EmbeddingHead):
                recompute_logits(groups, model)
            labeled = unpack_output(groups["labeled"]) if "labeled" in groups else None
            seed = int(meta["random_state"])
            given = {"model": model, "labeled_data": labeled, "random_state": seed}
            sampler = cls(**{**given, **meta["arguments"], **arguments})
            if "stream" in meta:
                stream = sampler.problem.begin_stream(meta["stream"]["total"])
                stream.restore(meta["stream"], groups["stream"], sampler.problem.device)
                sampler._stream = stream
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"the state at {path} does not fit together ({error}); save it again"
            ) from error
        return sampler
