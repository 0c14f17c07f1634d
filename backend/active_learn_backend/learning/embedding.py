"""Embeds the tasks of one project, through the cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ..errors import ContentError
from ..labelstudio.config import LabelingTask
from ..settings import Settings
from .cache import EmbeddingCache
from .encoders import TaskEncoder, configured_encoders
from .heads.base import Head
from .own_models import OwnModel, load_own_model

__all__ = ["TaskEmbedder", "project_folder"]

log = logging.getLogger(__name__)

TELL_EVERY = 5.0  # seconds between two lines about the progress
CHUNK = 64  # tasks between two writes to the cache: what a crash can cost


def project_folder(settings: Settings, project_id: int) -> Path:
    """Folder of a project's embeddings and heads."""
    return settings.model_dir / "projects" / str(project_id)


class TaskEmbedder:
    """The encoder of a labeling task, in front of it the project's embedding cache.

    The encoder is the team's own model, where the setting ``model`` names one, else one for each
    kind of content by the setting ``encoder``.

    Parameters
    ----------
    load : callable
        Bytes of an image, from its address in a task.

    Attributes
    ----------
    fixed_head : Head or None
        Of an own model that is used as it is: what answers instead of a trained head.
    n_features : int
        Length of the vectors.
    fingerprint : str
        Names everything that the vectors depend on: a head answers only for vectors of the
        fingerprint that it was trained on.

    Raises
    ------
    SettingsError
        When the settings name a model or encoder that cannot be used for this task.
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        load: Callable[[str], bytes],
    ) -> None:
        self._project_id = project_id
        self.fixed_head: Head | None = None
        self._encoder: TaskEncoder | OwnModel
        if settings.model:
            self._encoder = load_own_model(settings, task, load)
            self.fixed_head = self._encoder.head()
        else:
            encoders = configured_encoders(settings, {field.kind for field in task.fields})
            self._encoder = TaskEncoder(task.fields, load, encoders)
        self.fingerprint = self._encoder.fingerprint
        self.n_features = self._encoder.n_features
        folder = project_folder(settings, project_id) / "embeddings" / self.fingerprint
        self._cache = EmbeddingCache(folder, self.n_features)

    def embed(
        self,
        contents: Sequence[Mapping[str, Any]],
        keys: Sequence[str],
        checkpoint: Callable[[int, int], None] = lambda done, of: None,
    ) -> tuple[npt.NDArray[np.float32], list[int], dict[int, ContentError]]:
        """Embed tasks, computing only what the cache does not hold.

        Parameters
        ----------
        contents, keys : sequences of length n
            What the encoder reads of each task, and its digest.
        checkpoint : callable
            Called before each chunk that is computed, with how many of how many are done; what it
            raises stops the work.

        Returns
        -------
        embeddings : array of shape (m, d)
            Of the tasks that could be embedded.
        usable : list of int, length m
            Their positions.
        failed : dict
            The reason, by position, of tasks whose content cannot be loaded.
        """
        # Texts of one length together, so that little is padded; the longest first, so that
        # memory runs out at once or never.
        missing = sorted(self._cache.missing(keys), key=lambda at: -_length(contents[at]))
        failed: dict[str, ContentError] = {}
        began = told = time.monotonic()
        for start in range(0, len(missing), CHUNK):
            checkpoint(start, len(missing))
            if time.monotonic() - told > TELL_EVERY:
                told = time.monotonic()
                bar = tqdm.format_meter(start, len(missing), told - began, unit=" tasks")
                log.info("project %s: embedding %s", self._project_id, bar)
            chunk = missing[start : start + CHUNK]
            vectors, errors = self._encoder.encode([contents[at] for at in chunk])
            good = [row for row in range(len(chunk)) if row not in errors]
            self._cache.add([keys[chunk[row]] for row in good], vectors[good])
            failed |= {keys[chunk[row]]: error for row, error in errors.items()}
        usable = [at for at, key in enumerate(keys) if key not in failed]
        embeddings = self._cache.get([keys[at] for at in usable])
        return embeddings, usable, {at: failed[k] for at, k in enumerate(keys) if k in failed}


def _length(content: Mapping[str, Any]) -> int:
    return sum(len(value) for value in content.values() if isinstance(value, str))
