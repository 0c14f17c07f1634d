"""The candidate boxes of a detector as parts of a task: an own model finds them, not a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...labeling.regions import ScoredRegion
from ..encoders.images import open_image
from ..user_models.detector import Detected, Detector, box_overlaps
from ..user_models.region_head import SCALE
from ..user_models.vectors import unit_length
from .cell_features import N_FEATURES, cell_features, grid_of
from .part_kind import PartKind, Tags
from .parts import Places, TaskParts

__all__ = ["BOXES", "BoxEncoder", "Boxes", "boxes_of", "places_of"]

SAME = 0.5  # share of the union, from which a candidate is the box of a region
UNCLEAR = 0.3  # share from which its class is not known
DOUBLE = 0.7  # share from which the surer one of two boxes of one label is proposed
FINE = 1e6  # places are counted in millionths of a percent
SHIFT = 2**31
#: What the fingerprint of such parts begins with.
BOXES = "boxes1-"

FloatArray = npt.NDArray[np.float64]


class Boxes(PartKind):
    """The candidate boxes of a detector.

    A region has the candidate that overlaps most with it, in half of their union or more. Other
    candidates that overlap with a region in 30 % or more are not learned from.
    """

    sequential = False
    noun = "candidate boxes"
    metric = "F1 at IoU .5"

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        tags = np.zeros(len(places), np.int64)
        known = [one for one in regions if one[2] in labels]
        if not known or not len(places):
            return tags
        wanted = np.array([[*start, *end] for start, end, _ in known], np.float64)
        shares = box_overlaps(wanted, boxes_of(places))
        tags[shares.max(axis=0) >= UNCLEAR] = -1
        free = shares.copy()
        for at in np.argsort(-shares.max(axis=1), kind="stable"):
            best = int(free[at].argmax())
            if free[at, best] >= SAME:
                tags[best] = labels.index(known[at][2]) + 1
                free[:, best] = 0
        return tags

    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        """Return the boxes with a label; of two that are almost one the surer."""
        boxes = boxes_of(places)
        found: list[ScoredRegion] = []
        kept: dict[int, list[int]] = {}
        candidates = [(run.score, at, run.tag) for run in runs for at in range(run.start, run.stop)]
        for score, at, tag in sorted(candidates, key=lambda one: (-one[0], one[1])):
            others, empty = boxes[kept.get(tag, [])], (boxes[at, 2:] <= boxes[at, :2]).any()
            if empty or (len(others) and box_overlaps(boxes[[at]], others).max() >= DOUBLE):
                continue
            kept.setdefault(tag, []).append(at)
            left, top, right, bottom = boxes[at].tolist()
            found.append(ScoredRegion((left, top), (right, bottom), labels[tag - 1], score))
        return sorted(found)


class Look(NamedTuple):
    """What the cells of an image look like, for detectors that tell nothing of their boxes."""

    cells: npt.NDArray[np.float32]
    rows: int
    columns: int

    def within(self, boxes: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the mean of the cells within each box (n, 4), in unit length."""
        y = _covered(boxes[:, 1], boxes[:, 3], self.rows)
        x = _covered(boxes[:, 0], boxes[:, 2], self.columns)
        weights = (y[:, :, None] * x[:, None, :]).reshape(len(boxes), -1)
        return unit_length((weights @ self.cells).astype(np.float32))


def _covered(low: npt.NDArray[Any], high: npt.NDArray[Any], n: int) -> FloatArray:
    """Return how much of each of n equal lengths of 0 to 100 some intervals (m,) cover, (m, n)."""
    at = np.arange(n + 1) * 100 / n
    ends = np.minimum(high[:, None], at[1:]), np.maximum(low[:, None], at[:-1])
    return np.clip(ends[0] - ends[1], 0, None)


class BoxEncoder:
    """What a detector finds in images.

    Parameters
    ----------
    model : Detector
    fingerprint : str
    with_scores : bool
        Whether its class scores are among the features.
    """

    def __init__(self, model: Detector, fingerprint: str, *, with_scores: bool) -> None:
        self._model, self._with_scores = model, with_scores
        self._looks = model.features_are_poor
        self.fingerprint = BOXES + fingerprint
        self.n_features = model.n_states + len(model.classes) * with_scores
        self.n_features += N_FEATURES * self._looks

    def prepare(self, raw: bytes) -> tuple[Any, Look | None]:
        image = open_image(raw)
        look = Look(cell_features(image), *grid_of(*image.size)) if self._looks else None
        return self._model.prepare(image), look

    def encode(self, prepared: Sequence[tuple[Any, Look | None]]) -> list[TaskParts]:
        return [self._parts(self._model.detect(one), look) for one, look in prepared]

    def _parts(self, found: Detected, look: Look | None) -> TaskParts:
        columns = [found.features]
        if self._with_scores:
            columns.append(found.scores * SCALE)
        if look is not None:
            columns.append(look.within(found.boxes))
        features = np.concatenate(columns, axis=1).astype(np.float32)
        return TaskParts(features, places_of(found.boxes))


def places_of(boxes: npt.NDArray[Any]) -> Places:
    """Return places (n, 2) of boxes (n, 4): the corner at the left top, and at the right bottom."""
    fine = np.rint(np.asarray(boxes, np.float64) * FINE).astype(np.int64)
    return fine[:, [0, 2]] * SHIFT + fine[:, [1, 3]]


def boxes_of(places: Places) -> FloatArray:
    """Return boxes (n, 4) of places: left, top, right and bottom in percent."""
    x, y = np.divmod(places, SHIFT)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1) / FINE
