"""Plain text of what a task holds: HTML, dialogues, and records such as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from html import unescape
from typing import Any, Literal

__all__ = ["MAX_TEXT", "Markup", "plain_text"]

Markup = Literal["plain", "html", "dialogue", "records"]

DEEPEST = 20  # levels of records that are read
MAX_TEXT = 200_000  # characters that are read of a text; more would change its embedding little
# These do not end a word, comments do not either; any other tag does.
INLINE = re.compile(
    "<[!?]|</?(?:a|abbr|b|bdi|bdo|big|cite|code|del|em|font|i|ins|kbd|mark|q|s|script|small|span"
    r"|strike|strong|style|sub|sup|template|tt|u|var|wbr)(?![^\s/>])",
    re.IGNORECASE,
)
MARKUP = re.compile(
    r"""
    <!--.*?(?:-->|\Z)
    | <(?P<hidden>script|style|template)\b.*?(?:</(?P=hidden)\s*>|\Z)
    | </?[a-z](?:"[^"]*"|'[^']*'|[^>])*+(?:>|\Z)
    | <[!?/][^>]*+(?:>|\Z)
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


def plain_text(value: Any, markup: Markup, name_key: str, text_key: str) -> str | None:
    """Return the plain text of a value; None where it holds none.

    Tags of HTML are dropped, with scripts and styles. A dialogue (a list of paragraphs, or its
    JSON) is written a paragraph a line, with who speaks before it. Records (a table, a list) are
    written a value a line, with its key before it. A very long text is cut.

    Parameters
    ----------
    value : any
        What JSON can hold.
    markup : {'plain', 'html', 'dialogue', 'records'}
    name_key, text_key : str
        Keys of who speaks and of what is said, in a dialogue.
    """
    text = _whole_text(value, markup, name_key, text_key)
    return text if text is None else text[:MAX_TEXT]


def _whole_text(value: Any, markup: Markup, name_key: str, text_key: str) -> str | None:
    if markup == "dialogue":
        return _dialogue(value, name_key, text_key)
    if markup == "records" or isinstance(value, (list, Mapping)):
        value = "\n".join(_record_lines(value)) or None
    if markup == "html" and isinstance(value, str):
        return _strip_tags(value)
    return str(value) if isinstance(value, (str, int, float)) else None


def _dialogue(value: Any, name_key: str, text_key: str) -> str | None:
    if isinstance(value, str):
        try:
            paragraphs = json.loads(value)
        except (ValueError, RecursionError):
            return value
        if not isinstance(paragraphs, list):
            return value
        value = paragraphs
    if not isinstance(value, list):
        return None
    lines = []
    for paragraph in value:
        if isinstance(paragraph, Mapping):
            speaker, said = paragraph.get(name_key), paragraph.get(text_key)
            parts = [speaker, _said(said)]
            lines.append(": ".join(str(p) for p in parts if isinstance(p, (str, int, float))))
    return "\n".join(lines)


def _said(said: Any) -> Any:
    """Return what is said; of a list of parts (text, images, ...) the texts."""
    if not isinstance(said, list):
        return said
    texts = [part.get("text") if isinstance(part, Mapping) else part for part in said]
    return " ".join(text for text in texts if isinstance(text, str)) or None


def _record_lines(value: Any, key: str = "", depth: int = 0) -> Iterator[str]:
    """Write nested records as lines of ``key: value``."""
    if depth > DEEPEST:
        return
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _record_lines(one, str(name), depth + 1)
    elif isinstance(value, list):
        for one in value:
            yield from _record_lines(one, key, depth + 1)
    elif isinstance(value, (str, int, float)) and not isinstance(value, bool):
        yield f"{key}: {value}" if key else str(value)


def _strip_tags(markup: str) -> str:
    """Keep the text that a browser would show, with single spaces.

    Not by html.parser: it needs minutes for a hostile text of 1 MB, as it looks for the end of
    each unclosed comment anew. Here every opening also matches without its end, so the time is
    linear.
    """

    def gap(match: re.Match[str]) -> str:
        return "" if INLINE.match(match[0]) else " "

    text = MARKUP.sub(gap, markup)
    with suppress(ValueError):  # a character reference of thousands of digits
        text = unescape(text)
    return " ".join(text.split())
