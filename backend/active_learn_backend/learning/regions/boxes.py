"""The candidate boxes of a detector as parts of a task: an own model finds them, not a grid."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...labeling.regions import ScoredRegion
from ...settings import Settings
from ..encoders.images import open_image
from ..user_models.detector import Detected, Detector
from ..user_models.region_head import SCALE
from .part_kind import PartEncoder, PartKind, Tags
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

    def encoder(self, settings: Settings) -> PartEncoder:
        raise NotImplementedError("an own model makes them")

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        tags = np.zeros(len(places), np.int64)
        known = [one for one in regions if one[2] in labels]
        if not known or not len(places):
            return tags
        wanted = np.array([[*start, *end] for start, end, _ in known], np.float64)
        shares = overlaps(wanted, boxes_of(places))
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
            if empty or (len(others) and overlaps(boxes[[at]], others).max() >= DOUBLE):
                continue
            kept.setdefault(tag, []).append(at)
            left, top, right, bottom = boxes[at].tolist()
            found.append(ScoredRegion((left, top), (right, bottom), labels[tag - 1], score))
        return sorted(found)


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
        self.fingerprint = BOXES + fingerprint
        self.n_features = model.n_states + len(model.classes) * with_scores

    def prepare(self, raw: bytes) -> Any:
        return self._model.prepare(open_image(raw))

    def encode(self, prepared: Sequence[Any]) -> list[TaskParts]:
        return [self._parts(self._model.detect(one)) for one in prepared]

    def _parts(self, found: Detected) -> TaskParts:
        features = found.features
        if self._with_scores:
            features = np.concatenate([features, found.scores * SCALE], axis=1)
        return TaskParts(features.astype(np.float32), places_of(found.boxes))


def places_of(boxes: npt.NDArray[Any]) -> Places:
    """Return places (n, 2) of boxes (n, 4): the corner at the left top, and at the right bottom."""
    fine = np.rint(np.asarray(boxes, np.float64) * FINE).astype(np.int64)
    return fine[:, [0, 2]] * SHIFT + fine[:, [1, 3]]


def boxes_of(places: Places) -> FloatArray:
    """Return boxes (n, 4) of places: left, top, right and bottom in percent."""
    x, y = np.divmod(places, SHIFT)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1) / FINE


def overlaps(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the share of their union in which boxes (n, 4) and (m, 4) overlap, (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    sizes = [np.clip(one[:, 2:] - one[:, :2], 0, None).prod(axis=1) for one in (first, second)]
    union = sizes[0][:, None] + sizes[1][None] - both
    shares: FloatArray = both / np.maximum(union, 1e-12)
    return shares
