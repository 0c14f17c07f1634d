"""Sends a changed advice to the address that the operator has set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict

import httpx

from ..labelstudio.tls_and_proxy import trusted_certificates
from ..learning.quality.stopping import advise, verdict
from ..settings import Settings
from ..state.round_report import RoundReport

__all__ = ["notify_if_changed"]

log = logging.getLogger(__name__)

SECONDS = 5.0


def notify_if_changed(settings: Settings, project_id: int, reports: Sequence[RoundReport]) -> None:
    """Send the advice after the last of these rounds, if that round changed the verdict.

    The message is JSON: ``project``, ``round``, ``labeled``, ``stop``, and ``advice``, a list with
    the result of each criterion. It is sent once, to ``ADVICE_URL`` only, and follows no redirect.
    A failure is logged and changes nothing. The address is never logged: it may hold a key.

    Parameters
    ----------
    reports : sequence of RoundReport
        Of all rounds, oldest first.
    """
    if not settings.advice_url or not reports:
        return
    advice = advise(reports)
    stop = verdict(advice)
    if stop == verdict(advise(reports[:-1])):
        return
    body = {
        "project": project_id,
        "round": reports[-1].round,
        "labeled": reports[-1].labeled,
        "stop": stop,
        "advice": [asdict(one) for one in advice],
    }
    try:
        answer = httpx.post(
            settings.advice_url,
            json=body,
            timeout=SECONDS,
            follow_redirects=False,
            verify=trusted_certificates(settings),
        )
    except httpx.HTTPError as error:
        log.warning("the advice was not sent to ADVICE_URL: %s", type(error).__name__)
        return
    if answer.is_success:
        log.info("the advice is now: %s", "stop" if stop else "go on")
    else:
        log.warning("ADVICE_URL answered the advice with status %s", answer.status_code)
