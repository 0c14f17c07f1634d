"""``<HyperTextLabels>``, also ``<Labels>``, on ``<HyperText>``: spans of the text in HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..exact_text import ExactHtml, exact_text
from .labels import LabelsTag, is_span

__all__ = ["HyperTextLabelsTag"]


class HyperTextLabelsTag(LabelsTag):
    """Spans are read and written by their offsets in the whole text (``globalOffsets``).

    Their XPaths are written, since Label Studio shows predictions by them, but not read: it stores
    both.
    """

    tag = "HyperTextLabels"
    objects = ("HyperText",)
    value_key = "hypertextlabels"
    exact = True

    def borders(self, value: Mapping[str, Any]) -> tuple[int, int] | None:
        offsets = value.get("globalOffsets")
        return is_span(offsets) if isinstance(offsets, Mapping) else None

    def payload(self, start: int, end: int, content: Any) -> dict[str, Any]:
        offsets = {"globalOffsets": {"start": start, "end": end}}
        text = exact_text(content, "html") if content else None
        if not isinstance(text, ExactHtml):
            return {"start": "", "end": "", "startOffset": 0, "endOffset": 0, **offsets}
        first, at = text.path(start, end=False)
        last, until = text.path(end, end=True)
        paths = {"start": first, "end": last, "startOffset": at, "endOffset": until}
        return {**paths, **offsets, "text": text.between(start, end)}
