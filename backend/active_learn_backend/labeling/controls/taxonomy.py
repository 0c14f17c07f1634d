"""``<Taxonomy>``: the leaves of a tree of choices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag
from .paths import ChoiceTree

__all__ = ["TaxonomyTag"]


class TaxonomyTag(CategoricalTag):
    """Taxonomy: every leaf is a label, see `ChoiceTree`.

    With ``maxUsages="1"`` it is classification, else multi-label. Without ``leafsOnly`` an
    annotator may choose an inner node as well.
    """

    tag = "Taxonomy"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        single = self.attribute("maxUsages") == "1"
        self.problem_type = "classification" if single else "multilabel"
        if self.is_true("labeling"):
            raise self.error('labels regions (labeling="true"), not the task')
        self.require_fixed_choices(control)
        self._tree = ChoiceTree(element, self.error)
        self.offer(self._tree.labels, self._tree.names)

    def chosen(self, value: Mapping[str, Any]) -> list[str]:
        return self._tree.chosen(value.get("taxonomy"))

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"taxonomy": self._tree.paths(labels)}
