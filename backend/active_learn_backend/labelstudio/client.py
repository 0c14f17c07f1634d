"""HTTP calls to Label Studio: tokens, time limits, retries, and errors in words.

The SDK's generated client is not used here: it has no call for the sampling or for ``next``, and
it parses every task into models, which costs seconds on pages of 1,000.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx

from ..errors import LabelStudioError, LabelStudioUnreachableError
from ..settings import Settings

__all__ = ["Filter", "LabelStudioClient", "stamp"]

log = logging.getLogger(__name__)

# Label Studio gives up to 1,000, but on SQLite that many tasks with uploaded files are a 500
# ("Expression tree is too large"): it joins their files by a thousand ORs.
PAGE_SIZE = 500
RETRIES = 3
RETRY_STATUS = {429, 502, 503, 504}
MAX_RETRY_AFTER = 30.0


class _Token(httpx.Auth):
    """Either kind of token: a legacy key as it is, a personal access token by its access token."""

    def __init__(self, key: str, url: str) -> None:
        self._key = key
        self._url = url
        self._personal = key.count(".") == 2  # a JWT; legacy keys are 40 hex digits
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
        refreshed.read()  # other answers are left to whoever asked, unread: a file may be large
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
    """Tell whether a JWT ends within `margin` seconds by its own word (no trust is put in it)."""
    try:
        payload = access_token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return float(claims["exp"]) - time.time() < margin
    except (IndexError, KeyError, TypeError, ValueError):
        return True


@dataclass(frozen=True)
class Filter:
    """A filter of Label Studio's Data Manager.

    A Datetime's value must have a fraction and a Z (``2026-11-22T07:05:43.492877Z``), else Label
    Studio answers 500.
    """

    column: str
    operator: str
    type: str
    value: str | int


class LabelStudioClient:
    """One connection to Label Studio, safe to share between threads.

    Parameters
    ----------
    settings : Settings
        Uses ``label_studio_url``, ``label_studio_api_key`` and ``request_timeout``.

    Raises
    ------
    LabelStudioError
        From every call: Label Studio answered with an error.
    LabelStudioUnreachableError
        From every call: it did not answer.
    """

    def __init__(self, settings: Settings) -> None:
        self.url = settings.label_studio_url
        key = settings.label_studio_api_key.get_secret_value()
        self.has_token = bool(key)
        #: Label Studio's clock, as its last answer told it (whole seconds, UTC).
        self.clock = datetime.now(UTC)
        self._http = httpx.Client(
            base_url=self.url,
            auth=_Token(key, self.url) if key else None,
            timeout=httpx.Timeout(settings.request_timeout, connect=5.0),
            headers={"Accept": "application/json", "User-Agent": "label-studio-active-sampler"},
            trust_env=False,  # the token goes to LABEL_STUDIO_URL and through no proxy
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # -- the wire -----------------------------------------------------------------------------

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send one request and give the decoded JSON (None for an empty answer).

        Reads are repeated when Label Studio is busy or restarting; writes only when it said
        that it did not take them (429, 503).
        """
        for attempt in range(RETRIES):
            last = attempt == RETRIES - 1
            try:
                response = self._http.request(method, path, **kwargs)
            except httpx.HTTPError as error:
                if last or method != "GET":
                    raise LabelStudioUnreachableError(
                        f"Label Studio at {self.url} does not answer {method} {path.split('?')[0]} "
                        f"({type(error).__name__}); is it running, and is LABEL_STUDIO_URL right?"
                    ) from error
                time.sleep(0.2 * 2**attempt)
                continue
            self.clock = _date(response)
            retry = response.status_code in ({429, 503} if method != "GET" else RETRY_STATUS)
            if retry and not last:
                time.sleep(_retry_after(response, 0.5 * 2**attempt))
                continue
            return self._decode(response, method, path)
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _decode(self, response: httpx.Response, method: str, path: str) -> Any:
        where = f"{method} {path.split('?')[0]}"
        if response.is_success and not response.content:
            return None
        try:
            body = response.json()
        except ValueError:
            body = None
        if response.is_success and body is not None:
            return body
        if response.is_success:
            raise LabelStudioError(
                f"{where}: Label Studio answered with something else than JSON; "
                "does LABEL_STUDIO_URL lead to Label Studio?",
                response.status_code,
            )
        raise LabelStudioError(
            f"{where}: Label Studio answered {response.status_code}{_reason(body)}",
            response.status_code,
        )

    # -- projects -----------------------------------------------------------------------------

    def project(self, project_id: int) -> dict[str, Any]:
        """Read a project: label_config, sampling, model_version, task_number, ..."""
        project: dict[str, Any] = self.call("GET", f"/api/projects/{project_id}/")
        return project

    def projects(self) -> Iterator[dict[str, Any]]:
        """List all projects that the token's user sees."""
        page: str | None = "/api/projects/?page_size=100"
        while page:
            body = self.call("GET", page)
            yield from body["results"]
            following = urlsplit(body.get("next") or "")
            page = f"{following.path}?{following.query}" if following.query else None

    def patch_project(self, project_id: int, **values: Any) -> dict[str, Any]:
        """Change fields of a project."""
        project: dict[str, Any] = self.call("PATCH", f"/api/projects/{project_id}/", json=values)
        return project

    # -- tasks --------------------------------------------------------------------------------

    def task_pages(
        self,
        project_id: int,
        *,
        include: str | None = None,
        filters: Sequence[Filter] = (),
    ) -> Iterator[list[dict[str, Any]]]:
        """Read tasks page by page.

        Parameters
        ----------
        include : str, optional
            Comma-separated fields, for a quick slim read; everything, with annotations and
            predictions, when omitted. (With `include` Label Studio leaves the annotations' results
            out.)
        filters : sequence of Filter
            All of them have to hold.
        """
        params = self._task_query(project_id, include, filters) | {"page_size": PAGE_SIZE}
        page = 0
        while True:
            page += 1
            tasks = self._page(params | {"page": page})
            if tasks:
                yield tasks
            if len(tasks) < PAGE_SIZE:
                return

    def changed_tasks(
        self,
        project_id: int,
        since: datetime,
        *,
        include: str | None = None,
        filters: Sequence[Filter] = (),
    ) -> Iterator[list[dict[str, Any]]]:
        """Read tasks that changed after a time, in the order in which they changed.

        Each page begins where the last one ended, by stamp. Pages by number would skip a task
        whenever another one enters or leaves the filters meanwhile; they are for more tasks of one
        stamp than a page holds (a bulk import), and are read again until nothing new turns up.

        Parameters
        ----------
        include, filters
            As for `task_pages`; `include` has to hold updated_at.
        """
        seen: set[tuple[int, str]] = set()
        page, news = 1, False
        while True:
            after = Filter("updated_at", "greater", "Datetime", stamp(since))
            params = self._task_query(project_id, include, [after, *filters], ("tasks:updated_at",))
            params |= {"page_size": PAGE_SIZE, "page": page}
            tasks = self._page(params)
            if new := [task for task in tasks if (task["id"], task["updated_at"]) not in seen]:
                news = True
                seen |= {(task["id"], task["updated_at"]) for task in new}
                yield new
            if len(tasks) < PAGE_SIZE:
                if page == 1 or not news:
                    return
                page, news = 1, False
                continue
            # From just before the last stamp, for there may be more of it.
            last = datetime.fromisoformat(tasks[-1]["updated_at"]) - timedelta(microseconds=1)
            since, page = (last, 1) if page == 1 and last > since else (since, page + 1)

    def _page(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Read one page of tasks; none past the last page, where Label Studio answers 404."""
        try:
            tasks: list[dict[str, Any]] = self.call("GET", "/api/tasks/", params=params)["tasks"]
            return tasks
        except LabelStudioError as error:
            if error.status == 404 and params["page"] > 1:
                return []
            raise

    def few_tasks(
        self, project_id: int, filters: Sequence[Filter], most: int
    ) -> list[dict[str, Any]] | None:
        """Read tasks in full in one call; None when more than `most` pass the filters.

        They come in the order in which they changed. Label Studio counts them before it reads
        them, and reads no more than it counted: of a task that passes the filters in between, it
        leaves out the last one for it. That must be the latest change, which the next poll finds,
        not an old one that happens to have the highest id.
        """
        params = self._task_query(project_id, None, filters, ("tasks:updated_at",))
        params["page_size"] = most
        body = self.call("GET", "/api/tasks/", params=params)
        tasks: list[dict[str, Any]] = body["tasks"]
        return tasks if body["total"] <= most else None

    def _task_query(
        self,
        project_id: int,
        include: str | None,
        filters: Sequence[Filter],
        ordering: Sequence[str] = (),
    ) -> dict[str, Any]:
        params: dict[str, Any] = {"project": project_id}
        params |= {"include": include} if include else {"fields": "all"}
        if filters:
            items = [
                {
                    "filter": f"filter:tasks:{one.column}",
                    "operator": one.operator,
                    "type": one.type,
                    "value": one.value,
                }
                for one in filters
            ]
            query: dict[str, Any] = {"filters": {"conjunction": "and", "items": items}}
            params["query"] = json.dumps(query | ({"ordering": list(ordering)} if ordering else {}))
        return params

    # -- predictions --------------------------------------------------------------------------

    def model_versions(self, project_id: int) -> dict[str, int]:
        """Count the stored predictions of each version."""
        versions: dict[str, int] = self.call("GET", f"/api/projects/{project_id}/model-versions/")
        return versions

    def predictions(self, project_id: int, version: str) -> list[dict[str, Any]]:
        """Read all predictions of one version."""
        # A substring match: al-1 finds al-10 too.
        holds = Filter("predictions_model_versions", "contains", "String", version)
        return [
            prediction
            for page in self.task_pages(project_id, filters=[holds])
            for task in page
            for prediction in task["predictions"]
            if prediction["model_version"] == version
        ]

    def import_predictions(self, project_id: int, rows: Sequence[Mapping[str, Any]]) -> int:
        """Write predictions in one call; gives how many Label Studio really created."""
        body = self.call("POST", f"/api/projects/{project_id}/import/predictions", json=list(rows))
        return int(body["created"])

    def delete_prediction(self, prediction_id: int) -> None:
        """Delete one prediction; one that is gone already is no error."""
        try:
            self.call("DELETE", f"/api/predictions/{prediction_id}/")
        except LabelStudioError as error:
            if error.status != 404:
                raise

    def delete_version(self, project_id: int, version: str) -> None:
        """Delete all predictions of a version; every submit waits meanwhile."""
        path = f"/api/projects/{project_id}/model-versions/"
        self.call("DELETE", path, json={"model_version": version})

    # -- content ------------------------------------------------------------------------------

    @contextmanager
    def stream(self, path: str) -> Iterator[httpx.Response]:
        """Open a file that Label Studio serves; redirects are not followed."""
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        try:
            with self._http.stream("GET", path, headers=headers) as response:
                yield response
        except httpx.HTTPError as error:
            raise LabelStudioUnreachableError(
                f"Label Studio at {self.url} does not send {path.split('?')[0][:120]!r} "
                f"({type(error).__name__}); is it running, and is LABEL_STUDIO_URL right?"
            ) from error


def stamp(when: datetime) -> str:
    """Write a time as Label Studio's filters need it: with a fraction and a Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


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
    """Label Studio's own words, one line, if it gave any."""
    if not isinstance(body, dict):
        return ""
    words = body.get("validation_errors") or body.get("detail") or ""
    return f": {json.dumps(words) if not isinstance(words, str) else words}"[:400] if words else ""
