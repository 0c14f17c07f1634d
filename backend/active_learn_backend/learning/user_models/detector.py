"""A Hugging Face detector (DETR, RT-DETR, YOLOS, ...): candidate boxes in an image, a class each.

Each query of the model is a part of the task, those that found nothing, too: its last hidden state
and its class scores. Where the model has a class "no object" its probabilities sum to 1; else each
class has a probability of its own.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...errors import ContentError, SettingsError
from ..encoders.folders import content_digest, kind_of
from ..encoders.images import PROBE, open_image
from .region_head import LEAST_LOG
from .region_model import RegionModel
from .vectors import unit_length

__all__ = ["Detected", "Detector", "TransformerDetector", "box_overlaps"]

NO_OBJECT = "no-object"

FloatArray = npt.NDArray[np.float32]
Corners = npt.NDArray[np.float64]


class Detected(NamedTuple):
    """The candidate boxes of one image.

    Attributes
    ----------
    features : array of shape (n, d)
        In unit length.
    boxes : array of shape (n, 4)
        Left, top, right and bottom in percent of the image.
    scores : array of shape (n, K)
        Log-probabilities of the classes; logits of independent ones.
    """

    features: FloatArray
    boxes: FloatArray
    scores: FloatArray


@dataclass(eq=False)
class Detector(RegionModel):
    """A model that finds boxes in images."""

    reads: ClassVar[str] = "image"
    shapes: ClassVar[tuple[str, ...]] = ("box",)
    noun: ClassVar[str] = "a detector"
    single: ClassVar[bool] = True
    #: Whether its features do not say what a box shows, so that the pixels have to.
    features_are_poor = False

    def __post_init__(self) -> None:
        self.lock = threading.Lock()  # the model is not to be run by two threads at once
        found = self.detect(self.prepare(open_image(PROBE)))
        self._n_states = found.features.shape[1]
        self.check(found)

    @property
    def n_states(self) -> int:
        return self._n_states

    @abstractmethod
    def check(self, found: Detected) -> None:
        """Check what it finds in an image against its classes.

        Raises
        ------
        SettingsError
            When they do not fit.
        """

    @abstractmethod
    def prepare(self, image: Image.Image) -> Any:
        """Bring an RGB image into the form that `detect` takes; called by several threads.

        Raises
        ------
        ContentError
            When the model does not take it.
        """

    @abstractmethod
    def detect(self, prepared: Any) -> Detected:
        """Return the candidate boxes of one image."""


@dataclass(eq=False)
class TransformerDetector(Detector):
    """A Hugging Face detector with its image processor.

    Attributes
    ----------
    module : nn.Module
    processor : BaseImageProcessor
    """

    architecture: ClassVar[str] = "ForObjectDetection"

    module: Any
    processor: Any

    @classmethod
    def load(cls, name: str, path: Path, device: torch.device) -> TransformerDetector:
        """Load a folder as `save_pretrained` writes it.

        Raises
        ------
        SettingsError
            When it cannot be loaded.
        """
        if kind_of(path) != "image":
            raise SettingsError(
                f"MODEL '{name}' has no image processor; save it into the same folder"
            )
        # transformers takes seconds to import: only for those who use it.
        from transformers import AutoModelForObjectDetection

        from ..encoders.hugging_face import load_model, load_processor, told_shortly

        module, _ = load_model(AutoModelForObjectDetection, path, device)
        labels: Any = module.config
        classes = tuple(str(labels.id2label[at]) for at in sorted(labels.id2label))
        with told_shortly(path):
            return cls(name, classes, content_digest(path), module, load_processor(path, "image"))

    def check(self, found: Detected) -> None:
        n_scores, n_classes = found.scores.shape[1], len(self.classes)
        if n_scores == n_classes + 1:
            self.classes = (*self.classes, NO_OBJECT)
        elif n_scores != n_classes:
            raise SettingsError(
                f"MODEL '{self.name}' gives {n_scores} scores a box and names {n_classes} classes"
            )

    def prepare(self, image: Image.Image) -> Any:
        try:
            found = self.processor(images=image, return_tensors="pt")
        except (ValueError, TypeError) as error:
            raise ContentError(f"the image processor refuses an image: {error}") from error
        return {name: found[name] for name in ("pixel_values", "pixel_mask") if name in found}

    def detect(self, prepared: Any) -> Detected:
        device = next(self.module.parameters()).device
        inputs = {name: value.to(device) for name, value in prepared.items()}
        if self.module.config.model_type == "yolos":
            inputs.pop("pixel_mask", None)
        with self.lock, torch.inference_mode():
            output = self.module(**inputs)
        logits, boxes = output.logits[0].float(), output.pred_boxes[0].float().cpu().numpy()
        self.independent = logits.shape[1] == self.module.config.num_labels
        scores = logits if self.independent else torch.log_softmax(logits, dim=-1)
        states = output.last_hidden_state[0, -len(boxes) :].float().cpu().numpy()
        return Detected(
            unit_length(states),
            corners(boxes),
            scores.clamp(LEAST_LOG, -LEAST_LOG).cpu().numpy(),
        )


def corners(boxes: FloatArray) -> FloatArray:
    """Return left, top, right and bottom in percent, of centers and sizes in shares (n, 4)."""
    half = boxes[:, 2:] / 2
    found = 100 * np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)
    clipped: FloatArray = np.clip(found, 0, 100)
    return clipped


def box_overlaps(first: Corners, second: Corners) -> Corners:
    """Return the share of their union in which boxes (n, 4) and (m, 4) overlap, (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(axis=1) for one in (first, second)]
    union = sizes[0][:, None] + sizes[1][None] - both
    shares: Corners = both / np.maximum(union, 1e-12)
    return shares
