"""A detector in an ONNX file: boxes with scores and classes, or the layout of YOLO.

The JSON beside the file says which outputs it has. Candidate boxes that nothing speaks for, and of
two of one class that are almost one the less sure, are dropped. The whole image is a candidate
without a class, so that each task has a part.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import torch
from active_learn.errors import ModelError
from active_learn.models.onnx_files import load_model, serialize
from active_learn.models.onnx_model import open_session
from PIL import Image
from scipy.special import logit

from ...errors import SettingsError
from .detector import Detected, Detector, box_overlaps
from .file_inputs import fitted, pixels
from .files import digest_of_file, onnx_device
from .region_head import LEAST_LOG
from .specification import BoxOutputs, ImageInput, YoloOutput, read_specification
from .vectors import unit_length

__all__ = ["OnnxDetector"]

LEAST_SCORE = 0.05  # of a candidate
MOST_BOXES = 100  # candidates of an image
MOST_OUTPUTS = 2**18  # boxes before any is dropped

FloatArray = npt.NDArray[np.float32]


class Prepared(NamedTuple):
    """An image as the model takes it, and where it lies in that input, in pixels."""

    pixels: npt.NDArray[Any]
    inner: tuple[int, int]
    corner: tuple[int, int]


@dataclass(eq=False)
class OnnxDetector(Detector):
    """A detector in an ONNX file.

    Attributes
    ----------
    session : InferenceSession
    image : ImageInput
        What its input is.
    outputs : BoxOutputs or YoloOutput
    """

    independent = True

    session: ort.InferenceSession
    image: ImageInput
    outputs: BoxOutputs | YoloOutput

    @classmethod
    def load(cls, name: str, path: Path, device: torch.device) -> OnnxDetector:
        """Load a file with the JSON beside it.

        Raises
        ------
        SettingsError
            When the JSON does not fit the model.
        ModelError
            When the model cannot be read.
        """
        specification = read_specification(path)
        outputs, (image, *others) = specification.regions, specification.inputs
        if others or not isinstance(image, ImageInput) or outputs is None:
            raise SettingsError(
                f"the JSON beside MODEL '{name}' gives other inputs than one of kind 'image', "
                "which is all that a detector takes"
            )
        if not specification.labels:
            raise SettingsError(f"the JSON beside MODEL '{name}' names no labels")
        model, folder = load_model(path)
        provider = "CUDA" if onnx_device(device) == "cuda" else "CPU"
        session = open_session(serialize(model), folder, f"{provider}ExecutionProvider")
        classes, digest = tuple(specification.labels), digest_of_file(path)
        return cls(name, classes, digest, session, image, outputs)

    @property
    def features_are_poor(self) -> bool:  # type: ignore[override]
        return not getattr(self.outputs, "features", "")

    def check(self, found: Detected) -> None:
        return None  # said where the outputs are read

    def prepare(self, image: Image.Image) -> Prepared:
        return Prepared(pixels(image, self.image)[None], *fitted(image, self.image))

    def detect(self, prepared: Prepared) -> Detected:
        boxes, shares, features = self._candidates(self._run(prepared.pixels))
        scale = np.array([*prepared.inner, *prepared.inner], np.float64)
        if self.outputs.unit == "share":
            height, width = self.image.size
            boxes = boxes * np.array([width, height, width, height])
        boxes = np.clip(100 * (boxes - np.array(prepared.corner * 2)) / scale, 0, 100)
        overlap = self.outputs.overlap if isinstance(self.outputs, YoloOutput) else 1.0
        kept = _best(boxes, shares, overlap)
        whole = np.array([[0.0, 0.0, 100.0, 100.0]])
        return Detected(
            unit_length(np.concatenate([features.mean(axis=0, keepdims=True), features[kept]]))
            if features.shape[1] and len(features)
            else np.zeros((1 + len(kept), features.shape[1]), np.float32),
            np.concatenate([whole, boxes[kept]]).astype(np.float32),
            np.concatenate([np.full((1, len(self.classes)), LEAST_LOG), _logits(shares[kept])]),
        )

    def _run(self, batch: npt.NDArray[Any]) -> dict[str, FloatArray]:
        """Return the outputs by their names, without the dimension of the batch."""
        names = [output.name for output in self.session.get_outputs()]
        given = [one.name for one in self.session.get_inputs()]
        wanted = self.image.name or given[0]
        if given != [wanted]:
            raise SettingsError(
                f"MODEL '{self.name}' takes {', '.join(given)}; a detector takes one image"
            )
        try:
            with self.lock:
                found = self.session.run(names, {wanted: batch})
        except Exception as error:  # whatever ONNX Runtime raises
            line = str(error).splitlines()[0][:200]
            raise ModelError(f"ONNX Runtime cannot run the model: {line}") from error
        return dict(zip(names, map(np.asarray, found), strict=True))

    def _candidates(
        self, found: dict[str, FloatArray]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], FloatArray]:
        """Return corners (n, 4), probabilities (n, K) and features (n, d) of all boxes."""
        n_classes = len(self.classes)
        if isinstance(self.outputs, YoloOutput):
            name = self.outputs.name or next(iter(found))
            output = self._output(found, name, 3)[0].astype(np.float64)
            if output.shape[0] != 4 + n_classes:
                raise SettingsError(
                    f"MODEL '{self.name}' gives '{name}' of shape (1, {output.shape[0]}, "
                    f"{output.shape[1]}); expected (1, {4 + n_classes}, N): 4 numbers of a box, "
                    f"and one for each of the {n_classes} labels of its JSON"
                )
            shares = self._checked(output[4:].T)
            return _corners(output[:4].T, "cxcywh"), shares, np.empty((len(shares), 0), np.float32)
        spec = self.outputs
        boxes = self._output(found, spec.boxes, None).reshape(-1, 4).astype(np.float64)
        scores = self._output(found, spec.scores, None).reshape(-1)
        labels = self._output(found, spec.labels, None).reshape(-1).astype(np.int64)
        if not len(boxes) == len(scores) == len(labels):
            raise SettingsError(
                f"MODEL '{self.name}' gives {len(boxes)} boxes, {len(scores)} scores and "
                f"{len(labels)} labels; expected as many of each"
            )
        if len(labels) and not 0 <= labels.min() <= labels.max() < n_classes:
            raise SettingsError(
                f"MODEL '{self.name}' gives the class {labels.max()}, and its JSON names the "
                f"classes 0 to {n_classes - 1}"
            )
        shares = np.zeros((len(boxes), n_classes))
        shares[np.arange(len(boxes)), labels] = scores
        features = np.empty((len(boxes), 0), np.float32)
        if spec.features:
            named = self._output(found, spec.features, None)
            features = named.reshape(-1, named.shape[-1]).astype(np.float32)
        return _corners(boxes, spec.format), self._checked(shares), features

    def _output(self, found: dict[str, FloatArray], name: str, ndim: int | None) -> FloatArray:
        if name not in found:
            raise SettingsError(
                f"MODEL '{self.name}' has no output '{name}'; it has {', '.join(found)}"
            )
        output = found[name]
        if output.size > MOST_OUTPUTS * (4 + len(self.classes)):
            raise SettingsError(f"MODEL '{self.name}' gives more than {MOST_OUTPUTS} boxes")
        if ndim not in (None, output.ndim):
            raise SettingsError(
                f"MODEL '{self.name}' gives '{name}' of shape {output.shape}; expected "
                f"{ndim} dimensions"
            )
        return output

    def _checked(self, shares: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        if len(shares) and not (shares.min() >= 0 and shares.max() <= 1 + 1e-4):  # also of NaN
            raise SettingsError(
                f"MODEL '{self.name}' gives scores from {shares.min():.3g} to {shares.max():.3g}; "
                "expected probabilities, from 0 to 1"
            )
        return shares.astype(np.float64)


def _corners(boxes: npt.NDArray[np.float64], form: str) -> npt.NDArray[np.float64]:
    """Return left, top, right and bottom of boxes (n, 4)."""
    if form == "xyxy":
        return boxes
    start = boxes[:, :2] if form == "xywh" else boxes[:, :2] - boxes[:, 2:] / 2
    return np.concatenate([start, start + boxes[:, 2:]], axis=1)


def _logits(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.clip(logit(np.clip(shares, 0, 1)), LEAST_LOG, -LEAST_LOG)


def _best(
    boxes: npt.NDArray[np.float64], shares: npt.NDArray[np.float64], overlap: float
) -> list[int]:
    """Return the candidates that are kept, the surest first: non-maximum suppression by class."""
    scores, classes = shares.max(axis=1, initial=0), shares.argmax(axis=1)
    real = (scores >= LEAST_SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    order = np.flatnonzero(real)[np.argsort(-scores[real], kind="stable")][: 20 * MOST_BOXES]
    kept: list[int] = []
    while len(order) and len(kept) < MOST_BOXES:
        first, order = int(order[0]), order[1:]
        kept.append(first)
        if overlap < 1 and len(order):
            same = classes[order] == classes[first]
            order = order[~(same & (box_overlaps(boxes[[first]], boxes[order])[0] > overlap))]
    return kept
