"""A Python factory ``module:function``: anything that the other kinds are not."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from active_learn.errors import ModelError
from active_learn.models import adapt
from torch import nn
from transformers.image_processing_base import ImageProcessingMixin
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from ...errors import SettingsError
from ...labeling.config import Field
from ...wording import shortened
from ..encoders.images import open_image
from .base import Inputs, LoadedModel
from .hugging_face import Pixels, Texts

__all__ = ["load_factory", "pinned"]

COUNTED = re.compile(r"LABEL_\d+")


def pinned(name: str) -> str:
    """Return a factory's name with the digest of what its ``version`` says now.

    A name that has one already stays as it is. A function without ``version``, a text or a function
    without arguments, has none.

    Raises
    ------
    SettingsError
        When there is no such function, or its ``version`` fails.
    """
    if "@" in name:
        return name
    try:
        version = getattr(_function(name), "version", None)
        text = version() if callable(version) else version
    except Exception as error:  # the operator's code may raise anything
        raise _failure(name, error) from error
    if text is None:
        return name
    return f"{name}@{hashlib.blake2b(str(text).encode(), digest_size=6).hexdigest()}"


def load_factory(name: str, labels: tuple[str, ...], device: torch.device) -> LoadedModel:
    """Call a factory.

    It is called with the config's labels, and returns what `active_learn.models.adapt` takes, or a
    tuple of that and a function ``prepare(contents) -> batch``. ``contents`` is a list of
    dictionaries, of a text or the bytes of an image file by field of the labeling config. Without
    ``prepare`` the model is given the texts, or RGB images of PIL, of each task: a tuple of them
    where the config shows several.

    The model may have an attribute ``classes``, the names of its outputs where these are not the
    labels in the config's order (a Hugging Face model has them as ``id2label``), and ``version``,
    a text to be changed whenever its answers change for another reason than its weights or the
    factory's source. The name may be `pinned`: then this is called once for each version.

    Raises
    ------
    SettingsError
        When there is no such function, or it fails.
    ModelError
        When what it returns is no model.
    """
    name = name.partition("@")[0]
    try:
        function = _function(name)
        made = function(labels)
    except Exception as error:  # the operator's code may raise anything
        raise _failure(name, error) from error
    prepare = None
    if isinstance(made, tuple) and len(made) == 2 and inspect.isroutine(made[1]):
        made, prepare = made
    model = made[0] if isinstance(made, tuple) else made
    if isinstance(model, nn.Module):
        model.to(device)
    return LoadedModel(
        name,
        adapt(made),
        _inputs(made, prepare),
        _classes(model),
        _digest(name, function, labels, model),
    )


def _function(name: str) -> Any:
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def _failure(name: str, error: Exception) -> SettingsError:
    return SettingsError(
        f"MODEL '{name}' fails: {type(error).__name__}: {shortened(str(error), 200)}; it has to be "
        "a function module:function that Python can import and call with the labels"
    )


def _inputs(made: Any, prepare: Any) -> Inputs:
    processor = made[1] if isinstance(made, tuple) else None
    if isinstance(processor, PreTrainedTokenizerBase):
        return Texts()
    if isinstance(processor, ImageProcessingMixin):
        return Pixels(processor)
    return AnyInputs(prepare)


def _classes(model: Any) -> tuple[str, ...] | None:
    """Name the outputs; by a Hugging Face config too, where it does not only count them."""
    classes = getattr(model, "classes", None)
    names = getattr(getattr(model, "config", None), "id2label", None)
    if classes is None and isinstance(names, dict):
        named = [str(names[index]) for index in sorted(names)]
        classes = None if all(COUNTED.fullmatch(name) for name in named) else named
    return None if classes is None else tuple(map(str, classes))


class AnyInputs(Inputs):
    """All fields that the labeling config shows, as the factory's ``prepare`` wants them."""

    def __init__(self, prepare: Callable[[list[dict[str, Any]]], Any] | None) -> None:
        self._prepare = prepare

    def choose(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        return fields

    def prepare(self, fields: Sequence[Field], raws: Sequence[str | bytes]) -> Any:
        if self._prepare is not None:
            return {field.name: raw for field, raw in zip(fields, raws, strict=True)}
        values = [open_image(raw) if isinstance(raw, bytes) else raw for raw in raws]
        return values[0] if len(values) == 1 else tuple(values)

    def collate(self, prepared: Sequence[Any]) -> Any:
        if self._prepare is None:
            return list(prepared)
        try:
            return self._prepare(list(prepared))
        except Exception as error:  # the operator's code may raise anything
            raise ModelError(f"the factory's prepare fails: {error}") from error


def _digest(name: str, function: Any, labels: tuple[str, ...], model: Any) -> str:
    """Digest of the factory's source, and of the weights where the model is a module."""
    digest = hashlib.blake2b(digest_size=6)
    module = inspect.getmodule(function)
    file = getattr(module, "__file__", None)
    source = Path(file).read_bytes() if file else b""
    digest.update(repr((name, labels, source, str(getattr(model, "version", "")))).encode())
    if isinstance(model, nn.Module):
        for key, tensor in sorted(model.state_dict().items()):
            digest.update(f"{key} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
