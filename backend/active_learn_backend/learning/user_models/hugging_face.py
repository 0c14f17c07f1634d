"""A Hugging Face folder: a sequence classifier with tokenizer, an image classifier with processor.

Regressors are classifiers with one output to the library, and so here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from active_learn.models import adapt
from active_learn.models.transformers_config import NO_LIMIT

from ...errors import SettingsError
from ...labeling.config import Field
from ..encoders.folders import content_digest, kind_of, processor_kind, read_json
from ..encoders.images import open_image, pixels_of
from .base import Inputs, LoadedModel
from .files import onnx_device, onnx_file

__all__ = ["load_folder"]


def load_folder(name: str, folder: Path, device: torch.device) -> LoadedModel:
    """Load a classifier or regressor as `save_pretrained` or, as an ONNX file, optimum writes it.

    Raises
    ------
    SettingsError
        When the folder holds none.
    ModelError
        When its ONNX file cannot be used.
    """
    file = onnx_file(folder)
    kind = kind_of(folder) if file is None else processor_kind(folder)
    wanted = "ForImageClassification" if kind == "image" else "ForSequenceClassification"
    if kind == "audio":
        raise SettingsError(f"MODEL '{name}' is an audio model; name it as ENCODER instead")
    architectures = read_json(folder / "config.json").get("architectures") or ["unknown"]
    if not str(architectures[0]).endswith(wanted):
        raise SettingsError(
            f"MODEL '{name}' is a {architectures[0]}, which is no classifier (*{wanted}); "
            "name it as ENCODER instead, or save a classifier"
        )
    # transformers takes seconds to import: only for those who use it.
    from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

    from ..encoders.hugging_face import load_config, load_model, load_processor

    processor = load_processor(folder, kind)
    if file is not None:
        config: Any = load_config(folder)
        if kind == "text":  # the tokenizer alone may know no limit
            positions = getattr(config, "max_position_embeddings", None) or NO_LIMIT
            processor.model_max_length = min(processor.model_max_length, positions)
        adapter = adapt((file, processor), device=onnx_device(device))
    else:
        auto = (
            AutoModelForImageClassification
            if kind == "image"
            else AutoModelForSequenceClassification
        )
        model, _ = load_model(auto, folder, device)
        config, adapter = model.config, adapt((model, processor))
    classes = tuple(str(config.id2label[index]) for index in sorted(config.id2label))
    inputs = Pixels(processor) if kind == "image" else Texts()
    return LoadedModel(name, adapter, inputs, classes, content_digest(folder))


class Texts(Inputs):
    """One text a task, or a pair of them."""

    def choose(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        texts = tuple(field for field in fields if field.kind == "text")
        if len(texts) not in (1, 2):
            raise SettingsError(
                f"MODEL reads one text or a pair of texts, and the labeling config shows "
                f"{len(texts)}; change one of the two"
            )
        return texts

    def prepare(self, fields: Sequence[Field], raws: Sequence[str | bytes]) -> Any:
        return str(raws[0]) if len(raws) == 1 else tuple(raws)


class Pixels(Inputs):
    """One image a task: the first that the labeling config shows."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def choose(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        images = tuple(field for field in fields if field.kind == "image")
        if not images:
            raise SettingsError("MODEL reads an image, and the labeling config shows none")
        return images[:1]

    def prepare(self, fields: Sequence[Field], raws: Sequence[str | bytes]) -> Any:
        assert isinstance(raws[0], bytes)
        return pixels_of(self._processor, open_image(raws[0]))
