"""What an encoder is: one kind of content in, vectors of unit length out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from .images import open_image

__all__ = ["Encoder", "FloatArray", "VisionEncoder"]

FloatArray = npt.NDArray[np.float32]


class Encoder(ABC):
    """Turns texts, or files of one kind, into vectors.

    Attributes
    ----------
    fingerprint : str
        Names everything that the vectors depend on; another one means another cache, of which
        it is part of the folder's name.
    n_features : int
        Length of the vectors.
    """

    fingerprint: str
    n_features: int

    @abstractmethod
    def prepare(self, raw: Any) -> Any:
        """Bring one text (str) or file (bytes) into the form that `run` takes.

        Called by several threads at once, since this is where files are decoded.

        Raises
        ------
        ContentError
            When the content cannot be read; other contents are not affected.
        """

    @abstractmethod
    def run(self, prepared: Sequence[Any]) -> FloatArray:
        """Encode prepared contents, at least one, into an array of shape (n, n_features)."""

    def encode(self, raws: Sequence[Any]) -> FloatArray:
        """Encode texts or files into an array of shape (n, n_features).

        Raises
        ------
        ContentError
            When one of them cannot be read.
        """
        if not raws:
            return np.empty((0, self.n_features), np.float32)
        return self.run([self.prepare(raw) for raw in raws])


class VisionEncoder(Encoder):
    """An encoder of images; others of what consists of images are built on it."""

    def prepare(self, raw: bytes) -> Any:
        return self.prepare_image(open_image(raw))

    @abstractmethod
    def prepare_image(self, image: Image.Image) -> Any:
        """Bring a decoded image, in RGB, into the form that `run` takes.

        Raises
        ------
        ContentError
            When it is refused.
        """
