"""The cells of an image as parts of a task: their classes by regions, and regions by their classes.

A kind of regions is one class here, and one line in `CELLS`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label

from ...labeling.masks import GRID, mask_of, shape_of
from ...labeling.regions import ScoredRegion
from ..encoders.images import open_image
from .cell_features import N_FEATURES, cell_features, grid_of
from .part_kind import PartKind, Tags
from .parts import Places, TaskParts

if TYPE_CHECKING:
    from ...labeling.controls import RegionTag

__all__ = ["CellEncoder", "Cells", "Size", "cell_places"]

INSIDE = 0.5  # share of a cell that a region covers, from which the cell has its class
UNCLEAR = 0.2  # share from which its class is not known

SIZE_BITS = 16  # from which on a place has a side of its image

Share = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]
Size = tuple[int, int]


class Cells(PartKind):
    """The cells of a grid over an image, on which boxes are marked.

    A cell is in a region that covers half of it or more; a region that covers no cell that far has
    the one that it covers most of. Cells of which a region covers from a fifth to a half are not
    learned from. Of regions that overlap the smaller one counts.
    """

    sequential = False
    noun = "cells"
    metric = "F1 at IoU .5"
    touching: Any = None  # cells that make one region: those with a side in common

    def for_control(self, control: RegionTag) -> PartKind:
        return CELLS[control.shape]

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        rows, columns = grid_in(places)
        tags = np.zeros((rows, columns), np.int64)
        known = [
            (self.covered(start, end, rows, columns), labels.index(name) + 1)
            for start, end, name in regions
            if name in labels and tags.size
        ]
        for share, tag in sorted(known, key=lambda one: one[0].sum(), reverse=True):
            inside = share >= INSIDE
            if not inside.any() and share.max(initial=0) > 0:
                inside = share == share.max()
            tags[(share >= UNCLEAR) & ~inside & (tags == 0)] = -1
            tags[inside] = tag
        return tags.ravel()

    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        """Return the regions that cells of one class which touch make."""
        (rows, columns), size = grid_in(places), size_in(places)
        tags, scores = np.zeros((rows, columns), np.int64), np.zeros((rows, columns))
        for run in runs:
            tags.ravel()[run.start : run.stop] = run.tag
            scores.ravel()[run.start : run.stop] = run.score
        found = []
        for tag in np.unique(tags[tags > 0]).tolist():
            numbered, n = label(tags == tag, self.touching)
            for number in range(1, n + 1):
                cells = numbered == number
                score = float(scores[cells].mean())
                found.append(
                    ScoredRegion(*self.around(cells, scores, size), labels[tag - 1], score)
                )
        return sorted(found)

    def covered(self, start: Any, end: Any, rows: int, columns: int) -> Share:
        """Return the share of each cell that a region covers, (rows, columns)."""
        (left, top), (right, bottom) = start, end
        return np.multiply.outer(_covered(top, bottom, rows), _covered(left, right, columns))

    def around(self, cells: Chosen, scores: Share, size: Size) -> tuple[Any, Any]:
        """Return the borders of the region that some cells of an image of some size make."""
        rows, columns = cells.shape
        ((y, x),) = find_objects(cells.astype(np.int64))
        start = (100 * x.start / columns, 100 * y.start / rows)
        return start, (100 * x.stop / columns, 100 * y.stop / rows)


class MaskedCells(Cells):
    """The cells of an image on which shapes are marked, see `labeling.masks`."""

    def covered(self, start: Any, end: Any, rows: int, columns: int) -> Share:
        mask = mask_of(start, end).astype(np.float64)
        return _coarser(rows) @ mask @ _coarser(columns).T

    def around(self, cells: Chosen, scores: Share, size: Size) -> tuple[Any, Any]:
        y, x = (((np.arange(GRID) + 0.5) * n / GRID).astype(np.int64) for n in cells.shape)
        shape = shape_of(cells[np.ix_(y, x)])
        assert shape is not None  # a cell is larger than a square of the mask
        start, end = shape
        return start, (*end, *size)


class PointedCells(Cells):
    """The cells of an image on which points are marked: a point is in the cell that holds it.

    The cells around it are not learned from. Cells of one class that touch, also by a corner, are
    one point: their mean, weighted by their scores. It lies better than the likeliest cell.
    """

    metric = "F1 of points within 6.25 %"
    touching = np.ones((3, 3))

    def covered(self, start: Any, end: Any, rows: int, columns: int) -> Share:
        column, row = (
            min(int(at * n / 100), n - 1) for at, n in zip(start, (columns, rows), strict=True)
        )
        share = np.zeros((rows, columns))
        share[max(0, row - 1) : row + 2, max(0, column - 1) : column + 2] = UNCLEAR
        share[row, column] = 1
        return share

    def around(self, cells: Chosen, scores: Share, size: Size) -> tuple[Any, Any]:
        rows, columns = cells.shape
        places, weights = np.argwhere(cells) + 0.5, scores[cells]
        row, column = (float(one) for one in weights @ places / weights.sum())
        center = 100 * column / columns, 100 * row / rows
        return center, center


#: By the shape of what a control marks.
CELLS = {"box": Cells(), "mask": MaskedCells(), "point": PointedCells()}


class CellEncoder:
    """The features of cells, without a model."""

    fingerprint = "cells2"
    n_features = N_FEATURES

    def prepare(self, raw: bytes) -> TaskParts:
        image = open_image(raw)
        return TaskParts(cell_features(image), cell_places(*grid_of(*image.size), image.size))

    def encode(self, prepared: Sequence[TaskParts]) -> list[TaskParts]:
        return list(prepared)


def cell_places(rows: int, columns: int, size: Size) -> Places:
    """Return the places of the cells of a grid over an image of a width and a height, in pixels."""
    grid: Places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return grid + (np.array(size[::-1]) << SIZE_BITS)


def grid_in(places: Places) -> tuple[int, int]:
    """Return the rows and columns of a grid, out of the places of its cells."""
    if not len(places):
        return 0, 0
    row, column = (places[-1] & (2**SIZE_BITS - 1)).tolist()
    return row + 1, column + 1


def size_in(places: Places) -> Size:
    """Return the width and the height of an image in pixels, out of the places of its cells."""
    height, width = (places[-1] >> SIZE_BITS).tolist() if len(places) else (0, 0)
    return width, height


def _covered(low: float, high: float, n: int) -> Share:
    """Return the share of each of n equal lengths of 0 to 100 that an interval covers."""
    at = np.arange(n + 1) * 100 / n
    return np.clip(np.minimum(high, at[1:]) - np.maximum(low, at[:-1]), 0, None) * n / 100


@lru_cache
def _coarser(n: int) -> Share:
    """Return how much each of the squares of a mask is of each of n equal lengths, (n, GRID)."""
    at = np.arange(n + 1) * 100 / n
    return np.stack([_covered(at[i], at[i + 1], GRID) for i in range(n)]) * n / GRID
