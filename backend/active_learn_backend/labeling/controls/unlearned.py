"""What stands for the controls of a labeling config of which none can be learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from .base import ControlTag

__all__ = ["ANNOTATED", "UnlearnedControl"]

#: The one label: somebody annotated the task, whatever the answer is.
ANNOTATED = "annotated"


class UnlearnedControl(ControlTag):
    """Reads from any annotation that its task is done; there is nothing to predict."""

    learned: ClassVar[bool] = False
    can_prelabel = False
    problem_type = "classification"
    labels = (ANNOTATED,)

    def __init__(self) -> None:
        self.from_name = self.to_name = ""
        self.predicted_values = {}

    def read(self, result: Sequence[Mapping[str, Any]]) -> str:
        """Return the one label."""
        return ANNOTATED

    def write(self, label: Any, score: float | None = None) -> list[dict[str, Any]]:
        """Return nothing: no answer is predicted."""
        return []
