"""``<Taxonomy>``: the leaves of a tree of choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .categorical import CategoricalTag, choice_name, model_names

__all__ = ["SEPARATOR", "TaxonomyTag"]

SEPARATOR = " / "  # what Label Studio shows between the parts of a path

Path = tuple[str, ...]


class TaxonomyTag(CategoricalTag):
    """Taxonomy: every leaf is a label, named by its path ("Animal / Dog").

    With ``maxUsages="1"`` it is classification, else multi-label.

    Without ``leafsOnly`` an annotator may choose an inner node as well. Next to a leaf below it,
    that adds nothing. Alone it leaves open which leaf is meant: such an annotation is no
    label, because what it leaves out cannot be taken for a no. A path that is not in the config
    (annotators may add some) counts as not chosen.
    """

    tag = "Taxonomy"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        single = self.attribute("maxUsages") == "1"
        self.problem_type = "classification" if single else "multilabel"
        if self.is_true("labeling"):
            raise self.error(
                'has labeling="true", which labels regions; only labels of the whole task can be '
                "learned, remove labeling"
            )
        if control.dynamic_value:
            raise self.error("loads its choices from elsewhere; list them as <Choice value=.../>")
        self._paths: dict[str, Path] = {}
        self._inner: set[Path] = set()
        names: list[tuple[str, str]] = []
        for path, choice in self._nodes(element, ()):
            if choice.find("Choice") is not None:
                self._inner.add(path)
                continue
            label = SEPARATOR.join(path)
            if label in self._paths:
                raise self.error(f"has two choices with the path '{label}'; rename one of them")
            self._paths[label] = path
            names += [(name, label) for name in model_names(choice)]
        if not self._paths:
            raise self.error("has no fixed choices; list them as <Choice value=.../>")
        self._labels_by_path = {path: label for label, path in self._paths.items()}
        self.offer(list(self._paths), names)

    def chosen(self, value: Mapping[str, Any]) -> list[str]:
        paths = value.get("taxonomy")
        chosen = [
            tuple(path)
            for path in (paths if isinstance(paths, list) else [])
            if isinstance(path, list) and all(isinstance(part, str) for part in path)
        ]
        leaves = [path for path in chosen if path in self._labels_by_path]
        for inner in self._inner.intersection(chosen):
            if not any(leaf[: len(inner)] == inner for leaf in leaves):
                return []
        return [self._labels_by_path[leaf] for leaf in leaves]

    def payload(self, labels: Sequence[str]) -> dict[str, Any]:
        return {"taxonomy": [list(self._paths[label]) for label in labels]}

    def _nodes(self, element: Element, above: Path) -> Iterator[tuple[Path, Element]]:
        """Walk the tree (no deeper than 256: Label Studio's XML parser stops there)."""
        shown: set[str | None] = set()
        for choice in element.findall("Choice"):
            if choice.get("value") in shown:  # of two siblings Label Studio shows the first
                continue
            shown.add(choice.get("value"))
            name = choice_name(choice)
            if name is None:
                raise self.error("has a <Choice> without a value; add one")
            path = (*above, name)
            yield path, choice
            yield from self._nodes(choice, path)
