"""``<Labels>`` on ``<Text>``: spans of the text; on ``<Audio>``: segments, in seconds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .base import ControlTag
from .region_tag import RegionTag
from .time_series_labels import is_segment

__all__ = ["AudioLabelsTag", "LabelsTag", "is_span"]

AUDIO = ("Audio", "AudioPlus")

MOST = 2**62  # of a border


class LabelsTag(RegionTag):
    """Labels: Label Studio counts the borders in code points, as Python does."""

    tag = "Labels"
    objects: ClassVar[tuple[str, ...]] = ("Text",)
    value_key = "labels"

    @classmethod
    def for_objects(cls, objects: Sequence[Any]) -> type[ControlTag]:
        of_audio = cls is LabelsTag and any(one.tag in AUDIO for one in objects)
        return AudioLabelsTag if of_audio else cls

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


class AudioLabelsTag(LabelsTag):
    """Labels of audio: borders are seconds. What is heard in one channel counts for all."""

    objects = AUDIO

    def check_objects(self, objects: Sequence[Any]) -> None:
        RegionTag.check_objects(self, objects)

    def borders(self, value: Mapping[str, Any]) -> tuple[Any, Any] | None:
        found = is_segment(value.get("start"), value.get("end"))
        return found if found and 0 <= found[0] < found[1] else None

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        return {"start": start, "end": end, "channel": 0}

    def named(self, start: Any, end: Any) -> str:
        return f"{start:.2f} to {end:.2f} s"


def is_span(value: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the borders that a value has as whole numbers; None where they make no span."""
    start, end = value.get("start"), value.get("end")
    if not (isinstance(start, int) and isinstance(end, int)) or isinstance(start, bool):
        return None
    return (start, end) if 0 <= start < end < MOST else None
