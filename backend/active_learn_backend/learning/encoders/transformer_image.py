"""Images by any Hugging Face vision model."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from active_learn.models.base import ModelOutput
from active_learn.models.transformers_model import ImageTransformer
from PIL import Image
from transformers import AutoModel

from .base import FloatArray, VisionEncoder
from .folders import content_digest
from .hugging_face import load_model, load_processor, unit_vectors
from .images import PROBE, pixels_of
from .patch_states import PatchStates

__all__ = ["TransformerImageEncoder"]


class PooledImage(ImageTransformer):
    """The vision model; an image's vector stands for logits and embedding.

    The image features of CLIP's kind, else the pooled output where its weights are trained, else
    the class token, else the mean over the patches.
    """

    def __init__(self, model: Any, processor: Any, trained_pooler: bool) -> None:
        super().__init__(model, processor)
        self._trained_pooler = trained_pooler
        self._has_class_token = any("cls_token" in name for name, _ in model.named_parameters())

    def _forward(self, samples: Any) -> ModelOutput:
        vectors = self.vectors(self._inputs(samples)["pixel_values"])
        return ModelOutput(vectors, vectors)

    def vectors(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Return the vector of each image, on the CPU."""
        return unit_vectors(
            self.module,
            {"pixel_values": pixel_values},
            "get_image_features",
            self._mean,
            trained_pooler=self._trained_pooler,
        )

    def _mean(self, hidden: torch.Tensor) -> torch.Tensor:
        if hidden.ndim == 4:  # maps of a convolutional network: (n, channels, height, width)
            return hidden.mean(dim=(2, 3))
        return hidden[:, 0] if self._has_class_token else hidden.mean(dim=1)


class TransformerImageEncoder(VisionEncoder):
    """Images by a Hugging Face vision model (ViT, DINO, CLIP, ConvNeXt, ...), in unit length.

    Parameters
    ----------
    folder : Path
        As written by `save_pretrained`, with the image processor.
    device : torch.device

    Attributes
    ----------
    model : PooledImage

    Raises
    ------
    SettingsError
        When the folder holds no such model.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._lock = threading.Lock()  # the model is not to be run by two threads at once
        self._processor = load_processor(folder, "image")
        model, missing = load_model(AutoModel, folder, device)
        self.model = PooledImage(model, self._processor, trained_pooler=not missing)
        self.fingerprint = f"image-hf2-{content_digest(folder)}"
        self.n_features = self.encode([PROBE]).shape[1]

    @cached_property
    def patch_states(self) -> PatchStates:
        """What the model makes of the patches of an image."""
        return PatchStates(self.model.module, self._processor, self._lock)

    def prepare_image(self, image: Image.Image) -> dict[str, torch.Tensor]:
        return pixels_of(self._processor, image)

    def run(self, prepared: Sequence[dict[str, torch.Tensor]]) -> FloatArray:
        with self._lock:
            return self.model(list(prepared)).embedding.numpy()
