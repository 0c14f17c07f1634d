"""Nested choices: each leaf is a label, named by its path."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from ...errors import LabelConfigError
from .categorical import choice_name, model_names, shown_choices

__all__ = ["SEPARATOR", "ChoiceTree"]

SEPARATOR = " / "  # what Label Studio shows between the parts of a path

Path = tuple[str, ...]


class ChoiceTree:
    """The leaves of a tree of choices, named by their paths ("Animal / Dog").

    Where an annotator may choose an inner node as well: next to a leaf below it, that adds nothing.
    Alone it leaves open which leaf is meant: such an annotation is no label, because what it leaves
    out cannot be taken for a no. A path of values is read as that of their aliases. A path that is
    not in the config (annotators may add some) counts as not chosen.

    Parameters
    ----------
    element : Element
        The control, with the choices inside.
    error : callable
        Makes an error of the control out of what is wrong.

    Attributes
    ----------
    labels : list of str
    names : list of (str, str)
        Pairs of (name that a model may have, label).
    """

    def __init__(self, element: Element, error: Callable[[str], LabelConfigError]) -> None:
        self._error = error
        self._paths: dict[str, Path] = {}
        self._inner: set[Path] = set()
        self.names: list[tuple[str, str]] = []
        values: list[tuple[Path, Path]] = []
        for path, shown, choice in self._nodes(element, (), ()):
            values.append((shown, path))
            if choice.find("Choice") is not None:
                self._inner.add(path)
                continue
            label = SEPARATOR.join(path)
            if label in self._paths:
                raise error(f"has two choices with the path '{label}'; rename one of them")
            self._paths[label] = path
            self.names += [(name, label) for name in model_names(choice)]
        self._labels_by_path = {path: label for label, path in self._paths.items()}
        self._by_value = self._paths_by_value(values)
        self.labels = list(self._paths)

    def chosen(self, paths: Any) -> list[str]:
        """Return the labels of the chosen paths of an annotation."""
        chosen = [
            self._by_value.get(tuple(path), tuple(path))
            for path in (paths if isinstance(paths, list) else [])
            if isinstance(path, list) and all(isinstance(part, str) for part in path)
        ]
        leaves = [path for path in chosen if path in self._labels_by_path]
        for inner in self._inner.intersection(chosen):
            if not any(leaf[: len(inner)] == inner for leaf in leaves):
                return []
        return [self._labels_by_path[leaf] for leaf in leaves]

    def paths(self, labels: Sequence[str]) -> list[list[str]]:
        """Return the paths of some labels, as an annotation holds them."""
        return [list(self._paths[label]) for label in labels]

    def _paths_by_value(self, values: Sequence[tuple[Path, Path]]) -> dict[Path, Path]:
        """Return the path of aliases of each path of values; imports often name the values."""
        counts = Counter(shown for shown, _ in values)
        named = self._inner.union(self._labels_by_path)
        return {shown: path for shown, path in values if counts[shown] == 1 and shown not in named}

    def _nodes(
        self, element: Element, above: Path, shown_above: Path
    ) -> Iterator[tuple[Path, Path, Element]]:
        """Walk the tree (no deeper than 256: Label Studio's XML parser stops there).

        Yields the path as it is stored, the path of the values that are shown, and the choice.
        """
        seen: set[str | None] = set()
        for choice in shown_choices(element):
            value = choice.get("value")
            if value in seen:  # of two siblings Label Studio shows the first
                continue
            seen.add(value)
            name = choice_name(choice)
            if name is None:
                raise self._error("has a <Choice> without a value; add one")
            path, shown = (*above, name), (*shown_above, value or name)
            yield path, shown, choice
            yield from self._nodes(choice, path, shown)
