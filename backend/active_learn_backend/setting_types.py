"""Types of settings: how a value is read, and what it may be."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints

__all__ = ["Number", "OptionalUrl", "ProxyUrl", "Url"]


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


Url = Annotated[str, StringConstraints(min_length=1), _web_address("http://localhost:8080")]
OptionalUrl = Annotated[str, _web_address("http://localhost:9090")]
ProxyUrl = Annotated[SecretStr, _web_address("http://proxy:3128")]
Number = Annotated[int | float, BeforeValidator(_read_number)]
