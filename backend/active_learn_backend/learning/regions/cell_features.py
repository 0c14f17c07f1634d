"""Cells of images: a grid over an image, and features of its cells, without a model.

A cell is described by its color, its texture and its gradients, by those of the 3 x 3 cells around
it, by how it differs from these and from the whole image, and by its place. Random cosines of these
numbers let a linear head tell what no line separates (Rahimi & Recht, NIPS 2007).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import uniform_filter

__all__ = ["N_FEATURES", "cell_features", "grid_of"]

FloatArray = npt.NDArray[np.float32]

LONG_SIDE = 16  # cells
CELL = 16  # pixels of the side of a cell
BINS = 8  # unsigned orientations of gradients
OWN = 6 + BINS + 1  # numbers of a cell alone: of three colors mean and deviation, gradients
PLACE = 5
PLAIN = 3 * OWN + 6
COSINES = 256
N_FEATURES = PLAIN + COSINES + PLACE


def grid_of(width: int, height: int) -> tuple[int, int]:
    """Return the rows and columns of the grid over an image; cells are about square."""
    longer = max(width, height)
    rows, columns = (max(1, round(LONG_SIDE * side / longer)) for side in (height, width))
    return rows, columns


def cell_features(image: Image.Image) -> FloatArray:
    """Return the features of the cells of an RGB image, row by row, (rows * columns, d)."""
    rows, columns = grid_of(*image.size)
    small = image.resize((columns * CELL, rows * CELL), Image.Resampling.BILINEAR, reducing_gap=2)
    own = _own(np.asarray(small, np.float32) / np.float32(255), rows, columns)
    around = uniform_filter(own, size=(3, 3, 0), mode="nearest")
    contrast = own[:, :, :6] - own[:, :, :6].mean(axis=(0, 1))
    plain = np.concatenate([own, around, own - around, contrast], axis=2).reshape(-1, PLAIN)
    weight, phase = _directions()
    cosines = np.sqrt(2 / COSINES, dtype=np.float32) * np.cos(plain @ weight + phase)
    place = _place(rows, columns)
    return np.concatenate([plain, 4 * cosines, 0.3 * place], axis=1).astype(np.float32)


def _own(pixels: FloatArray, rows: int, columns: int) -> FloatArray:
    """Return what each cell says alone, (rows, columns, OWN)."""
    red, green, blue = np.moveaxis(pixels, 2, 0)
    gray = (red + green + blue) / 3
    planes = np.stack([gray, red - green, (red + green) / 2 - blue], axis=2)
    cells = planes.reshape(rows, CELL, columns, CELL, 3)
    mean, deviation = cells.mean(axis=(1, 3)), cells.std(axis=(1, 3))
    dy, dx = np.gradient(gray)
    strength = np.hypot(dx, dy)
    angle = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * BINS
    histogram = np.stack(
        [
            (strength * (angle.astype(int) % BINS == one)).reshape(rows, CELL, columns, CELL)
            for one in range(BINS)
        ]
    ).mean(axis=(2, 4))
    total = histogram.sum(axis=0)
    shares = np.moveaxis(histogram / (total + 0.01), 0, 2)
    return np.concatenate(
        [2 * mean, 4 * deviation, shares, np.log1p(20 * total)[:, :, None]], axis=2
    ).astype(np.float32)


@lru_cache(maxsize=1)
def _directions() -> tuple[FloatArray, FloatArray]:
    """Return the directions and phases of the random cosines, always the same."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(PLAIN, COSINES)) * 0.5
    phase = rng.uniform(0, 2 * np.pi, COSINES)
    return weight.astype(np.float32), phase.astype(np.float32)


def _place(rows: int, columns: int) -> FloatArray:
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    return np.stack([x, y, x * x, y * y, x * y], axis=2).reshape(-1, PLACE).astype(np.float32)
