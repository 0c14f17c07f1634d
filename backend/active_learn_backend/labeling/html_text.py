"""The text of HTML by its text nodes, as the document that Label Studio shows has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree, html

__all__ = ["TextNode", "text_nodes"]

HIDDEN = ("script", "style", "template", "head", "title")
LINED = ("pre", "listing", "textarea")  # a line end right behind their tag is dropped


class TextNode(NamedTuple):
    """A text node.

    Attributes
    ----------
    path : str
        Its XPath below the body; empty for a line break.
    start : int
        The index of its first character in the whole text.
    """

    path: str
    start: int
    text: str


def text_nodes(markup: str) -> list[TextNode]:
    """Return the text nodes of HTML in order; a ``<br>`` counts as one character.

    A browser drops blanks before the first element or text, unless they are in it or in a body that
    is marked, so they are no node.
    """
    lines = markup.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").lstrip()
    beginning, marked = lines[:200].lower(), "<body" in lines.lower()
    if not any(tag in beginning for tag in ("<html", "<body", "<!doctype")):
        marked = False
        lines = f"<html><body>{lines}</body></html>"
    try:
        parser = html.HTMLParser(encoding="utf-8")
        root: Any = html.document_fromstring(lines.encode("utf-8", "replace"), parser=parser)
        body = root.find("body")
    except (etree.LxmlError, ValueError):
        return []
    found: list[TextNode] = []
    start = 0
    for path, text in _walk(body, blanks=marked) if body is not None else ():
        found.append(TextNode(path, start, text))
        start += len(text)
    return found


def _walk(body: Any, *, blanks: bool) -> Iterator[tuple[str, str]]:
    """Yield paths and texts of the nodes below the body, in order; not by recursion.

    Parameters
    ----------
    blanks : bool
        Whether blanks before the first element or text of the body are a node.
    """
    paths, texts, tags = {body: ""}, {body: 0}, {body: Counter[str]()}

    def text_of(parent: Any, text: str | None) -> Iterator[tuple[str, str]]:
        first = len(paths) == 1 and not texts[body]
        if text and parent in paths and (blanks or not first or text.strip()):
            texts[parent] += 1
            yield f"{paths[parent]}/text()[{texts[parent]}]", text

    for event, node in etree.iterwalk(body, events=("start", "end", "comment", "pi")):
        parent = node.getparent()
        if event == "start" and node is not body and parent in paths and node.tag not in HIDDEN:
            tags[parent][node.tag] += 1
            paths[node] = f"{paths[parent]}/{node.tag}[{tags[parent][node.tag]}]"
            texts[node], tags[node] = 0, Counter()
        if event == "start" and node.tag == "br" and parent in paths:
            yield "", "\n"
        elif event == "start":
            text = node.text or ""
            yield from text_of(node, text.removeprefix("\n") if node.tag in LINED else text)
        elif node is not body:
            yield from text_of(parent, node.tail)
