"""Sends word of a changed advice to the address that the operator has set."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import httpx

from ..learning.quality.stopping import advise, verdict
from ..settings import Settings

__all__ = ["tell_if_changed"]

log = logging.getLogger(__name__)

SECONDS = 5.0


def tell_if_changed(
    settings: Settings, project_id: int, reports: Sequence[Mapping[str, Any]]
) -> None:
    """Send the advice after the last of these rounds, if its verdict is another than before it.

    The message is JSON: ``project``, ``round``, ``labeled``, ``stop``, and ``advice``, a list of
    what each criterion says. It goes to ``ADVICE_URL`` alone, follows no redirect and is sent once;
    a failure is logged and changes nothing. The address is never logged: it may hold a key.

    Parameters
    ----------
    reports : sequence of mapping
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
        "round": reports[-1]["round"],
        "labeled": reports[-1]["labeled"],
        "stop": stop,
        "advice": [asdict(one) for one in advice],
    }
    try:
        answer = httpx.post(settings.advice_url, json=body, timeout=SECONDS, follow_redirects=False)
    except httpx.HTTPError as error:
        log.warning("the advice was not sent to ADVICE_URL: %s", type(error).__name__)
        return
    if answer.is_success:
        log.info("the advice is now: %s", "stop" if stop else "go on")
    else:
        log.warning("ADVICE_URL answered the advice with status %s", answer.status_code)
