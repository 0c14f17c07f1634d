"""Variables of a labeling config (``$text``, ``$pages[0].text``), read as Label Studio reads them.

A tag within a `<Repeater>` is there once for each item of a list. `unfold_repeaters` writes its
index as ``*``, so that ``$pages[*].text`` stands for the texts of all pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

__all__ = ["evaluate", "unfold_repeaters", "variable_name"]

# Label Studio's own pattern, and our index of all items.
VARIABLE = re.compile(r"\$(?:[\w\[\].{}]|(?<=[\[.])\*)+", re.ASCII)
STEP = re.compile(r"[^.\[\]]+")
ALL = "*"
DEFAULT_INDEX = "{{idx}}"


def variable_name(value: str | None) -> str | None:
    """Return the name of what the value of a tag reads; None when it reads no task data.

    Of one variable it is the name without the dollar, else (``Title: $title``) the value itself.
    """
    value = (value or "").strip()
    if value.startswith("$") and "$" not in value[1:]:
        return value[1:] or None  # a column's name may hold blanks
    return value if VARIABLE.search(value) else None


def evaluate(name: str, data: Mapping[str, Any]) -> Any:
    """Return what a task's data hold under a name of `variable_name`; None if they hold nothing.

    A key that bears the whole name is taken first, then it is a path. In a text with variables
    each is replaced; without any value of theirs there is none.
    """
    if name in data:
        return data[name]
    if "$" not in name:
        return _follow(data, STEP.findall(name))
    values = [evaluate(variable[1:], data) for variable in VARIABLE.findall(name)]
    if not any(isinstance(value, (str, int, float)) for value in values):
        return None
    shown = iter("" if value is None else str(value) for value in values)
    return VARIABLE.sub(lambda _: next(shown), name)


def unfold_repeaters(root: Element) -> set[Element]:
    """Write the index within each `<Repeater>` as ``*``, and return all tags within one."""
    repeated: set[Element] = set()
    left: list[tuple[Element, frozenset[str]]] = [(root, frozenset())]
    while left:
        element, indices = left.pop()
        if indices:
            repeated.add(element)
            for name, value in element.attrib.items():
                for index in indices:
                    value = value.replace(index, ALL)
                element.set(name, value)
        if str(element.tag).lower() == "repeater":
            attributes = {name.lower(): value for name, value in element.attrib.items()}
            indices = indices | {attributes.get("indexflag") or DEFAULT_INDEX}
        left += [(child, indices) for child in element]
    return repeated


def _follow(value: Any, steps: list[str]) -> Any:
    for at, step in enumerate(steps):
        if step == ALL:
            items = value if isinstance(value, list) else []
            return _joined(_follow(item, steps[at + 1 :]) for item in items)
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            return None
    return value


def _joined(values: Iterable[Any]) -> list[Any]:
    """Put values, and the items of those that are lists, into one list; without None."""
    found: list[Any] = []
    for value in values:
        found += value if isinstance(value, list) else [value]
    return [value for value in found if value is not None]
