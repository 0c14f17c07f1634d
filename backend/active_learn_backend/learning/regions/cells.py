"""The cells of an image as parts of a task: their classes by boxes, and boxes by their classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label

from ...labeling.regions import ScoredRegion
from ...settings import Settings
from ..encoders.images import open_image
from .cell_features import N_FEATURES, cell_features, grid_of
from .part_kind import PartKind, Tags
from .parts import Places, TaskParts

__all__ = ["CellEncoder", "Cells"]

INSIDE = 0.5  # share of a cell that a box covers, from which the cell has its class
UNCLEAR = 0.2  # share from which its class is not known


class Cells(PartKind):
    """The cells of a grid over an image.

    A cell is in a box that covers half of it or more; a box that covers no cell that far has the
    one that it covers most of. Cells of which a box covers from a fifth to a half are not learned
    from. Of boxes that overlap the smaller one counts.
    """

    sequential = False
    noun = "cells"
    metric = "F1 at IoU .5"

    def encoder(self, settings: Settings) -> CellEncoder:
        return CellEncoder()

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        rows, columns = grid_in(places)
        tags = np.zeros((rows, columns), np.int64)
        known = [one for one in regions if one[2] in labels]
        for (left, top), (right, bottom), name in sorted(known, key=_area, reverse=True):
            share = np.outer(_covered(top, bottom, rows), _covered(left, right, columns))
            inside = share >= INSIDE
            if not inside.any() and share.max(initial=0) > 0:
                inside = share == share.max()
            tags[(share >= UNCLEAR) & ~inside & (tags == 0)] = -1
            tags[inside] = labels.index(name) + 1
        return tags.ravel()

    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        """Return the boxes around cells of one class that touch, with their mean score."""
        rows, columns = grid_in(places)
        tags, scores = np.zeros((rows, columns), np.int64), np.zeros((rows, columns))
        for run in runs:
            tags.ravel()[run.start : run.stop] = run.tag
            scores.ravel()[run.start : run.stop] = run.score
        found = []
        for tag in np.unique(tags[tags > 0]).tolist():
            numbered = label(tags == tag)[0]
            for number, (y, x) in enumerate(find_objects(numbered), 1):
                score = float(scores[y, x][numbered[y, x] == number].mean())
                start = (100 * x.start / columns, 100 * y.start / rows)
                end = (100 * x.stop / columns, 100 * y.stop / rows)
                found.append(ScoredRegion(start, end, labels[tag - 1], score))
        return sorted(found)


class CellEncoder:
    """The features of cells, without a model."""

    fingerprint = "cells1"
    n_features = N_FEATURES

    def prepare(self, raw: bytes) -> TaskParts:
        image = open_image(raw)
        rows, columns = grid_of(*image.size)
        grid: Places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
        return TaskParts(cell_features(image), grid)

    def encode(self, prepared: Sequence[TaskParts]) -> list[TaskParts]:
        return list(prepared)


def grid_in(places: Places) -> tuple[int, int]:
    """Return the rows and columns of a grid, out of the places of its cells."""
    return (int(places[-1, 0]) + 1, int(places[-1, 1]) + 1) if len(places) else (0, 0)


def _area(region: Sequence[Any]) -> float:
    (left, top), (right, bottom), _ = region
    return float((right - left) * (bottom - top))


def _covered(low: float, high: float, n: int) -> npt.NDArray[np.float64]:
    """Return the share of each of n equal lengths of 0 to 100 that an interval covers."""
    at = np.arange(n + 1) * 100 / n
    return np.clip(np.minimum(high, at[1:]) - np.maximum(low, at[:-1]), 0, None) * n / 100
