"""Common base of the tags whose labels are names."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .base import ControlTag

__all__ = ["CategoricalTag", "choice_name", "model_names", "shown_choices"]


class CategoricalTag(ControlTag):
    """A tag that offers named labels: one a task, or (multi-label) any number of them.

    An annotation with none of them is no label, in multi-label too: Label Studio stores nothing
    for a control that nobody touched, so "none of these" and "not answered" look the same.
    """

    @abstractmethod
    def chosen(self, value: Mapping[str, Any]) -> list[str]:
        """Return the labels that are chosen in one value of an annotation."""

    @abstractmethod
    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        """Write labels (at least one, all of them offered) as such a value."""

    def require_fixed_choices(self, control: Any, other_way: str = "") -> None:
        """Check that the choices do not come from elsewhere.

        Parameters
        ----------
        other_way : str
            What else than listing them helps, where each task brings the same choices.

        Raises
        ------
        LabelConfigError
        """
        if self.attribute("apiUrl"):
            raise self.error("loads its choices from apiUrl; list them as <Choice value=.../>")
        if control.dynamic_value:
            raise self.error(
                "takes its choices from each task; if they are the same in all tasks, list them as "
                f"<Choice value=.../> instead{other_way}"
            )

    def offer(self, labels: Sequence[str], names: Iterable[tuple[str, str]]) -> None:
        """Set what is offered: labels, and pairs of (name that a model may have, label)."""
        if not labels:
            raise self.error("has no choices; list them as <Choice value=.../>")
        if len(labels) < 2:
            raise self.error("has one choice; add a second <Choice>, one teaches nothing")
        self.labels = tuple(labels)
        self.offered = frozenset(labels)
        claims: dict[str, set[str]] = {}
        for name, label in names:
            claims.setdefault(name, set()).add(label)
        self.predicted_values = {
            name: next(iter(claimed))
            for name, claimed in claims.items()
            if len(claimed) == 1 and name not in self.offered
        }

    def read(self, result: Sequence[Mapping[str, Any]]) -> str | list[str] | None:
        for value in self.values(result):
            chosen = self.chosen(value)
            if chosen and self.problem_type == "multilabel":
                found = set(chosen)
                return [label for label in self.labels if label in found]
            if chosen:
                return chosen[0]
        return None

    def write(self, label: str | Sequence[str], score: float | None = None) -> list[dict[str, Any]]:
        wanted = {label} if isinstance(label, str) else set(label)
        offered = [name for name in self.labels if name in wanted]
        return self.item(self.payload(offered), score) if offered else []


def shown_choices(element: Element) -> Iterator[Element]:
    """Find the choices, also within views, but not those inside of another choice."""
    for child in element:
        if child.tag == "Choice":
            yield child
        else:
            yield from shown_choices(child)


def choice_name(choice: Element) -> str | None:
    """Return the name under which Label Studio stores a <Choice>: its alias, else its value."""
    return choice.get("alias") or choice.get("value")


def model_names(choice: Element) -> list[str]:
    """Return a model's names for a <Choice>: its ``predicted_values``, name and value."""
    predicted = (choice.get("predicted_values") or "").split(",")
    names = [*(name.strip() for name in predicted), choice_name(choice), choice.get("value")]
    return [name for name in names if name]
