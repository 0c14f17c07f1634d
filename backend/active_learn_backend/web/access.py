"""Which requests are Label Studio's own: by their origin, their host, their body and their secret.

Label Studio calls us as a program: with a JSON body, at an address of ours, and without the headers
that browsers add. A web page that an operator visits can do none of the first two (`no-cors`
requests carry no JSON; a name that leads to this machine by DNS rebinding is not ours), and cannot
leave the last out.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import request

from ..errors import ForbiddenError, UnsupportedMediaTypeError
from ..labelstudio.registration import SECRET_HEADER
from ..security_checks import LOOPBACK
from ..settings import Settings
from .project_secrets import ProjectSecrets, same

__all__ = ["bears_basic_auth", "bears_secret", "is_our_host", "refuse_foreign"]

SHOWN = 60  # characters of a header in a message


def refuse_foreign(settings: Settings) -> None:
    """Refuse a request that is not sent by a program, to us, with JSON.

    Raises
    ------
    ForbiddenError
        When a page of another site sent it, or it was sent to a name that is not ours.
    UnsupportedMediaTypeError
        When its body is not declared as JSON.
    """
    if not is_our_host(settings, request.host):
        raise ForbiddenError(
            f"this backend does not answer to the name {request.host[:SHOWN]!r}; set BACKEND_URL "
            "to its address as seen from Label Studio, or add the name to ALLOWED_HOSTS"
        )
    origin = request.headers.get("Origin")
    site = request.headers.get("Sec-Fetch-Site", "none")
    if (origin is not None and _netloc(origin) != request.host) or site not in (
        "none",
        "same-origin",
    ):
        raise ForbiddenError("a page of another site sent this request; only Label Studio may")
    if request.mimetype != "application/json":
        raise UnsupportedMediaTypeError(
            f"the body is {request.mimetype[:SHOWN] or 'of no declared type'}; expected "
            "Content-Type: application/json"
        )


def is_our_host(settings: Settings, host: str) -> bool:
    """Check whether a Host header names this backend.

    IP addresses always do: DNS rebinding needs a name, and health checks of containers have none.
    """
    try:
        name = (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return False
    further = (one.strip().lower() for one in settings.allowed_hosts.split(","))
    ours = {urlsplit(settings.url).hostname, settings.host.lower(), *LOOPBACK, *further}
    return (name in ours and name != "") or _is_ip(name)


def bears_basic_auth(settings: Settings) -> bool:
    """Check whether the request bears the Basic auth that is configured."""
    given = request.authorization
    user, password = (given.username or "", given.password or "") if given else ("", "")
    expected = settings.basic_auth_pass.get_secret_value()
    return same(user, settings.basic_auth_user) & same(password, expected)


def bears_secret(secrets: ProjectSecrets, project_id: int) -> bool:
    """Check whether the request bears a project's secret.

    Webhooks bear it as a header of ours. The model's own requests, such as that to train, bear it
    as the password of Basic auth where the backend has no other.
    """
    password = (request.authorization.password or "") if request.authorization else ""
    given = request.headers.get(SECRET_HEADER) or password
    return given != "" and secrets.fits(project_id, given)


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_ip(name: str) -> bool:
    try:
        ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
