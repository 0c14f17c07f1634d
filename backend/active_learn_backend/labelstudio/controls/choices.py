"""``<Choices>``: classification with one label a task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import LabelConfigError
from .base import ControlTag

__all__ = ["ChoicesTag"]


class ChoicesTag(ControlTag):
    """Choices with ``choice="single"`` (the default) or ``"single-radio"``."""

    tag = "Choices"
    problem_type = "classification"

    def __init__(self, control: Any) -> None:
        super().__init__(control)
        if control.attr.get("choice", "single") == "multiple":
            raise LabelConfigError(
                f"Choices '{self.from_name}' has choice=\"multiple\", which is not supported; "
                'set choice="single"'
            )
        if control.dynamic_value or not self.labels:
            raise LabelConfigError(
                f"Choices '{self.from_name}' has no fixed choices; list them as <Choice value=.../>"
            )
        if len(self.labels) < 2:
            raise LabelConfigError(
                f"Choices '{self.from_name}' has one choice; add a second <Choice>, "
                "there is nothing to learn from one"
            )

    def read(self, result: Sequence[Mapping[str, Any]]) -> str | None:
        for value in self.values(result):
            chosen = value.get("choices")
            if isinstance(chosen, list) and chosen and chosen[0] in self.labels:
                return str(chosen[0])
        return None

    def write(self, label: str, score: float | None = None) -> list[dict[str, Any]]:
        return self.item("choices", {"choices": [label]}, score)
