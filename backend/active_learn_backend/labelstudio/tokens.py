"""Authorization of our calls to Label Studio: by a legacy token or by a personal access token."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Generator

import httpx

from ..errors import LabelStudioError

__all__ = ["TokenAuth", "is_personal"]


def is_personal(key: str) -> bool:
    """Check whether a token is a personal access token, a JWT; legacy tokens are 40 hex digits."""
    return key.count(".") == 2


class TokenAuth(httpx.Auth):
    """Sends a legacy token as it is, and for a personal access token an access token made of it.

    Parameters
    ----------
    key : str
        Either token.
    url : str
        Label Studio's address, where access tokens are made.
    """

    def __init__(self, key: str, url: str) -> None:
        self._key = key
        self._url = url
        self._personal = is_personal(key)
        self._access = ""
        self._lock = threading.Lock()

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if not self._personal:
            request.headers["Authorization"] = f"Token {self._key}"
            yield request
            return
        used = self._access
        if used and not _expires_soon(used):
            request.headers["Authorization"] = f"Bearer {used}"
            response = yield request
            if response.status_code != 401:
                return
        refreshed = yield httpx.Request(
            "POST", f"{self._url}/api/token/refresh/", json={"refresh": self._key}
        )
        refreshed.read()  # the caller reads other answers: a file may be large
        access = _access_token(refreshed)
        with self._lock:
            self._access = access
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def _access_token(refreshed: httpx.Response) -> str:
    if refreshed.status_code in (400, 401, 403):
        raise LabelStudioError(
            "Label Studio refuses the personal access token (expired or revoked); make a new "
            "one under Account & Settings and set LABEL_STUDIO_API_KEY",
            refreshed.status_code,
        )
    try:
        return str(refreshed.raise_for_status().json()["access"])
    except (httpx.HTTPStatusError, KeyError, TypeError, ValueError) as error:
        raise LabelStudioError(
            f"Label Studio answered {refreshed.status_code} with no access token when ours was to "
            "be renewed; is it restarting?",
            refreshed.status_code,
        ) from error


def _expires_soon(access_token: str, margin: float = 20.0) -> bool:
    """Check whether a JWT says of itself that it ends within `margin` seconds (unverified)."""
    try:
        payload = access_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - time.time() < margin
    except (IndexError, KeyError, TypeError, ValueError):
        return True
