"""``<Labels>`` on ``<Text>``: spans of the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .region_tag import RegionTag

__all__ = ["LabelsTag", "is_span"]

MOST = 2**62  # of a border


class LabelsTag(RegionTag):
    """Labels: Label Studio counts the borders in code points, as Python does."""

    tag = "Labels"
    objects = ("Text",)
    value_key = "labels"

    def check_objects(self, objects: Sequence[Any]) -> None:
        super().check_objects(objects)
        if {name.lower(): value for name, value in objects[0].attr.items()}.get(
            "valuetype"
        ) == "url":
            raise self.error("labels spans of a text behind an address; put the text into the task")

    def borders(self, value: Mapping[str, Any]) -> tuple[int, int] | None:
        return is_span(value)

    def payload(self, start: int, end: int, content: Any) -> dict[str, Any]:
        text = {"text": content[start:end]} if isinstance(content, str) else {}
        return {"start": start, "end": end, **text}


def is_span(value: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the borders that a value has as whole numbers; None where they make no span."""
    start, end = value.get("start"), value.get("end")
    if not (isinstance(start, int) and isinstance(end, int)) or isinstance(start, bool):
        return None
    return (start, end) if 0 <= start < end < MOST else None
