"""Embeds the tasks of one project on this machine, through the cache."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ...errors import ContentError
from ...labeling.config import LabelingTask
from ...settings import Settings
from ...state.folders import embeddings_folder
from ..encoders import TaskEncoder, configured_encoders, readable_fields
from ..encoders.deferred import DeferredTextEncoder
from ..user_models import (
    OwnHead,
    OwnModel,
    OwnRegionHead,
    UnitEmbeddings,
    finds_regions,
    load_own_model,
)
from .cache import EmbeddingCache

__all__ = [
    "CHUNK",
    "Contents",
    "Progress",
    "TaskEmbedder",
    "fill_cache",
    "load_encoder",
    "longest_first",
]

log = logging.getLogger(__name__)

TELL_EVERY = 5.0  # seconds between two lines about the progress
CHUNK = 64  # tasks between two writes to the cache: what a crash can cost

# What the encoder reads of the tasks at some positions.
Contents = Callable[[Sequence[int]], Sequence[Mapping[str, Any]]]


def load_encoder(
    settings: Settings, task: LabelingTask, load: Callable[..., bytes], *, deferred: bool = False
) -> TaskEncoder | OwnModel:
    """Load what makes vectors of tasks: the team's own model, else an encoder for each content.

    Raises
    ------
    SettingsError
        When the settings name a model or encoder that cannot be used for this task.
    """
    if settings.model and not finds_regions(settings):  # which makes no vectors
        return load_own_model(settings, task, load)
    fields = readable_fields(task.fields)
    encoders = configured_encoders(settings, {field.kind for field in fields}, deferred=deferred)
    return TaskEncoder(fields, load, encoders)


@lru_cache(maxsize=32)
def open_cache(folder: Path, n_features: int) -> EmbeddingCache:
    """Open a cache once a process: its index takes half a second with a million rows."""
    return EmbeddingCache(folder, n_features)


def longest_first(contents: Sequence[Mapping[str, Any]]) -> list[int]:
    """Order contents so that texts of one length come together, and little is padded.

    The longest come first, so that memory runs out at once or never.
    """
    return sorted(range(len(contents)), key=lambda at: -_length(contents[at]))


class Progress:
    """Logs now and then how far the embedding of a project is.

    Parameters
    ----------
    total : int
        Number of tasks to embed.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._began = self._told = time.monotonic()

    def tell(self, done: int) -> None:
        """Log the progress, if the last line was a while ago."""
        if time.monotonic() - self._told > TELL_EVERY:
            self._told = time.monotonic()
            bar = tqdm.format_meter(done, self._total, self._told - self._began, unit=" tasks")
            log.info("embedding %s", bar)


