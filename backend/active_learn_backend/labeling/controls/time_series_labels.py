"""``<TimeSeriesLabels>`` on ``<TimeSeries>``: segments, in the units of its time column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..time_formats import LATEST, TimeFormat
from .image_region_tag import is_number
from .region_tag import RegionTag

__all__ = ["TimeSeriesLabelsTag", "is_segment"]

MOST = 1e15  # of a border


class TimeSeriesLabelsTag(RegionTag):
    """TimeSeriesLabels: borders are numbers, or times as ``timeFormat`` writes them.

    Without a ``timeColumn`` they are rows, counted from 0. Times are kept as milliseconds from 1970
    on. A moment (``instant``) has the same border twice.
    """

    tag = "TimeSeriesLabels"
    objects = ("TimeSeries",)
    value_key = "timeserieslabels"
    exact = True
    _format: TimeFormat | None = None

    def check_objects(self, objects: Sequence[Any]) -> None:
        super().check_objects(objects)
        attributes = {name.lower(): value for name, value in objects[0].attr.items()}
        written = attributes.get("timeformat")
        if not written:
            return
        if not attributes.get("timecolumn"):
            raise self.error("labels a series with timeFormat but no timeColumn; name the column")
        try:
            self._format = TimeFormat(written)
        except ValueError as error:
            raise self.error(f"labels a series whose timeFormat cannot be read: {error}") from None

    def borders(self, value: Mapping[str, Any]) -> tuple[float, float] | None:
        return is_segment(self._time(value.get("start")), self._time(value.get("end")))

    def payload(self, start: float, end: float, content: Any) -> dict[str, Any]:
        return {"start": self._written(start), "end": self._written(end), "instant": start == end}

    def named(self, start: float, end: float) -> str:
        return f"{self._written(start)} to {self._written(end)}"

    def _time(self, value: Any) -> Any:
        """Return a border as a number, as exact as it is written; anything where it is none."""
        if self._format and not isinstance(value, str):
            value = self._format.write(value) if is_number(value, LATEST) else None
        if not isinstance(value, str):
            return value
        try:
            return self._format.parse(value) if self._format else float(value)
        except (ValueError, OverflowError):
            return None

    def _written(self, time: float) -> str | float:
        if self._format:
            return self._format.write(time)
        return int(time) if float(time).is_integer() else float(time)


def is_segment(start: Any, end: Any) -> tuple[float, float] | None:
    """Return two borders as numbers; None where they make no segment, nor a moment."""
    if not (is_number(start, MOST) and is_number(end, MOST)) or not start <= end:
        return None
    return float(start), float(end)
