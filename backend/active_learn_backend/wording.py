"""Texts for people: cut between words, and what is wrong in data from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

__all__ = ["first_fault", "shortened"]

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


def first_fault(error: ValidationError, whole: str) -> str:
    """Return what is wrong first, and what was expected, such as "tasks must be a valid list".

    Parameters
    ----------
    whole : str
        What the data are called, for faults that are not in one of its fields.
    """
    first = error.errors(include_input=False, include_url=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"])) or whole
    if first["type"] == "missing":
        return f"{where} is missing"
    if first["type"] == "extra_forbidden":
        return f"{where} is no field that is known"
    if first["type"] in ("model_type", "dataclass_type", "dict_type"):
        return f"{where} must be a JSON object"
    expected = first["msg"].removeprefix("Input should be ")
    if expected != first["msg"]:
        return f"{where} must be {expected}"
    return f"{where}: {expected.removeprefix('Value error, ')}"
