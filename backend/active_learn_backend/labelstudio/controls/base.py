"""What a control tag must say to be learned."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from ...errors import LabelConfigError

__all__ = ["REGISTRY", "ControlTag"]

REGISTRY: dict[str, type[ControlTag]] = {}

ProblemType = Literal["classification", "regression", "multilabel"]


class ControlTag(ABC):
    """One control tag of a labeling config.

    Parameters
    ----------
    control : label_studio_sdk.label_interface.control_tags.ControlTag
        The parsed tag.

    Raises
    ------
    LabelConfigError
        When this tag, as configured, cannot be learned; says what to change.

    Attributes
    ----------
    from_name, to_name : str
        Names of the control and of the object that it labels.
    labels : tuple of str
        All labels that the config offers (the alias where there is one); empty in regression.
    """

    tag: ClassVar[str]
    problem_type: ClassVar[ProblemType]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        REGISTRY[cls.tag] = cls

    def __init__(self, control: Any) -> None:
        self.from_name: str = control.name
        self.labels: tuple[str, ...] = tuple(control.labels)
        if len(control.to_name) != 1:
            raise LabelConfigError(
                f"{self.tag} '{self.from_name}' has to label exactly one object; set its toName"
            )
        self.to_name: str = control.to_name[0]
        if _is_true(control.attr.get("perRegion")):
            raise LabelConfigError(
                f"{self.tag} '{self.from_name}' has perRegion=\"true\"; only labels of the whole "
                "task can be learned, remove perRegion"
            )

    @abstractmethod
    def read(self, result: Sequence[Mapping[str, Any]]) -> Any:
        """Read the label (a JSON value) out of one annotation's result; None when it has none."""

    @abstractmethod
    def write(self, label: Any, score: float | None = None) -> list[dict[str, Any]]:
        """Write a label as a prediction's result, with the head's probability if given."""

    def values(self, result: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Pick the values that this control gave, out of an annotation's result."""
        return [
            item["value"]
            for item in result
            if item.get("from_name") == self.from_name and isinstance(item.get("value"), Mapping)
        ]

    def item(
        self, kind: str, value: Mapping[str, Any], score: float | None
    ) -> list[dict[str, Any]]:
        """Wrap a value as the one item of a prediction's result."""
        item: dict[str, Any] = {
            "from_name": self.from_name,
            "to_name": self.to_name,
            "type": kind,
            "value": dict(value),
        }
        if score is not None:
            item["score"] = round(float(score), 6)
        return [item]


def _is_true(attribute: str | None) -> bool:
    return str(attribute).lower() == "true"
