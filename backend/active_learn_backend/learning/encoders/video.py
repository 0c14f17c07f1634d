"""Videos: the mean of the vectors of a few frames."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from ...decoders.process import decode, require_decoder
from .base import VisionEncoder
from .several_images import ImagesEncoder

__all__ = ["VideoEncoder"]

FRAMES = 8


class VideoEncoder(ImagesEncoder):
    """The mean over eight frames, evenly over the time of a video.

    Parameters
    ----------
    image : VisionEncoder
        What encodes each of them.
    """

    def __init__(self, image: VisionEncoder) -> None:
        require_decoder("video")
        super().__init__(image)
        self.fingerprint = f"video-{FRAMES}-frames-1-{image.fingerprint}"

    def prepare(self, raw: Any) -> list[Any]:
        frames = decode("video", raw, frames=FRAMES)
        assert isinstance(frames, np.ndarray)
        return [self._image.prepare_image(Image.fromarray(frame)) for frame in frames]
