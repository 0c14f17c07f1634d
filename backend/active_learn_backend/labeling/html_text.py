"""The text of HTML by its text nodes, as the document that Label Studio shows has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

from lxml import etree, html

__all__ = ["TextNode", "text_nodes"]

HIDDEN = ("script", "style", "template", "head", "title")


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

    A browser drops blanks before the first element or text, so they are no node.
    """
    lines = markup.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd").lstrip()
    whole = lines[:200].lower()
    if "<html" not in whole and "<body" not in whole and "<!doctype" not in whole:
        lines = f"<html><body>{lines}</body></html>"
    try:
        parser = html.HTMLParser(encoding="utf-8")
        root: Any = html.document_fromstring(lines.encode("utf-8", "replace"), parser=parser)
        body = root.find("body")
    except (etree.LxmlError, ValueError):
        return []
    found: list[TextNode] = []
    start = 0
    for path, text in _walk(body, "") if body is not None else ():
        if not found and not text.strip():
            continue
        found.append(TextNode(path, start, text))
        start += len(text)
    return found


def _walk(body: Any, path: str) -> Iterator[tuple[str, str]]:
    """Yield paths and texts of the nodes below the body, in order; not by recursion."""
    paths, texts, tags = {body: path}, {body: 0}, {body: Counter[str]()}

    def text_of(parent: Any, text: str | None) -> Iterator[tuple[str, str]]:
        if text and parent in paths:
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
            yield from text_of(node, node.text)
        elif node is not body:
            yield from text_of(parent, node.tail)
