"""Who may see the status page, and who may change something on it."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from flask import request

from ...errors import BadRequestError
from ...security_checks import LOOPBACK
from ..access import is_our_host
from . import current_runtime

__all__ = ["guard_reading", "why_foreign", "why_not_change"]


def guard_reading() -> None:
    """Without auth on a loopback address, refuse requests for another host name than our own.

    Otherwise a page from elsewhere could let its own name lead to this machine (DNS rebinding), and
    read the page in the browser of somebody on this machine.
    """
    settings = current_runtime().settings
    if settings.basic_auth_user or settings.host not in LOOPBACK:
        return
    if not is_our_host(settings, request.host):
        raise BadRequestError("the status page is not served under this name; use localhost")


def why_not_change() -> str:
    """Return why nothing may be changed from here; empty when it may.

    Behind Basic auth everybody may; without it only a browser on this machine.
    """
    if current_runtime().settings.basic_auth_user:
        return ""
    try:
        local = ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        local = False
    forwarded = any(name in request.headers for name in ("Forwarded", "X-Forwarded-For"))
    if local and not forwarded and _host_name(request.host) in LOOPBACK:
        return ""
    return "without BASIC_AUTH_USER nothing can be changed here except from the same machine"


def why_foreign() -> str:
    """Return why a form is none of our own pages'; empty when it is (cross-site forgery)."""
    origin = request.headers.get("Origin", "")
    if urlsplit(origin).netloc == request.host and request.headers.get(
        "Sec-Fetch-Site", "same-origin"
    ) in ("same-origin", "none"):
        return ""
    return "this can only be done from the status page itself"


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
