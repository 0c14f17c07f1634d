"""Checks of what Label Studio holds of us: our model, our webhook, and orphaned webhooks."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator
from typing import Any
from urllib.parse import urlsplit

from ..labelstudio.client import LabelStudioClient
from ..labelstudio.registration import (
    ALLOW_OUR_ADDRESS,
    SECRET_HEADER,
    Registration,
    model_user,
    webhook_url,
)
from ..settings import Settings
from ..state.store import Project
from .finding import Finding, ok, warning, wrong
from .servers import probe_webhook

__all__ = ["check_orphans", "check_registration", "is_reserved", "orphans"]

CONNECTED = "CO"
SHARED_SPACE = ipaddress.ip_network("100.64.0.0/10")


def check_registration(
    client: LabelStudioClient, settings: Settings, project: Project
) -> Iterator[Finding]:
    """Check the model and the webhook through which Label Studio calls us for a project."""
    registration = Registration(client, settings, project.id)
    models = registration.all_models()
    ours = [one for one in models if registration.is_our_model(one)]
    yield from _model(settings, project, ours)
    for duplicate in ours[1:]:
        yield warning(
            f"model {duplicate['id']} is a duplicate of {ours[0]['id']}",
            "delete it under Settings, Model",
            repairable=True,
        )
    if ours and models[0] is not ours[0]:
        yield warning(
            f"Label Studio asks only the first model for predictions, and that is "
            f"{models[0]['title']!r} at {models[0]['url']}",
            "the order is ours all the same; delete that model to see our live answers",
        )
    yield from _webhook(registration, settings, project)


def _model(settings: Settings, project: Project, ours: list[dict[str, Any]]) -> Iterator[Finding]:
    if not ours:
        yield wrong(
            f"Label Studio has no model at {settings.url}",
            f"run: active-learn connect --project {project.id}; or disconnect, if it was removed "
            "on purpose; or set BACKEND_URL, if it lies at another address",
            repairable=True,
        )
        return
    model = ours[0]
    if model["state"] == CONNECTED:
        yield ok(f"Label Studio reaches us (model {model['id']} at {settings.url})")
        if (model.get("basic_auth_user") or "") != model_user(settings):
            yield warning(
                f"model {model['id']} does not bear the secret of this project, so *Start "
                "training* is refused",
                "run `active-learn connect` again",
                repairable=True,
            )
        return
    reason = " ".join(str(model.get("error_message") or "").split())
    if model["state"] == "ER":
        yield wrong(
            f"Label Studio reaches us, and takes our answer to /setup for an error: {reason}",
            "correct what it says, then open Settings, Model",
        )
        return
    # Label Studio keeps no reason of a refused call: the address shows which one is likely.
    remedy = (
        f"is the backend running, and BACKEND_URL its address as seen from Label Studio (in a "
        f"container, localhost is the container)? If so, this is Label Studio's address "
        f"protection: {ALLOW_OUR_ADDRESS}"
        if is_reserved(settings.url)
        else "is the backend running, BACKEND_URL its address as seen from Label Studio, and no "
        "firewall in between?"
    )
    auth = (model.get("basic_auth_user") or "") != model_user(settings)
    wrong_auth = "; its model has another Basic auth user than this backend" if auth else ""
    yield wrong(
        f"Label Studio cannot reach us at {settings.url}{wrong_auth}", remedy, repairable=True
    )


def _webhook(registration: Registration, settings: Settings, project: Project) -> Iterator[Finding]:
    webhooks = registration.webhooks()
    ours = [one for one in webhooks if registration.sends_to_us(one)]
    for extra in [*ours[1:], *(w for w in webhooks if w not in ours)]:
        if registration.is_our_webhook(extra):
            yield warning(
                f"webhook {extra['id']} to {extra['url']} is left over from an earlier connection, "
                "or of another backend",
                "delete it under Settings, Webhooks",
                repairable=True,
            )
    if not ours:
        yield wrong(
            "its webhook is missing, so changes are seen only by polling. Label Studio leaves a "
            "connection half made like this when its address protection is half off",
            ALLOW_OUR_ADDRESS if is_reserved(settings.url) else "run `active-learn connect` again",
            repairable=True,
        )
        return
    webhook = ours[0]
    if not webhook.get("is_active", True):
        yield wrong(f"webhook {webhook['id']} is off", "switch it on under Settings, Webhooks")
    elif not webhook["send_for_all_actions"]:
        yield warning(
            f"webhook {webhook['id']} does not send all events",
            "run `active-learn connect` again",
            repairable=True,
        )
    elif webhook["headers"].get(SECRET_HEADER) != project.webhook_secret:
        yield wrong(
            f"webhook {webhook['id']} does not bear the secret of this project",
            "run `active-learn connect` again",
            repairable=True,
        )
    else:
        yield probe_webhook(settings, webhook)


def orphans(
    client: LabelStudioClient, settings: Settings, connected: Collection[int]
) -> list[dict[str, Any]]:
    """List webhooks to our address that outlived their model: Label Studio keeps them.

    Parameters
    ----------
    connected : collection of int
        Projects of the project state. A project that is not among them and has a model at our
        address is another state's, so its webhook is no orphan.
    """
    suspects = [
        webhook
        for webhook in client.call("GET", "/api/webhooks/")
        if webhook["url"] == webhook_url(settings)
        and webhook.get("project") is not None
        and webhook["project"] not in connected
    ]
    return [one for one in suspects if not Registration(client, settings, one["project"]).models()]


def check_orphans(
    client: LabelStudioClient, settings: Settings, connected: Collection[int]
) -> Iterator[Finding]:
    """Report webhooks that outlived their connection."""
    for webhook in orphans(client, settings, connected):
        yield warning(
            f"webhook {webhook['id']} of project {webhook['project']}, which is not connected, "
            "still calls us",
            "delete it under Settings, Webhooks",
            repairable=True,
        )


def is_reserved(url: str) -> bool:
    """Check whether Label Studio blocks an address by default."""
    host = urlsplit(url).hostname or ""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:  # a name that only Label Studio's network knows: a container's, most likely
        return True
    addresses = [ipaddress.ip_address(one.split("%")[0]) for one in found]
    return any(one.is_private or one.is_link_local or one in SHARED_SPACE for one in addresses)
