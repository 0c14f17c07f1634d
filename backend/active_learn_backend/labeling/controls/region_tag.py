"""Common base of the tags that label regions of a task."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from xml.etree.ElementTree import Element

from ..regions import ScoredRegion, agreement, merge_regions, sorted_regions
from .base import ControlTag
from .categorical import model_names

__all__ = ["RegionTag"]


class RegionTag(ControlTag):
    """A tag that labels regions; the label of a task is the list of them, see `regions`.

    An annotation without a region says that nothing is there, which is a label. Of a region with
    several labels each is one. Relations, and what is answered for single regions, are not read.

    Attributes
    ----------
    objects : tuple of str
        Names of the tags that it may label.
    value_key : str
        Where a value has its labels.
    shape : str
        What a region is: ``interval``, or in an image ``box``, ``mask`` or ``point``.
    exact : bool
        Whether the field that is labeled is kept as it is, see `Field.exact`.
    """

    objects: ClassVar[tuple[str, ...]]
    value_key: ClassVar[str]
    shape: ClassVar[str] = "interval"
    exact: ClassVar[bool] = False
    problem_type = "regions"  # type: ignore[assignment]  # the library never sees it

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        if self.attribute("value") or self.attribute("apiUrl"):
            raise self.error("takes its labels from each task; list them as <Label value=.../>")
        names = [
            (label, name)
            for one in element.iter("Label")
            if (label := one.get("alias") or one.get("value"))
            for name in model_names(one)
        ]
        self.labels = tuple(dict.fromkeys(label for label, _ in names))
        if not self.labels:
            raise self.error("has no labels; list them as <Label value=.../>")
        claims = {name: {label for label, other in names if other == name} for _, name in names}
        self.predicted_values = {
            name: next(iter(labels))
            for name, labels in claims.items()
            if len(labels) == 1 and name not in self.labels
        }

    @abstractmethod
    def borders(self, value: Mapping[str, Any]) -> tuple[Any, Any] | None:
        """Return the borders of a region of an annotation; None where it has none."""

    @abstractmethod
    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        """Write borders as the value of a region.

        Parameters
        ----------
        content : any
            What the task holds in the field that is labeled; None where it is not at hand.
        """

    def named(self, start: Any, end: Any) -> str:
        """Return in words where a region lies; empty where its text says it."""
        return ""

    def path(self, start: Any, end: Any) -> str:
        """Return the SVG path of a region in an image of 100 x 100; empty where it is in none."""
        return ""

    def check_objects(self, objects: Sequence[Any]) -> None:
        if len(objects) != 1 or objects[0].tag not in self.objects:
            tags = " and ".join(sorted({one.tag for one in objects}))
            raise self.error(f"labels regions of {tags}, which are not learned")

    def read(self, result: Sequence[Mapping[str, Any]]) -> list[list[Any]] | None:
        """Return the regions of an annotation; None where none of those in it can be read."""
        values = self.values(result)
        regions = [
            (*borders, label)
            for value in values
            if (borders := self.borders(value)) is not None
            for label in self._labels_of(value)
        ]
        return sorted_regions(regions) if regions or not values else None

    def write(self, label: Sequence[Sequence[Any]], score: float | None = None) -> list[Any]:
        """Write regions without what the task says there, each with one score."""
        return self.write_regions([(*one, score) for one in label])

    def write_regions(
        self, regions: Sequence[ScoredRegion | Sequence[Any]], content: Any = None
    ) -> list[dict[str, Any]]:
        """Write regions as a prediction's result, an item each.

        Intervals of one place are one item with several labels where a region may have several
        (``choice="multiple"``), with the lowest of their scores.

        Parameters
        ----------
        content : any
            See `payload`.
        """
        together = self.shape == "interval" and self.attribute("choice") == "multiple"
        places: dict[Any, list[Sequence[Any]]] = {}
        for at, one in enumerate(regions):
            if one[2] in self.labels:
                place = tuple(one[:2]) if together else at  # corners may be lists
                places.setdefault(place, []).append(one)
        items = []
        for found in places.values():
            start, end = found[0][:2]
            labels = [one[2] for one in found]
            score = min((one[3] for one in found if one[3] is not None), default=None)
            items += self.item({**self.payload(start, end, content), self.value_key: labels}, score)
        return items

    def merge(self, votes: Sequence[Any]) -> list[list[Any]]:
        return merge_regions(votes)

    def differs(self, vote: Any, label: Any) -> float:
        return 1 - agreement(vote, label)

    def _labels_of(self, value: Mapping[str, Any]) -> list[str]:
        """Return the labels of a region that the config offers."""
        names = value.get(self.value_key)
        names = [one for one in (names if isinstance(names, list) else []) if isinstance(one, str)]
        named = [self.predicted_values.get(one, one) for one in names]
        return [one for one in named if one in self.labels]
