"""How large a request may be, in bytes and in values."""

from __future__ import annotations

from ..errors import BadRequestError

__all__ = ["LARGEST_BODY", "check_values", "largest_body"]

# A page of 1,000 tasks with long texts, as Label Studio sends it to /predict, has a few MiB.
LARGEST_BODY = 32 * 2**20
# Of all other requests; /setup has the labeling config. A larger webhook, such as that of an
# import, is not needed: the worker polls.
LARGEST_OTHER = 8 * 2**20
# A megabyte of `[],[],` is 350,000 lists, which take a hundred times their size. Both are counted
# also within texts.
MOST_CONTAINERS = 500_000
MOST_VALUES = 4_000_000


def largest_body(path: str) -> int:
    """Return the largest body of a request to a path, in bytes."""
    return LARGEST_BODY if path == "/predict" else LARGEST_OTHER


def check_values(raw: bytes) -> None:
    """Refuse JSON of so many values that reading it would take the memory of the process.

    Raises
    ------
    BadRequestError
    """
    if raw.count(b"[") + raw.count(b"{") > MOST_CONTAINERS or raw.count(b",") > MOST_VALUES:
        raise BadRequestError(
            f"the body has more than {MOST_CONTAINERS} objects and lists, or more than "
            f"{MOST_VALUES} values; send fewer tasks at once"
        )
