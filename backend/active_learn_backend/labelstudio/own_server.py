"""Asks the server at our own address what it is, before Label Studio is told how to call it."""

from __future__ import annotations

import httpx

from ..settings import Settings
from .tls_and_proxy import trusted_certificates

__all__ = ["reads_bare_events"]

PATIENCE = 5.0  # seconds


def reads_bare_events(settings: Settings) -> bool:
    """Return whether our own server answers there, which reads the project from the headers.

    The server of label-studio-ml 2.x reads it from the body only. One that cannot be asked counts
    as another one.
    """
    try:
        answer = httpx.get(
            f"{settings.url}/health",
            auth=_basic_auth(settings),
            timeout=PATIENCE,
            verify=trusted_certificates(settings),
            trust_env=False,
        )
        health = answer.json() if answer.is_success else None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError):
        return False
    return isinstance(health, dict) and "degraded" in health


def _basic_auth(settings: Settings) -> tuple[str, str] | None:
    user = settings.basic_auth_user
    return (user, settings.basic_auth_pass.get_secret_value()) if user else None
