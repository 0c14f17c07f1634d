"""Refusals as the status line of an answer: Label Studio shows its reason phrase to the user."""

from __future__ import annotations

from ..errors import BadRequestError
from ..wording import shortened

__all__ = ["one_line", "reason_phrase", "status_line"]

LONGEST = 420  # characters; Label Studio keeps a little more


def one_line(message: str) -> str:
    """Return a message without line breaks."""
    return " ".join(message.split())


def reason_phrase(message: str) -> str:
    """Return a message as HTTP allows it in a status line: printable latin-1, and not too long."""
    phrase = "".join(one if one.isprintable() else "?" for one in one_line(message))
    return shortened(phrase.encode("latin-1", "replace").decode("latin-1"), LONGEST)


def status_line(error: BadRequestError) -> str:
    """Return the status of a refusal with its reason phrase."""
    return f"{error.status} {reason_phrase(str(error))}"
