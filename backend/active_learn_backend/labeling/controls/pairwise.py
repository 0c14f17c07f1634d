"""``<Pairwise>``: which of two objects is the better one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag

__all__ = ["PairwiseTag"]


class PairwiseTag(CategoricalTag):
    """Pairwise over ``toName="a,b"``: classification, ``left`` for a and ``right`` for b.

    Label Studio drops every Pairwise prediction on import, in every form, so answers are only
    live ones.
    """

    tag = "Pairwise"
    can_prelabel = False

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        self.problem_type = "classification"
        if len(set(control.to_name)) != 2 or len(control.to_name) != 2:
            raise self.error('has to compare two objects; set toName="first,second"')
        # Label Studio's frontend ties the answer to the control itself, not to one of the two.
        self.to_name = self.from_name
        self.offer(("left", "right"), ())

    def chosen(self, value: Mapping[str, Any]) -> list[str]:
        selected = value.get("selected")
        return [selected] if isinstance(selected, str) and selected in self.labels else []

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"selected": labels[0]}
