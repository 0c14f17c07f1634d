"""What an annotation that is being made lacks: where Label Studio asks while somebody annotates."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..labeling.config import LabelingTask
from ..labeling.controls import ControlTag, RegionTag
from ..labeling.regions import Region

__all__ = ["controls_to_answer", "without_known_regions"]


def controls_to_answer(task: LabelingTask, annotated: Any) -> list[ControlTag]:
    """Return the controls that an annotation has not answered, and those that label regions.

    Parameters
    ----------
    annotated : any
        The result of the annotation so far, as Label Studio sends it; nobody validated it.
    """
    return [
        one
        for one in task.controls
        if isinstance(one, RegionTag) or one.read(annotated or ()) is None
    ]


def without_known_regions(
    task: LabelingTask, annotated: Any, result: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the items of a prediction's result but for regions that an annotation has already."""
    known = {one.from_name: _regions(one, annotated or ()) for one in task.regions}
    controls = {one.from_name: one for one in task.regions}

    def is_new(item: Mapping[str, Any]) -> bool:
        control = controls.get(str(item.get("from_name")))
        return control is None or not _regions(control, [item]) <= known[control.from_name]

    return [item for item in result if is_new(item)]


def _regions(control: RegionTag, result: Any) -> set[Region]:
    found: Iterable[Sequence[Any]] = control.read(result) or ()
    return {Region.of(one) for one in found}
