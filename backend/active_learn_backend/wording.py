"""Texts for people: cut between words."""

from __future__ import annotations

__all__ = ["shortened"]

DOTS = " ..."


def shortened(text: str, most: int) -> str:
    """Return a text as one line of at most `most` characters, cut between two words.

    A text without blanks, as Chinese and Japanese are written, is cut anywhere.
    """
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    room = most - len(DOTS)
    words, blank, _ = line[: room + 1].rpartition(" ")
    return (words if blank and len(words) >= room // 2 else line[:room]).rstrip(" ,;:") + DOTS
