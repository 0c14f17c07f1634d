"""The patches of images as a Hugging Face vision model sees them: its hidden layer before the last.

Where a model is trained by its class token, nothing reads what its last layer makes of the patches.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image

from ...errors import SettingsError
from .base import FloatArray
from .images import PROBE, open_image, pixels_of

__all__ = ["PatchStates", "Patches"]

BATCH = 8  # images that run at once
MOST_OTHERS = 32  # tokens before the patches: of the class, of a teacher, registers
MERGED = (1, 2, 4, 8)  # patches along a side that a later layer may have merged into one


class Patches(NamedTuple):
    """The patches of an image, row by row, which cover all of it evenly.

    Attributes
    ----------
    states : array of shape (rows * columns, d), float32
        In unit length.
    rows, columns : int
    """

    states: FloatArray
    rows: int
    columns: int


class PatchStates:
    """Computes the states of patches.

    An image is stretched to the size that the model takes: the image processor would cut off the
    sides of many images, and what is not seen cannot be labeled.

    Parameters
    ----------
    module : nn.Module
        The vision model, or a model with one.
    processor : BaseImageProcessor
    lock : threading.Lock
        Held while the model runs.

    Raises
    ------
    SettingsError
        When the model does not keep the parts of an image apart.
    """

    def __init__(self, module: Any, processor: Any, lock: threading.Lock) -> None:
        self._model, self._whole_processor = module, processor
        self._module = getattr(module, "vision_model", module)
        self._lock = lock
        probe = open_image(PROBE)
        self._height, self._width = pixels_of(processor, probe)["pixel_values"].shape[-2:]
        self._resample = Image.Resampling(getattr(processor, "resample", None) or 3)
        self._processor = copy.deepcopy(processor)
        for step in ("do_resize", "do_center_crop", "do_pad"):
            if hasattr(self._processor, step):
                setattr(self._processor, step, False)
        self.n_features = self([self.prepare(probe)])[0].states.shape[1]

    def save(self, folder: Path) -> None:
        """Write the model and the image processor as `save_pretrained` does."""
        self._model.save_pretrained(folder)
        self._whole_processor.save_pretrained(folder)

    def prepare(self, image: Image.Image) -> torch.Tensor:
        """Bring an RGB image into the form that the model takes; called by several threads.

        Raises
        ------
        ContentError
            When it is refused by the processor.
        """
        size = self._width, self._height
        resized = image.resize(size, self._resample, reducing_gap=2)
        pixels: torch.Tensor = pixels_of(self._processor, resized)["pixel_values"]
        return pixels

    def __call__(self, prepared: Sequence[torch.Tensor]) -> list[Patches]:
        """Return the patches of some images."""
        device = next(self._module.parameters()).device
        found: list[Patches] = []
        for start in range(0, len(prepared), BATCH):
            pixels = torch.stack(list(prepared[start : start + BATCH])).to(device)
            with self._lock, torch.inference_mode():
                layers = self._module(pixel_values=pixels, output_hidden_states=True).hidden_states
                states = self._grid(layers[max(len(layers) - 2, 1)].float())
                states = torch.nn.functional.normalize(states, dim=-1).cpu()
            rows, columns, n_features = states.shape[1:]
            flat = states.reshape(len(states), -1, n_features).numpy()
            found += [Patches(flat[at], rows, columns) for at in range(len(flat))]
        return found

    def _grid(self, states: torch.Tensor) -> torch.Tensor:
        """Return the states of a layer by row and column, (n, rows, columns, d)."""
        if states.ndim == 4:  # maps of a convolutional network: (n, d, rows, columns)
            return states.movedim(1, -1)
        patch = getattr(self._module.config, "patch_size", None)
        height, width = patch if isinstance(patch, list | tuple) else (patch, patch)
        for merged in MERGED if height and width else ():
            rows, columns = self._height // (height * merged), self._width // (width * merged)
            if rows * columns and 0 <= states.shape[1] - rows * columns <= MOST_OTHERS:
                patches = states[:, states.shape[1] - rows * columns :]
                return patches.unflatten(1, (rows, columns))
        raise SettingsError(
            f"it is a {type(self._module).__name__}, which does not keep the patches of an image "
            "apart, so boxes, shapes and points cannot be learned from it; name a vision "
            "transformer (ViT, DINOv2, DeiT, CLIP) or a convolutional network"
        )
