"""Embeds the tasks of one project, through the cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ContentError
from ..labelstudio.config import LabelingTask
from ..settings import Settings
from .cache import EmbeddingCache
from .encoders import TaskEncoder

__all__ = ["TaskEmbedder", "project_folder"]

log = logging.getLogger(__name__)

TELL_EVERY = 5.0  # seconds between two lines about the progress
CHUNK = 64  # tasks between two writes to the cache: what a crash can cost


def project_folder(settings: Settings, project_id: int) -> Path:
    """Folder of a project's embeddings and heads."""
    return settings.model_dir / "projects" / str(project_id)


class TaskEmbedder:
    """The encoder of a labeling task, in front of it the project's embedding cache.

    Parameters
    ----------
    load : callable
        Bytes of an image, from its address in a task.
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        load: Callable[[str], bytes],
    ) -> None:
        fields = [(field.name, field.kind) for field in task.fields]
        self._encoder = TaskEncoder(fields, load, settings.max_image_megapixels)
        folder = project_folder(settings, project_id) / "embeddings" / self._encoder.fingerprint
        self._cache = EmbeddingCache(folder, self._encoder.n_features)

    def embed(
        self,
        contents: Sequence[Mapping[str, Any]],
        keys: Sequence[str],
        checkpoint: Callable[[], None] = lambda: None,
    ) -> tuple[npt.NDArray[np.float32], list[int], dict[int, ContentError]]:
        """Embed tasks, computing only what the cache does not hold.

        Parameters
        ----------
        contents, keys : sequences of length n
            What the encoder reads of each task, and its digest.
        checkpoint : callable
            Called before each chunk that is computed; what it raises stops the work.

        Returns
        -------
        embeddings : array of shape (m, d)
            Of the tasks that could be embedded.
        usable : list of int, length m
            Their positions.
        failed : dict
            The reason, by position, of tasks whose content cannot be loaded.
        """
        missing = self._cache.missing(keys)
        failed: dict[str, ContentError] = {}
        told = time.monotonic()
        for start in range(0, len(missing), CHUNK):
            checkpoint()
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                log.info("embedded %d of %d tasks", start, len(missing))
            chunk = missing[start : start + CHUNK]
            vectors, errors = self._encoder.encode([contents[at] for at in chunk])
            good = [row for row in range(len(chunk)) if row not in errors]
            self._cache.add([keys[chunk[row]] for row in good], vectors[good])
            failed |= {keys[chunk[row]]: error for row, error in errors.items()}
        usable = [at for at, key in enumerate(keys) if key not in failed]
        embeddings = self._cache.get([keys[at] for at in usable])
        return embeddings, usable, {at: failed[k] for at, k in enumerate(keys) if k in failed}
