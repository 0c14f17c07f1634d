"""Types of settings: how a value is read, and what it may be."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints

__all__ = ["Number", "OptionalUrl", "Prelabel", "ProxyUrl", "Url", "kept_version", "least_shown"]

KEEP = "keep:"


def _web_address(example: str) -> AfterValidator:
    """Return a validator of addresses, which may also be empty; a secret one is not shown."""

    def check(value: str | SecretStr) -> str | SecretStr:
        address = value.get_secret_value() if isinstance(value, SecretStr) else value
        try:
            parts = urlsplit(address)
            valid = not address or (parts.scheme in ("http", "https") and bool(parts.hostname))
        except ValueError:
            valid = False
        if not valid or re.search(r"\s", address):
            raise ValueError(f"expected an address such as {example}, with http:// or https://")
        return value

    return AfterValidator(check)


def _read_number(value: object) -> object:
    """Read ``"20"`` as an int and ``"0.1"`` as a float."""
    if isinstance(value, str):
        return int(value) if value.strip().isdigit() else float(value)
    return value


def _check_prelabel(value: object) -> str:
    """Read a number as text, as the extra params of a project hold it."""
    text = str(value).strip()
    if text in ("head", "none") or (len(text) > len(KEEP) and text.startswith(KEEP)):
        return text
    try:
        valid = 0 <= float(text) <= 1
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            f"'{text[:40]}'; expected a score from 0 to 1 such as 0.7, head, none or keep:<version>"
        )
    return text


def kept_version(prelabel: str) -> str | None:
    """Return the version of the team's own predictions that people see; None where it is ours."""
    return prelabel.removeprefix(KEEP) if prelabel.startswith(KEEP) else None


def least_shown(prelabel: str) -> float | None:
    """Return the score from which on people see our answer; None where they see none of ours."""
    if prelabel == "none" or prelabel.startswith(KEEP):
        return None
    return 0.0 if prelabel == "head" else float(prelabel)


Url = Annotated[str, StringConstraints(min_length=1), _web_address("http://localhost:8080")]
OptionalUrl = Annotated[str, _web_address("http://localhost:9090")]
ProxyUrl = Annotated[SecretStr, _web_address("http://proxy:3128")]
Number = Annotated[int | float, BeforeValidator(_read_number)]
Prelabel = Annotated[str, BeforeValidator(_check_prelabel)]
