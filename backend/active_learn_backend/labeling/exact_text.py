"""The text of a task character by character, as Label Studio counts it for the regions in it.

A place in a text is a number, and so is a place in a dialogue: that of the paragraph times
`PARAGRAPH`, plus the place in it. Label Studio counts code points in texts and in whole pages of
HTML, but UTF-16 units, of which an emoji is two, in dialogues and in single nodes of HTML.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from .html_text import TextNode, text_nodes
from .plain_text import MAX_TEXT, Markup

__all__ = ["PARAGRAPH", "ExactHtml", "ExactText", "exact_text", "stored_dialogue"]

#: Places in one paragraph.
PARAGRAPH = 2**20

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ExactText:
    """A text; of a dialogue the paragraphs, a line each."""

    text: str

    def places(self, indices: Places) -> Places:
        """Return the places of characters, which are given by their index in the text."""
        return indices

    def index(self, place: int) -> int:
        """Return the index of the character at a place."""
        return min(place, len(self.text))

    def between(self, start: int, end: int) -> str:
        """Return what stands between two places."""
        return self.text[self.index(start) : self.index(end)]


@dataclass(frozen=True)
class ExactDialogue(ExactText):
    """The paragraphs of a dialogue.

    Attributes
    ----------
    starts : array of shape (n,)
        The index at which each paragraph begins.
    """

    starts: Places

    @cached_property
    def _units(self) -> Places:
        """The number of UTF-16 units before each character, and at the end."""
        codes = np.frombuffer(self.text.encode("utf-32-le", "surrogatepass"), np.uint32)
        return np.concatenate([[0], np.cumsum(1 + (codes > 0xFFFF))])

    def places(self, indices: Places) -> Places:
        paragraph = np.searchsorted(self.starts, indices, side="right") - 1
        return paragraph * PARAGRAPH + self._units[indices] - self._units[self.starts[paragraph]]

    def index(self, place: int) -> int:
        paragraph, units = divmod(place, PARAGRAPH)
        if paragraph >= len(self.starts):
            return len(self.text)
        units += int(self._units[self.starts[paragraph]])
        return min(int(np.searchsorted(self._units, units)), len(self.text))


@dataclass(frozen=True)
class ExactHtml(ExactText):
    """The text of HTML, by its text nodes."""

    nodes: tuple[TextNode, ...]

    def path(self, place: int, *, end: bool) -> tuple[str, int]:
        """Return the XPath of the node in which a region begins or ends, and the place in it."""
        for node in self.nodes:
            within = place - node.start
            if node.path and 0 <= within - end < len(node.text):
                return node.path, len(node.text[:within].encode("utf-16-le", "replace")) // 2
        return "", 0


def exact_text(content: Any, markup: Markup) -> ExactText:
    """Return the text of what a field holds whose regions are labeled.

    Parameters
    ----------
    content : any
        As `Field.content` returns it.
    """
    if markup == "dialogue":
        said = [one[1] for one in json.loads(content)] if isinstance(content, str) else []
        lengths = [len(one) + 1 for one in said]
        starts = np.cumsum([0, *lengths])[: max(len(said), 1)].astype(np.int64)
        return ExactDialogue("\n".join(said), starts)
    text = content if isinstance(content, str) else ""
    if markup == "html":
        nodes = tuple(text_nodes(text))
        return ExactHtml("".join(one.text for one in nodes), nodes)
    return ExactText(text)


def stored_dialogue(paragraphs: Any, name_key: str, text_key: str) -> str | None:
    """Return a dialogue as JSON: of each paragraph who speaks, and what is said; None without."""
    if isinstance(paragraphs, str):
        try:
            paragraphs = json.loads(paragraphs)
        except (ValueError, RecursionError):
            return None
    if not isinstance(paragraphs, list):
        return None
    found, left = [], MAX_TEXT
    for one in paragraphs:
        speaker, said = (
            (str(one.get(key) or "") for key in (name_key, text_key))
            if isinstance(one, dict)
            else ("", "")
        )
        found.append([speaker, said[:left]])
        left = max(left - len(said), 0)
    return json.dumps(found, ensure_ascii=False)