class TaskEmbedder:
    """The encoder of a labeling task, in front of it the project's embedding cache.

    The encoder is the team's own model, where the setting ``model`` names one, else one for each
    kind of content by the setting ``encoder``.

    Parameters
    ----------
    load : callable
        Bytes of an image, from its address in a task.
    deferred : bool
        An encoder of texts that was loaded before is loaded when something has to be embedded.

    Attributes
    ----------
    settings : Settings
        The project's own over those of the environment.
    project_id : int
    encoder : TaskEncoder or OwnModel
    cache : EmbeddingCache
        Of this project and encoder.
    fixed_heads : dict of OwnHead or OwnRegionHead
        Of an own model that is used as it is: what answers instead of a trained head, by the name
        of the control; empty without such a model.
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
        load: Callable[..., bytes],
        *,
        deferred: bool = False,
    ) -> None:
        self.settings, self.project_id = settings, project_id
        self.encoder = load_encoder(settings, task, load, deferred=deferred)
        self.fixed_heads: dict[str, OwnHead | OwnRegionHead] = {}
        if isinstance(self.encoder, OwnModel) and (head := self.encoder.head()):
            self.fixed_heads[self.encoder.control.from_name] = head
        self.fingerprint = self.encoder.fingerprint
        self.n_features = self.encoder.n_features
        folder = embeddings_folder(settings, project_id) / self.fingerprint
        self.cache = open_cache(folder.resolve(), self.n_features)

    def warm_up(self) -> None:
        """Load what was deferred.

        Raises
        ------
        SettingsError
            When it cannot be loaded.
        """
        for encoder in getattr(self.encoder, "encoders", ()):
            if isinstance(encoder, DeferredTextEncoder):
                encoder.loaded()

    def __len__(self) -> int:
        """Return how many contents are cached."""
        return len(self.cache)

    def read_by(self, control: str) -> tuple[str, int]:
        """Return fingerprint and length of what the trained head of a control reads."""
        own = self._own_head
        if own is None:
            return self.fingerprint, self.n_features
        return f"{self.fingerprint}-encoder", self.n_features - 2 * own.n_outputs

    def features(self, control: str, vectors: Any) -> Any:
        """Return what the head of a control reads of vectors (n, n_features).

        All of them; beside an own model that answers for another control, its embeddings in unit
        length, as of a model that is only an encoder.
        """
        own = self._own_head
        if own is None or control in self.fixed_heads:
            return vectors
        return UnitEmbeddings(vectors, own.n_outputs)

    @property
    def _own_head(self) -> OwnHead | None:
        """The head of an own model that makes the vectors."""
        heads = self.fixed_heads.values()
        return next((head for head in heads if isinstance(head, OwnHead)), None)

    def missing(self, keys: Sequence[str]) -> set[str]:
        """Return which keys are not cached."""
        return {keys[at] for at in self.cache.missing(keys)}

    def vectors(self, keys: Sequence[str]) -> Any:
        """Return cached vectors (n, n_features) that are read only as they are used.

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        return self.cache.vectors(keys)

    def get(self, keys: Sequence[str]) -> Any:
        """Return cached vectors in memory; else as `vectors`."""
        return self.cache.get(keys)

    def embed(
        self,
        contents: Sequence[Mapping[str, Any]],
        keys: Sequence[str],
        checkpoint: Callable[[int, int], None] = lambda done, of: None,
    ) -> tuple[Any, list[int], dict[int, ContentError]]:
        """Embed tasks, computing only what the cache does not hold.

        Parameters
        ----------
        contents, keys : sequences of length n
            What the encoder reads of each task, and its digest.
        checkpoint : callable
            See `fill`.

        Returns
        -------
        embeddings : array of shape (m, d)
            Of the tasks that could be embedded.
        usable : list of int, length m
            Their positions.
        failed : dict
            The reason, by position, of tasks whose content cannot be loaded.
        """
        failed = self.fill(keys, lambda some: [contents[at] for at in some], checkpoint)
        usable = [at for at, key in enumerate(keys) if key not in failed]
        embeddings = self.get([keys[at] for at in usable])
        return embeddings, usable, {at: failed[k] for at, k in enumerate(keys) if k in failed}

    def fill(
        self,
        keys: Sequence[str],
        contents: Contents,
        checkpoint: Callable[[int, int], None] = lambda done, of: None,
    ) -> dict[str, ContentError]:
        """Compute what the cache does not hold.

        Parameters
        ----------
        keys : sequence of length n
            Digests of what the encoder reads of each task.
        contents : callable
            Gives that of the tasks at some positions.
        checkpoint : callable
            Called before each chunk that is computed, with how many of how many are done; what it
            raises stops the work.

        Returns
        -------
        dict
            The reason, by key, of contents that cannot be loaded.
        """
        return fill_cache(self.cache, self.encoder.encode, keys, contents, checkpoint)


def fill_cache(
    cache: Any,
    encode: Callable[[list[Mapping[str, Any]]], tuple[Any, dict[int, ContentError]]],
    keys: Sequence[str],
    contents: Contents,
    checkpoint: Callable[[int, int], None],
) -> dict[str, ContentError]:
    """Compute what a cache does not hold, chunk by chunk; see `TaskEmbedder.fill`.

    Parameters
    ----------
    cache : EmbeddingCache or PartCache
    encode : callable
        Returns an array or a list with what the cache takes for each of some contents, and the
        reason, by position, of those that cannot be loaded.
    """
    missing = cache.missing(keys)
    found = contents(missing)
    order = longest_first(found)
    failed: dict[str, ContentError] = {}
    progress = Progress(len(missing))
    for start in range(0, len(missing), CHUNK):
        checkpoint(start, len(missing))
        progress.tell(start)
        chunk = order[start : start + CHUNK]
        chunk_keys = [keys[missing[at]] for at in chunk]
        rows, errors = encode([found[at] for at in chunk])
        good = [row for row in range(len(chunk)) if row not in errors]
        kept = rows[good] if isinstance(rows, np.ndarray) else [rows[row] for row in good]
        cache.add([chunk_keys[row] for row in good], kept)
        failed |= {chunk_keys[row]: error for row, error in errors.items()}
    return failed


def _length(content: Mapping[str, Any]) -> int:
    return sum(len(value) for value in content.values() if isinstance(value, str))
