"""``<Choices>``: one label a task, or with ``choice="multiple"`` any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag, choice_name, model_names, shown_choices
from .paths import ChoiceTree

__all__ = ["ChoicesTag"]


class ChoicesTag(CategoricalTag):
    """Choices: ``"single"`` (the default) and ``"single-radio"`` are classification.

    With ``allowNested`` each leaf is a label, see `ChoiceTree`; without, a <Choice> inside of
    another is not shown by Label Studio, so it is no label.
    """

    tag = "Choices"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        multiple = self.attribute("choice") == "multiple"
        self.problem_type = "multilabel" if multiple else "classification"
        self.require_fixed_choices(control)
        self._tree: ChoiceTree | None = None
        self._by_value: Mapping[str, str] = {}
        if self.is_true("allowNested"):
            self._tree = ChoiceTree(element, self.error)
            self.can_prelabel = False  # Label Studio drops predictions of paths
            self.offer(self._tree.labels, self._tree.names)
            return
        choices = {
            name: choice for choice in shown_choices(element) if (name := choice_name(choice))
        }
        self.offer(
            list(choices),
            [(name, label) for label, choice in choices.items() for name in model_names(choice)],
        )
        self._by_value = self._labels_by_value(choices)

    def _labels_by_value(self, choices: Mapping[str, Element]) -> dict[str, str]:
        """Return the label of each value that has an alias; imports often name the value."""
        values = Counter(choice.get("value") for choice in choices.values())
        return {
            value: label
            for label, choice in choices.items()
            if (value := choice.get("value")) and values[value] == 1 and value not in self.offered
        }

    def chosen(self, value: Mapping[str, Any]) -> list[str]:
        choices = value.get("choices")
        if self._tree is not None:
            return self._tree.chosen(choices)
        if not isinstance(choices, list):
            return []
        names = [one for one in choices if isinstance(one, str)]
        return [
            self._by_value.get(one, one)
            for one in names
            if one in self.offered or one in self._by_value
        ]

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"choices": list(labels) if self._tree is None else self._tree.paths(labels)}
