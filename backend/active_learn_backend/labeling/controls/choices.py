"""``<Choices>``: one label a task, or with ``choice="multiple"`` any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag, choice_name, model_names

__all__ = ["ChoicesTag"]


class ChoicesTag(CategoricalTag):
    """Choices: ``"single"`` (the default) and ``"single-radio"`` are classification.

    A <Choice> inside of another is not shown by Label Studio, so it is no label. With
    ``allowNested`` the answers are paths, for which there is Taxonomy.
    """

    tag = "Choices"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        multiple = self.attribute("choice") == "multiple"
        self.problem_type = "multilabel" if multiple else "classification"
        if self.is_true("allowNested"):
            raise self.error(
                'has allowNested="true", whose answers Label Studio refuses as predictions; '
                "make it a <Taxonomy>"
            )
        choices = {name: choice for choice in _shown(element) if (name := choice_name(choice))}
        if control.dynamic_value or not choices:
            raise self.error("has no fixed choices; list them as <Choice value=.../>")
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
        if not isinstance(choices, list):
            return []
        names = [one for one in choices if isinstance(one, str)]
        return [
            self._by_value.get(one, one)
            for one in names
            if one in self.offered or one in self._by_value
        ]

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"choices": list(labels)}


def _shown(element: Element) -> Iterator[Element]:
    """Find the choices, also within views, but not those inside of another choice."""
    for child in element:
        if child.tag == "Choice":
            yield child
        else:
            yield from _shown(child)
