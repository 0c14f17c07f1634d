"""Checks of the two servers: Label Studio as we see it, and our web process as we see it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ..errors import (
    LabelStudioError,
    LabelStudioUnreachableError,
    MissingTokenError,
    NotLabelStudioError,
)
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.tls_and_proxy import trusted_certificates
from ..labelstudio.tokens import is_personal, token_refused
from ..settings import Settings
from .finding import Finding, not_checked, ok, warning, wrong

__all__ = ["check_backend", "check_label_studio", "probe_webhook"]

TESTED = "1.23"
CLOCK_APART = 20.0  # seconds: half an access token's life is lost at 150, all of it at 300
CLOCK_WRONG = 240.0
PATIENCE = 3.0  # seconds; Label Studio itself waits for /health 1 s


def check_label_studio(settings: Settings, client: LabelStudioClient) -> tuple[bool, list[Finding]]:
    """Check Label Studio's version, its clock, and the user of our token.

    Returns
    -------
    (bool, list of Finding)
        Whether it can be asked about projects.
    """
    began = time.time()
    try:
        release, answer = client.read_release(PATIENCE)
    except (LabelStudioUnreachableError, NotLabelStudioError) as error:
        return False, [wrong(str(error), "")]
    may_ask, token = _token(settings, client)
    return may_ask, [_version(release, client.url), token, _clock(answer, began)]


def _version(release: str, url: str) -> Finding:
    answers = f"Label Studio {release} answers at {url}"
    if release.startswith(f"{TESTED}."):
        return ok(answers)
    return warning(
        answers, f"this backend was tested with {TESTED} only: try it on a test project first"
    )


def _token(settings: Settings, client: LabelStudioClient) -> tuple[bool, Finding]:
    if not client.has_token:
        return False, wrong(MissingTokenError.WHAT, MissingTokenError.REMEDY)
    personal = is_personal(settings.label_studio_api_key.get_secret_value())
    kind = "personal access token" if personal else "legacy token"
    try:
        person = client.call("GET", "/api/current-user/whoami")
    except LabelStudioError as error:
        if error.status not in (400, 401, 403):
            raise
        return False, wrong(token_refused(personal), "")
    rights = person.get("permissions")
    if rights is not None and "projects.change" not in rights:
        return True, wrong(
            f"the user of the {kind}, {person.get('email')}, may not change projects",
            "use the token of a user who may",
        )
    return True, ok(f"the {kind} of {person.get('email')} is taken")


def _clock(answer: httpx.Response, asked_at: float) -> Finding:
    """Compare Label Studio's clock, in whole seconds, with ours while it was asked."""
    try:
        theirs = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return not_checked("the clocks", "Label Studio's answer bears no Date")
    apart = max(asked_at - (theirs + 1), theirs - time.time(), 0.0)
    if apart <= CLOCK_APART:
        return ok("the clocks of Label Studio and this machine agree")
    words = f"the clocks of Label Studio and this machine are {apart:.0f} s apart"
    remedy = "set both by NTP; access tokens of Label Studio live 300 s by the clock"
    return (wrong if apart > CLOCK_WRONG else warning)(words, remedy)


def check_backend(settings: Settings) -> Iterator[Finding]:
    """Check the health of our own web process, at the address that Label Studio calls."""
    user = settings.basic_auth_user
    auth = (user, settings.basic_auth_pass.get_secret_value()) if user else None
    start = "start `active-learn serve`, and set BACKEND_URL to its address as Label Studio sees it"
    try:
        answer = httpx.get(
            f"{settings.url}/health",
            auth=auth,
            timeout=PATIENCE,
            verify=trusted_certificates(settings),
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        yield wrong(
            f"the backend does not answer at {settings.url} as seen from here "
            f"({type(error).__name__})",
            start,
        )
        return
    if answer.status_code == 401:
        yield wrong(
            f"the backend at {settings.url} refuses our Basic auth",
            "run this command with the backend's own BASIC_AUTH_USER and BASIC_AUTH_PASS",
        )
        return
    health = _json(answer)
    if health.get("model_class") != "ActiveLearningModel":
        yield wrong(f"what answers at {settings.url} is not this backend", start)
        return
    yield ok(f"the backend answers at {settings.url}")
    degraded = health.get("degraded")
    for problem in degraded if isinstance(degraded, list) else []:
        # Of workers, projects and disk there are checks of their own.
        if str(problem).startswith(("store", "label studio")):
            yield warning(f"the backend says: {problem}", "see its log")


def probe_webhook(settings: Settings, webhook: Mapping[str, Any]) -> Finding:
    """Send an event as Label Studio would, to see whether the server at our address takes it."""
    named = f"its webhook {webhook['id']}"
    event: dict[str, Any] = {"action": "DOCTOR"}
    if webhook.get("send_payload", True):
        event["project"] = {"id": webhook["project"], "label_config": None}
    try:
        answer = httpx.post(
            webhook["url"],
            json=event,
            headers=webhook["headers"],
            timeout=PATIENCE,
            verify=trusted_certificates(settings),
            trust_env=False,
        )
    except (httpx.HTTPError, httpx.InvalidURL):  # `check_backend` says whether we are reached
        return ok(f"{named} bears our secret, and sends all events")
    if answer.is_success:
        return ok(f"{named} sends us all events, and they are taken")
    return wrong(
        f"{named} sends us all events, and the server at {webhook['url']} refuses them "
        f"({answer.status_code} {answer.reason_phrase})",
        "run `active-learn connect` again, with the server's own BASIC_AUTH_USER and "
        "BASIC_AUTH_PASS",
        repairable=True,
    )


def _json(answer: httpx.Response) -> dict[str, object]:
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
