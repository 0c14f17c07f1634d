"""``<Choices>``: one label a task, or with ``choice="multiple"`` any number of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag, choice_name, model_names, shown_choices
from .open_answers import LONGEST, classes_of_answers
from .paths import ChoiceTree

__all__ = ["ChoicesTag"]

MODEL_LEARN = ', or add model_learn="true"'


class ChoicesTag(CategoricalTag):
    """Choices: ``"single"`` (the default) and ``"single-radio"`` are classification.

    With ``allowNested`` each leaf is a label, see `ChoiceTree`; without, a <Choice> inside of
    another is not shown by Label Studio, so it is no label. With ``model_learn`` choices that come
    from the tasks (``value="$options"``) are learned as short answers are: the config does not list
    them, so the classes are those that were chosen more than once.
    """

    tag = "Choices"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        multiple = self.attribute("choice") == "multiple"
        self.problem_type = "multilabel" if multiple else "classification"
        one_of_a_list = not multiple and not self.is_true("allowNested")
        self._from_tasks = self._takes_answers(control) and one_of_a_list
        if not self._from_tasks:
            self.require_fixed_choices(control, MODEL_LEARN if one_of_a_list else "")
        self._tree: ChoiceTree | None = None
        self._by_value: Mapping[str, str] = {}
        if self._from_tasks:
            return
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

    def _takes_answers(self, control: Any) -> bool:
        """Check whether the choices come from the tasks, and are to be learned all the same."""
        from_tasks = control.dynamic_value and self.attribute("apiUrl") is None
        return bool(from_tasks) and self.is_true("model_learn")

    def classes(self, labels: Iterable[Any]) -> tuple[str, ...]:
        return classes_of_answers(labels) if self._from_tasks else self.labels

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
        if self._from_tasks:
            return [one for one in names if 0 < len(one) <= LONGEST]
        return [
            self._by_value.get(one, one)
            for one in names
            if one in self.offered or one in self._by_value
        ]

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"choices": list(labels) if self._tree is None else self._tree.paths(labels)}

    def write(self, label: str | Sequence[str], score: float | None = None) -> list[dict[str, Any]]:
        if self._from_tasks:
            return self.item({"choices": [label]}, score) if label else []
        return super().write(label, score)
