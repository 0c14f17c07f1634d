"""Finds the own model that the setting ``model`` names, and binds it to a labeling task."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from active_learn.errors import DataError, ModelError, ParameterError

from ...errors import SettingsError
from ...labeling.config import LabelingTask
from ...settings import Settings
from ..encoders.devices import pick_device
from ..encoders.folders import kind_of
from ..encoders.loaded_models import LoadedModels, signature
from ..encoders.names import find_path, is_factory
from .base import LoadedModel
from .files import load_file
from .hugging_face import load_folder
from .patch_model import PatchModel
from .region_kinds import kind_of_region_model
from .region_model import BoundRegionModel, RegionModel
from .user_model import OwnModel

__all__ = [
    "find_model_path",
    "finds_regions",
    "load_model_of_project",
    "load_own_model",
    "load_region_model",
    "model_signature",
]

log = logging.getLogger(__name__)

_models = LoadedModels(capacity=4)


def load_own_model(settings: Settings, task: LabelingTask, load: Callable[..., bytes]) -> OwnModel:
    """Load the own model, once a process, and bind it to a labeling task.

    Parameters
    ----------
    settings : Settings
        ``model``, ``model_use``, ``device`` and the limits of content are read.
    load : callable
        Gives the bytes of a file, from its address in a task; raises ContentError.

    Raises
    ------
    SettingsError
        When there is no such model, it cannot be loaded, or does not fit the labeling config.
    """
    name = settings.model
    try:
        loaded = _load(name, settings, task)
        as_is = settings.model_use == "as-is" and task.learned
        return OwnModel(loaded, task, load, as_is=as_is)
    except (ModelError, DataError, ParameterError) as error:
        raise SettingsError(f"MODEL '{name}' cannot be used: {error}") from error


def load_model_of_project(
    settings: Settings, task: LabelingTask, load: Callable[..., bytes]
) -> OwnModel | BoundRegionModel:
    """Load the own model, whether it classifies tasks or finds regions; see `load_own_model`.

    Raises
    ------
    SettingsError
        When there is no such model, it cannot be loaded, or does not fit the labeling config.
    """
    bound = load_region_model(settings, task)
    if bound is not None and not (task.others and isinstance(bound.model, PatchModel)):
        return bound
    if task.regions and not task.others:
        raise SettingsError(
            f"MODEL '{settings.model}' finds no regions, and the project labels nothing else; name "
            "a token classifier for texts, a detector for images, or leave it out (ENCODER names "
            "an encoder); of a vision model MODEL_USE=encoder uses the patches"
        )
    others = replace(task, controls=task.others) if task.regions else task
    return load_own_model(settings, others, load)


def load_region_model(settings: Settings, task: LabelingTask) -> BoundRegionModel | None:
    """Load an own model that makes parts, once a process, and bind it to a labeling task.

    Returns
    -------
    BoundRegionModel or None
        None without a model, where it finds no regions, and where it is not to encode them, either.

    Raises
    ------
    SettingsError
        When there is no such model, it cannot be loaded, or does not fit the labeling config.
    """
    kind = _region_kind(settings) or _patch_kind(settings, task)
    if kind is None:
        return None
    name, path = settings.model, find_model_path(settings)
    device = pick_device(settings.device)

    def load() -> RegionModel:
        log.info("loading the model '%s' on %s", name, device)
        return kind.load(name, path, device)

    try:
        model = _models.get((kind, model_signature(path), str(device)), load)
    except ModelError as error:
        raise SettingsError(f"MODEL '{name}' cannot be used: {error}") from error
    return BoundRegionModel.bind(model, task, as_is=settings.model_use == "as-is" and task.learned)


def finds_regions(settings: Settings) -> bool:
    """Return whether the setting ``model`` names a model that finds regions; it is not loaded.

    Raises
    ------
    SettingsError
        When there is no such model, or its files cannot be read.
    """
    return _region_kind(settings) is not None


def _region_kind(settings: Settings) -> type[RegionModel] | None:
    if not settings.model or is_factory(settings.model):
        return None
    return kind_of_region_model(find_model_path(settings))


def _patch_kind(settings: Settings, task: LabelingTask) -> type[RegionModel] | None:
    """Return the kind of a vision model that is an encoder, where regions of images are labeled."""
    if not settings.model or is_factory(settings.model) or settings.model_use != "encoder":
        return None
    reads = {field.name for field in task.fields if field.kind == PatchModel.reads}
    if not any(one.fields[0] in reads for one in task.regions):
        return None
    path = find_model_path(settings)
    return PatchModel if path.is_dir() and kind_of(path) == PatchModel.reads else None


def _load(name: str, settings: Settings, task: LabelingTask) -> LoadedModel:
    device = pick_device(settings.device)
    if is_factory(name):
        labels = tuple(task.controls[0].labels)
        from .factory import load_factory, pinned  # imports transformers, which takes seconds

        factory = pinned(name)
        made = (factory, labels, str(device))
        return _models.get(made, lambda: load_factory(factory, labels, device))
    path = find_model_path(settings)
    key = (model_signature(path), str(device))

    def load() -> LoadedModel:
        log.info("loading the model '%s' on %s", name, device)
        if path.is_dir():
            return load_folder(name, path, device)
        return load_file(name, path, device)

    return _models.get(key, load)


def find_model_path(settings: Settings) -> Path:
    """Return the file or folder that the setting ``model`` names, which is no factory.

    Raises
    ------
    SettingsError
        When there is none.
    """
    name = settings.model
    try:
        path = find_path(name, settings)
    except SettingsError as error:
        raise SettingsError(f"MODEL '{name}' cannot be used: {error}") from error
    if path is None:
        raise SettingsError(
            f"MODEL '{name}' is nothing below MODEL_DIR/models and no factory module:function; "
            "begin a path with / or ./"
        )
    return path


def model_signature(path: Path) -> tuple[Any, ...]:
    """Return names, sizes and times of change of a model's files: another model has another."""
    # Beside a file lie its JSON and perhaps its weights, of the same name.
    parts = [path] if path.is_dir() else sorted(path.parent.glob(path.name.split(".")[0] + "*"))
    return tuple(map(signature, parts))
