"""The embedded image encoder: pixels and gradient histograms, without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from .base import FloatArray, VisionEncoder

__all__ = ["ImageEncoder"]


class ImageEncoder(VisionEncoder):
    """Pixels and gradient histograms of an image, without a model.

    A contrast-normalized 8 x 8 thumbnail in three colors, and histograms of oriented gradients
    over 4 x 4 cells of the 32 x 32 image (Dalal & Triggs, CVPR 2005: 9 unsigned orientations,
    blocks of 2 x 2 cells, each block of unit length). Both parts have unit length.
    """

    fingerprint = "image-pixels-hog-2"
    side, cells, bins, thumb = 32, 4, 9, 8
    n_features = thumb * thumb * 3 + (cells - 1) ** 2 * 4 * bins

    def prepare_image(self, image: Image.Image) -> FloatArray:
        thumbnail = np.asarray(
            image.resize((self.thumb, self.thumb), Image.Resampling.BOX), np.float32
        ).ravel()
        gray = np.asarray(
            image.convert("L").resize((self.side, self.side), Image.Resampling.BILINEAR),
            np.float32,
        )
        return np.concatenate([_unit(thumbnail - thumbnail.mean()), _unit(self._histograms(gray))])

    def run(self, prepared: Sequence[FloatArray]) -> FloatArray:
        return np.stack(prepared)

    def _histograms(self, gray: FloatArray) -> FloatArray:
        dy, dx = np.gradient(gray)
        strength = np.hypot(dx, dy)
        angle = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * self.bins
        low = np.floor(angle).astype(int)
        share = angle - low
        votes = np.zeros((*gray.shape, self.bins), np.float32)
        rows, columns = np.indices(gray.shape)
        votes[rows, columns, low % self.bins] += strength * (1 - share)
        votes[rows, columns, (low + 1) % self.bins] += strength * share
        size = self.side // self.cells
        cells = votes.reshape(self.cells, size, self.cells, size, self.bins).sum(axis=(1, 3))
        corners = [cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]]
        flat = np.concatenate(corners, axis=2).reshape((self.cells - 1) ** 2, -1)
        return (flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3)).ravel()


def _unit(vector: FloatArray) -> FloatArray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
