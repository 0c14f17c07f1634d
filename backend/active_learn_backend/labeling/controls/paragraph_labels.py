"""``<ParagraphLabels>`` on ``<Paragraphs>``: spans of a dialogue, within or over paragraphs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..exact_text import PARAGRAPH, exact_text
from .labels import LabelsTag, is_span

__all__ = ["ParagraphLabelsTag"]


class ParagraphLabelsTag(LabelsTag):
    """Borders are a paragraph, counted from 0 and written as text, and a place in it."""

    tag = "ParagraphLabels"
    objects = ("Paragraphs",)
    value_key = "paragraphlabels"
    exact = True

    def borders(self, value: Mapping[str, Any]) -> tuple[int, int] | None:
        found = []
        for name in ("start", "end"):
            paragraph, at = str(value.get(name)), value.get(f"{name}Offset")
            if not (paragraph.isdecimal() and isinstance(at, int) and 0 <= at < PARAGRAPH):
                return None
            found.append(int(paragraph) * PARAGRAPH + at)
        return is_span({"start": found[0], "end": found[1]})

    def payload(self, start: int, end: int, content: Any) -> dict[str, Any]:
        (first, at), (last, until) = divmod(start, PARAGRAPH), divmod(end, PARAGRAPH)
        text = {"text": exact_text(content, "dialogue").between(start, end)} if content else {}
        paragraphs = {"start": str(first), "end": str(last)}
        return {**paragraphs, "startOffset": at, "endOffset": until, **text}
