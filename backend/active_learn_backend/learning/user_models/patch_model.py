"""A Hugging Face vision model as an encoder of the cells of images (``MODEL_USE=encoder``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from ..encoders.folders import content_digest
from .region_model import RegionModel

__all__ = ["PatchModel"]


@dataclass(eq=False)
class PatchModel(RegionModel):
    """A vision model of which the patches are read, and no classes.

    Attributes
    ----------
    states : PatchStates
    """

    reads: ClassVar[str] = "image"
    shapes: ClassVar[tuple[str, ...]] = ("box", "mask", "point")
    noun: ClassVar[str] = "a vision model"

    states: Any

    @classmethod
    def load(cls, name: str, path: Path, device: torch.device) -> PatchModel:
        """Load a folder as `save_pretrained` writes it, of a classifier or of what it is built on.

        Raises
        ------
        SettingsError
            When it cannot be loaded, or has no patches.
        """
        # transformers takes seconds to import: only for those who use it.
        from ..encoders.transformer_image import TransformerImageEncoder

        encoder = TransformerImageEncoder(path, device)
        return cls(name, (), content_digest(path), encoder.patch_states)

    @property
    def n_states(self) -> int:
        return int(self.states.n_features)
