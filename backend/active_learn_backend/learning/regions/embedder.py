"""Embeds tasks whose regions are labeled: vectors for the other controls, and parts for regions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...errors import ContentError
from ...labeling.config import LabelingTask
from ...labeling.exact_text import exact_text
from ...settings import Settings
from ...state.folders import embeddings_folder
from ..embedding.embedder import Contents, TaskEmbedder, fill_cache
from ..encoders.content_reader import ContentReader
from ..user_models import BoundRegionModel, load_model_of_project, load_region_model
from .kinds import parts_of_field
from .own_models import parts_of_model
from .part_cache import PartCache, open_part_cache
from .part_kind import PartEncoder, PartKind
from .parts import PartedVectors, TaskParts

__all__ = ["RegionEmbedder", "open_embedder"]


def open_embedder(
    settings: Settings,
    project_id: int,
    task: LabelingTask,
    load: Callable[..., bytes],
    *,
    deferred: bool = False,
) -> TaskEmbedder:
    """Return what embeds the tasks of a project.

    Parameters
    ----------
    load : callable
        Bytes of a file, from its address in a task.
    deferred : bool
        See `TaskEmbedder`; where regions are labeled nothing is deferred.

    Raises
    ------
    SettingsError
        When the settings name a model or encoder that cannot be used for this task.
    """
    if task.regions:
        return RegionEmbedder(settings, project_id, task, load)
    load_region_model(settings, task)  # says that it finds none here
    return TaskEmbedder(settings, project_id, task, load, deferred=deferred)


class PartsOfField:
    """The parts of one field of the tasks of a project, with their cache.

    Parameters
    ----------
    own : BoundRegionModel, optional
        What makes the parts, instead of an encoder.

    Attributes
    ----------
    kind : PartKind
    fingerprint : str
        Names everything that the features depend on.
    n_features : int
    by_doubt : bool
        Whether the vector of a task weighs its parts by the doubt about them.
    cache : PartCache
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        name: str,
        load: Callable[..., bytes],
        own: BoundRegionModel | None = None,
    ) -> None:
        self._settings = settings
        field = next(one for one in task.fields if one.name == name)
        self.kind: PartKind
        self._encoder: PartEncoder
        self.kind, self._encoder = parts_of_model(own) if own else parts_of_field(field, settings)
        self._field, self._reader = field, ContentReader([field], load, timed=True)
        digest = hashlib.blake2b(name.encode(), digest_size=4).hexdigest()
        self.fingerprint = f"{self._encoder.fingerprint}-{digest}"
        self.n_features = self._encoder.n_features
        self.by_doubt: bool = getattr(self._encoder, "by_doubt", True)
        folder = embeddings_folder(settings, project_id) / self.fingerprint
        self.cache: PartCache = open_part_cache(folder.resolve(), self.n_features)

    @property
    def encoder(self) -> PartEncoder:
        """What makes the parts."""
        return self._encoder

    def encode(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> tuple[list[TaskParts], dict[int, ContentError]]:
        """Return the parts of tasks; of one that cannot be read none, and the reason."""
        raws: list[Any] = self._reader.map(
            contents, lambda values: self._encoder.prepare(values[0])
        )
        failed = {at: raw for at, raw in enumerate(raws) if isinstance(raw, ContentError)}
        good = [at for at in range(len(raws)) if at not in failed]
        if self._field.kind == "text":  # places are counted in the text as it is
            for at in good:
                raws[at] = exact_text(contents[at][self._field.name], self._field.markup)
        none = TaskParts(np.empty((0, self.n_features), np.float32), np.empty((0, 2), np.int64))
        parts = [none] * len(raws)
        for at, one in zip(good, self._encoder.encode([raws[at] for at in good]), strict=True):
            parts[at] = one
        return parts, failed


class RegionEmbedder(TaskEmbedder):
    """Embeds tasks by vectors, as `TaskEmbedder` does, and by their parts.

    Where all controls label regions there are no vectors.

    Attributes
    ----------
    parts : mapping of str to PartsOfField
        By the name of the control that labels regions.
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        load: Callable[..., bytes],
    ) -> None:
        others = task.others
        own = load_region_model(settings, task)
        if others:
            super().__init__(settings, project_id, replace(task, controls=others), load)
        elif settings.model and own is None:
            load_model_of_project(settings, task, load)  # says why it cannot be used
        self.settings, self.project_id = settings, project_id
        read_by = {
            one.from_name: (one.fields[0], own is not None and own.makes_parts_for(one))
            for one in task.regions
        }
        made = {
            (name, by_own): PartsOfField(
                settings, project_id, task, name, load, own if by_own else None
            )
            for name, by_own in sorted(set(read_by.values()))
        }
        self.parts = {name: made[key] for name, key in read_by.items()}
        self._fields = list(made.values())
        self._has_vectors = bool(others)
        if not others:
            self.fixed_heads = {}
            self.n_features = 0
            self.fingerprint = "+".join(one.fingerprint for one in self._fields)
        if own and (head := own.head(*self.read_by(own.control.from_name))):
            self.fixed_heads[own.control.from_name] = head

    def __len__(self) -> int:
        return len(self._fields[0].cache)

    def read_by(self, control: str) -> tuple[str, int]:
        if control in self.parts:
            of_control = self.parts[control]
            return of_control.fingerprint, of_control.n_features
        return super().read_by(control)

    def features(self, control: str, vectors: PartedVectors) -> Any:
        """Return what the head of a control reads: of one for regions the parts of the tasks."""
        if control in self.parts:
            return vectors.parts[control]
        return super().features(control, vectors.vectors)

    def missing(self, keys: Sequence[str]) -> set[str]:
        found = super().missing(keys) if self._has_vectors else set()
        return found.union(*({keys[at] for at in one.cache.missing(keys)} for one in self._fields))

    def vectors(self, keys: Sequence[str]) -> PartedVectors:
        vectors: Any = np.empty((len(keys), 0), np.float32)
        if self._has_vectors:
            vectors = super().vectors(keys)
        of_field = {id(one): one.cache.tasks(keys) for one in self._fields}
        return PartedVectors(vectors, {name: of_field[id(one)] for name, one in self.parts.items()})

    def get(self, keys: Sequence[str]) -> PartedVectors:
        return self.vectors(keys)

    def fill(
        self,
        keys: Sequence[str],
        contents: Contents,
        checkpoint: Callable[[int, int], None] = lambda done, of: None,
    ) -> dict[str, ContentError]:
        failed = super().fill(keys, contents, checkpoint) if self._has_vectors else {}
        for field in self._fields:
            failed |= fill_cache(field.cache, field.encode, keys, contents, checkpoint)
        return failed
