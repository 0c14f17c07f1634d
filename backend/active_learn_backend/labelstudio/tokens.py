"""Authorization of our calls to Label Studio: by a legacy token or by a personal access token."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Generator

import httpx

from ..errors import LabelStudioError, MissingTokenError, NotLabelStudioError

__all__ = ["TokenAuth", "is_personal", "not_label_studio", "token_refused"]


def is_personal(key: str) -> bool:
    """Check whether a token is a personal access token, a JWT; legacy tokens are 40 hex digits."""
    return key.count(".") == 2


def token_refused(personal: bool) -> str:
    """Return what is wrong with a token that Label Studio answers with 401, and what to do."""
    if personal:
        return (
            "Label Studio refuses the personal access token (expired or revoked); make a new one "
            f"and {MissingTokenError.REMEDY}"
        )
    return (
        f"Label Studio refuses the legacy token; make a new one and {MissingTokenError.REMEDY}, or "
        "let legacy tokens in: by default Label Studio refuses them all"
    )


def not_label_studio(url: str, answer: httpx.Response) -> NotLabelStudioError:
    """Return the error that another server answers at the address of Label Studio."""
    location = httpx.URL(answer.headers.get("Location", ""))
    if answer.is_redirect and location.host and not url.startswith(_origin(location)):
        message = f"{url} sends on to {_origin(location)}; set LABEL_STUDIO_URL to that"
    elif answer.status_code >= 500:
        message = f"{url} answers {answer.status_code}; is Label Studio running behind it?"
    else:
        message = (
            f"what answers at {url} is not Label Studio; set LABEL_STUDIO_URL to its address, with "
            "the path that it lies under"
        )
    return NotLabelStudioError(message, answer.status_code)


def _origin(url: httpx.URL) -> str:
    return str(url.copy_with(raw_path=b"/")).rstrip("/")


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
        access = _access_token(refreshed, self._url)
        with self._lock:
            self._access = access
        request.headers["Authorization"] = f"Bearer {self._access}"
        yield request


def _access_token(refreshed: httpx.Response, url: str) -> str:
    if refreshed.status_code in (400, 401, 403):
        raise LabelStudioError(token_refused(personal=True), refreshed.status_code)
    try:
        return str(refreshed.raise_for_status().json()["access"])
    except (httpx.HTTPStatusError, KeyError, TypeError, ValueError) as error:
        if refreshed.status_code in (404, 405):  # no such path there
            raise not_label_studio(url, refreshed) from error
        raise LabelStudioError(
            f"Label Studio answered {refreshed.status_code} with no access token when ours was to "
            "be renewed; is it restarting, and does LABEL_STUDIO_URL lead to Label Studio?",
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
