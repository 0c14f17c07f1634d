"""``<TextArea model_learn="true">``: a field that holds short answers, which come again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .base import ControlTag
from .open_answers import LONGEST, classes_of_answers

__all__ = ["TextAreaTag"]


class TextAreaTag(ControlTag):
    """TextArea: classification, whose classes are the answers that were given more than once.

    Most fields of this kind hold free text, so it is learned only with ``model_learn="true"``.
    """

    tag = "TextArea"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        self.problem_type = "classification"
        if not self.is_true("model_learn"):
            raise self.error("takes free text")

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...]:
        return classes_of_answers(labels)

    def read(self, result: Sequence[Mapping[str, Any]]) -> str | None:
        for value in self.values(result):
            texts = value.get("text")
            lines = [texts] if isinstance(texts, str) else texts
            if not isinstance(lines, list) or not all(isinstance(one, str) for one in lines):
                continue
            answer = " ".join(" ".join(lines).split())
            if 0 < len(answer) <= LONGEST:
                return answer
        return None

    def write(self, label: str, score: float | None = None) -> list[dict[str, Any]]:
        return self.item({"text": [label]}, score) if label else []
