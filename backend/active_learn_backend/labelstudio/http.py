"""HTTP with Label Studio: time limits, retries, and errors in words."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
from tenacity import (
    RetryCallState,
    Retrying,
    retry_any,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
)

from ..errors import LabelStudioError, LabelStudioUnreachableError, MissingTokenError
from ..settings import Settings
from ..wording import shortened
from .tls_and_proxy import client_options, why_unreachable
from .tokens import TokenAuth, is_personal, not_label_studio, token_refused

__all__ = ["LabelStudioHTTP"]

ATTEMPTS = 3
# Reads are repeated while Label Studio is busy or restarts, writes only when it did not take them.
READ_AGAIN = {429, 502, 503, 504}
WRITE_AGAIN = {429, 503}
UNREACHED_PAUSE = 0.2  # seconds before the second attempt; doubled before each further one
BUSY_PAUSE = 0.5
MAX_RETRY_AFTER = 30.0


class LabelStudioHTTP:
    """A pool of connections to Label Studio, safe to share between threads.

    Parameters
    ----------
    settings : Settings
        Uses ``label_studio_url``, ``label_studio_api_key``, ``label_studio_ca_file``,
        ``label_studio_proxy`` and ``request_timeout``.

    Raises
    ------
    SettingsError
        When the file of trusted certificates cannot be read.
    LabelStudioError
        From every call: Label Studio answered with an error.
    LabelStudioUnreachableError
        From every call: it did not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.label_studio_url
        key = settings.label_studio_api_key.get_secret_value()
        self.has_token = bool(key)
        #: Seconds to wait for an answer.
        self.timeout = settings.request_timeout
        self._personal = is_personal(key)
        self._proxied = bool(settings.label_studio_proxy.get_secret_value())
        #: Label Studio's clock by the Date of its last answer (whole seconds, UTC).
        self.clock = datetime.now(UTC)
        self._writes = 0
        self._lock = threading.Lock()
        self._http = httpx.Client(
            base_url=self.url,
            auth=TokenAuth(key, self.url) if key else None,
            timeout=httpx.Timeout(settings.request_timeout, connect=5.0),
            headers={"Accept": "application/json", "User-Agent": "label-studio-active-sampler"},
            **client_options(settings),
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def require_token(self) -> None:
        """Check that there is a token.

        Raises
        ------
        MissingTokenError
        """
        if not self.has_token:
            raise MissingTokenError

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send one request and return the decoded JSON (None for an empty answer).

        Reads are repeated when Label Studio is busy or restarting; writes only when it said
        that it did not take them (429, 503).
        """
        try:
            with self._counted(method):
                response = _retrying(method)(self._send, method, path, **kwargs)
        except httpx.HTTPError as error:
            raise LabelStudioUnreachableError(
                f"Label Studio at {self.url} does not answer {method} {path.split('?')[0]}: "
                f"{self._why(error)}"
            ) from error
        if response.status_code == 401:
            raise LabelStudioError(token_refused(self._personal), 401)
        return _decode(response, method, path)

    @property
    def writing(self) -> bool:
        """Whether a request that changes something in Label Studio is under way."""
        return self._writes > 0

    @contextmanager
    def _counted(self, method: str) -> Iterator[None]:
        writes = int(method != "GET")
        with self._lock:
            self._writes += writes
        try:
            yield
        finally:
            with self._lock:
                self._writes -= writes

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        response = self._http.request(method, path, **kwargs)
        self.clock = _date(response)
        return response

    def read_release(self, timeout: float = 10.0) -> tuple[str, httpx.Response]:
        """Return the release of Label Studio, and its answer.

        It is asked without our token, so that a bad token is not taken for a bad address.

        Raises
        ------
        NotLabelStudioError
            When another server answers.
        """
        try:
            answer = self._http.get("/api/version/", auth=None, timeout=timeout)
        except httpx.HTTPError as error:
            raise LabelStudioUnreachableError(
                f"Label Studio does not answer at {self.url}: {self._why(error)}"
            ) from error
        body = _json(answer)
        if not isinstance(body, dict) or not body.get("release"):
            raise not_label_studio(self.url, answer)
        return str(body["release"]), answer

    def feature_flags(self) -> dict[str, bool]:
        """Return Label Studio's feature flags; none where our token may not see them.

        It shows them on a page, to personal access tokens only.
        """
        path = "/feature-flags/"
        try:
            answer = _retrying("GET")(self._send, "GET", path)
        except httpx.HTTPError as error:
            raise LabelStudioUnreachableError(
                f"Label Studio at {self.url} does not answer GET {path}: {self._why(error)}"
            ) from error
        # JSON in a page: <pre>{...}</pre>
        body = answer.text.strip().removeprefix("<pre>").removesuffix("</pre>")
        try:
            flags = json.loads(body) if answer.is_success else None
        except ValueError:
            flags = None
        if not isinstance(flags, dict):
            return {}
        return {name: value for name, value in flags.items() if isinstance(value, bool)}

    @contextmanager
    def stream(self, path: str) -> Iterator[httpx.Response]:
        """Open a file that Label Studio serves; redirects are not followed."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                yield response
        except httpx.HTTPError as error:
            raise LabelStudioUnreachableError(
                f"Label Studio at {self.url} does not send {path.split('?')[0][:120]!r}: "
                f"{self._why(error)}"
            ) from error

    def _why(self, error: httpx.HTTPError) -> str:
        return why_unreachable(error, self.url, proxied=self._proxied)


def _retrying(method: str) -> Retrying:
    """Return the retries of one call, which end with its last answer or error."""
    again = READ_AGAIN if method == "GET" else WRITE_AGAIN
    return Retrying(
        stop=stop_after_attempt(ATTEMPTS),
        wait=_pause,
        retry=retry_any(
            retry_if_exception(
                lambda error: method == "GET" and isinstance(error, httpx.HTTPError)
            ),
            retry_if_result(lambda response: response.status_code in again),
        ),
        retry_error_callback=_outcome,
    )


def _outcome(state: RetryCallState) -> Any:
    """Return the last answer, or raise its error instead of one of the retries' own."""
    assert state.outcome is not None  # set by every attempt
    return state.outcome.result()


def _pause(state: RetryCallState) -> float:
    """Return the seconds to wait: as Label Studio asks, up to a limit, or longer each time."""
    doubled = 2 ** (state.attempt_number - 1)
    if state.outcome is None or state.outcome.failed:
        return UNREACHED_PAUSE * doubled
    return _retry_after(state.outcome.result(), BUSY_PAUSE * doubled)


def _decode(response: httpx.Response, method: str, path: str) -> Any:
    where = f"{method} {path.split('?')[0]}"
    if response.is_success and not response.content:
        return None
    body = _json(response)
    if response.is_success and body is not None:
        return body
    if response.is_success:
        raise LabelStudioError(
            f"{where}: Label Studio answered with something else than JSON; "
            "does LABEL_STUDIO_URL lead to Label Studio?",
            response.status_code,
        )
    asks = "" if body is not None else "; does LABEL_STUDIO_URL lead to Label Studio?"
    raise LabelStudioError(
        f"{where}: Label Studio answered {response.status_code}{_reason(body) or asks}",
        response.status_code,
    )


def _json(response: httpx.Response) -> Any:
    """Return the JSON of an answer; None where it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def _date(response: httpx.Response) -> datetime:
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return datetime.now(UTC)


def _retry_after(response: httpx.Response, default: float) -> float:
    try:
        seconds = float(response.headers.get("Retry-After", default))
    except ValueError:
        seconds = default
    return min(max(seconds, 0.0), MAX_RETRY_AFTER)


def _reason(body: Any) -> str:
    """Return Label Studio's own words in one line, or nothing when it sent none."""
    if not isinstance(body, dict):
        return ""
    words = body.get("validation_errors") or body.get("detail") or ""
    if not words:
        return ""
    return f": {shortened(words if isinstance(words, str) else json.dumps(words), 400)}"
