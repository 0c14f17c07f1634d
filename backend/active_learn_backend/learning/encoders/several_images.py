"""What consists of several images: the mean of their vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...errors import ContentError
from .base import Encoder, FloatArray, VisionEncoder

__all__ = ["ImagesEncoder"]


class ImagesEncoder(Encoder):
    """The mean over the images of a task (``valueList``), in any order.

    Parameters
    ----------
    image : VisionEncoder
        What encodes each of them.
    """

    def __init__(self, image: VisionEncoder) -> None:
        self._image = image
        self.fingerprint = f"images-mean-1-{image.fingerprint}"
        self.n_features = image.n_features

    def prepare(self, raw: Iterable[bytes]) -> list[Any]:
        images = [self._image.prepare(file) for file in raw]
        if not images:
            raise ContentError("there is no image")
        return images

    def run(self, prepared: Sequence[Sequence[Any]]) -> FloatArray:
        vectors = self._image.run([image for images in prepared for image in images])
        starts = np.cumsum([0, *(len(images) for images in prepared)])[:-1]
        sizes = np.array([len(images) for images in prepared], np.float32)
        sums: FloatArray = np.add.reduceat(vectors, starts, axis=0)
        return sums / sizes[:, None]
