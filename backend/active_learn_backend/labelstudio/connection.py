"""Connects a project: the backend's row, its webhook, the ordered stream; and undoes it.

Only rows and webhooks that point at our address, or bear our header, are ever touched.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import ConnectionRefusedByLabelStudioError, LabelStudioError
from ..labeling.config import parse_label_config
from ..settings import Settings
from ..state.lease import exclusively
from ..state.store import Project, Store
from .client import LabelStudioClient
from .published_queue import UNCERTAINTY_SAMPLING, Queue, round_of

__all__ = [
    "LET_US_IN",
    "SECRET_HEADER",
    "connect",
    "disconnect",
    "our_backends",
    "pause",
    "project_webhooks",
    "resume",
    "secure_webhook",
    "take_over_stream",
    "webhook_url",
]

log = logging.getLogger(__name__)

SECRET_HEADER = "X-Active-Sampler-Secret"  # noqa: S105  the header's name, not a secret
#: What to do when Label Studio's address protection refuses our address.
LET_US_IN = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false (or only "
    "USE_DEFAULT_BANNED_SUBNETS=false), or use `active-learn connect --pull`"
)
TITLE = "Active sampler"
DEFAULT_SAMPLING = "Sequential sampling"  # of a new project


def connect(
    client: LabelStudioClient,
    store: Store,
    settings: Settings,
    project_id: int,
    *,
    pull: bool,
    params: Mapping[str, Any] | None = None,
) -> list[str]:
    """Connect a project, or repair a half-made connection.

    Parameters
    ----------
    params : mapping, optional
        The project's own settings; as they are when omitted.
    pull : bool
        Register nothing in Label Studio: the worker's poller does everything.

    Returns
    -------
    list of str
        What was done, in words.

    Raises
    ------
    LabelConfigError
        When the project's labeling config cannot be learned.
    ConnectionRefusedByLabelStudioError
        When Label Studio's address protection refuses our address.
    """
    remote = client.project(project_id)
    task = parse_label_config(remote["label_config"] or "")
    if params is not None:
        from ..learning.selection.project_params import check_params

        check_params(settings, task, params)
    project = store.register(project_id)
    done = []
    if not project.sampling_set:
        # Before the backend's row is made: that sets model_version to the row's title.
        _remember_stream(store, project_id, remote)
    if params is not None:
        store.set_params(project_id, params)
        done.append(f"settings of its own: {', '.join(params) or 'none'}")
    if not pull:
        done += _register_backend(client, store, settings, project, params)
        done += _tidy_webhooks(client, store, settings, project)
    take_over_stream(client, store, project_id, remote)
    mode = "pull" if pull else "push"
    store.update(project_id, status="active", reason="", mode=mode, last_error="")
    store.mark_changed(project_id)
    done.append("the annotation stream is ordered" + (" (by polling only)" if pull else ""))
    return done


def adopt(client: LabelStudioClient, store: Store, settings: Settings) -> list[int]:
    """Register the projects again that Label Studio shows to be ours.

    Those are served by a queue version of ours and have a model at our address. Projects that were
    connected with ``--pull`` have none, and have to be connected again.

    Returns
    -------
    list of int
        Their ids.
    """
    adopted = []
    for remote in client.projects():
        served = round_of(remote.get("model_version") or "")
        ours = our_backends(client, settings, remote["id"]) if served is not None else []
        if ours:
            store.register(remote["id"])
            store.update(
                remote["id"],
                round=served,
                queue_version=remote["model_version"],
                backend_id=ours[0]["id"],
            )
            log.warning("project %s: taken in again, as Label Studio shows it", remote["id"])
            adopted.append(int(remote["id"]))
    return adopted


def take_over_stream(
    client: LabelStudioClient, store: Store, project_id: int, remote: Mapping[str, Any]
) -> None:
    """Turn on the sampling that follows our scores, and remember what was there before."""
    project = store.register(project_id)
    if project.former_sampling is None:
        _remember_stream(store, project_id, remote)
    if remote["sampling"] != UNCERTAINTY_SAMPLING:
        client.patch_project(project_id, sampling=UNCERTAINTY_SAMPLING)
    store.update(project_id, sampling_set=True)
    log.info("project %s: the stream is ordered from now on", project_id)


def disconnect(
    client: LabelStudioClient, store: Store, settings: Settings, project_id: int
) -> list[str]:
    """Undo `connect`: former sampling and version, and none of our rows and webhooks left."""
    store.known_project(project_id)
    # First, so that no worker starts another round; one that runs is waited for.
    store.update(project_id, status="disconnected", reason="by `active-learn disconnect`")
    with exclusively(store, project_id):
        return _disconnect(client, store, settings, store.register(project_id))


def _disconnect(
    client: LabelStudioClient, store: Store, settings: Settings, project: Project
) -> list[str]:
    project_id = project.id
    done = [_restore_stream(client, project)]
    if project.backend_id is not None:
        _delete(client, f"/api/ml/{project.backend_id}")
        done.append(f"model {project.backend_id} removed")
    for webhook in project_webhooks(client, project_id):
        if webhook["url"] == webhook_url(settings) or SECRET_HEADER in webhook["headers"]:
            _delete(client, f"/api/webhooks/{webhook['id']}/")
            done.append(f"webhook {webhook['id']} removed")
    queue = Queue(client, project_id)
    left = queue.versions()
    for step in queue.retirements(left):
        queue.retire(step)
    done.append(f"{sum(left.values())} queue rows removed")
    if (
        project.backend_id is None
        and project.mode == "push"
        and our_backends(client, settings, project_id)
    ):
        done.append("the model was added in Label Studio by hand: remove it under Settings, Model")
    store.update(
        project_id,
        backend_id=None,
        webhook_id=None,
        queue_version="",
        round_requested=True,
        # The next connection remembers what it finds, not what this one found.
        sampling_set=False,
        former_sampling=None,
        former_model_version=None,
    )
    return done


def pause(
    client: LabelStudioClient, store: Store, settings: Settings, project_id: int
) -> list[str]:
    """Stop ordering, and give the project its former sampling back until `resume`."""
    store.known_project(project_id)
    store.update(project_id, status="paused", reason="by `active-learn pause`")
    with exclusively(store, project_id):
        sampling = store.register(project_id).former_sampling or DEFAULT_SAMPLING
        client.patch_project(project_id, sampling=sampling)
    return [f"paused: the sampling is {sampling!r} again"]


def resume(
    client: LabelStudioClient, store: Store, settings: Settings, project_id: int
) -> list[str]:
    """Order the stream again."""
    store.known_project(project_id)
    client.patch_project(project_id, sampling=UNCERTAINTY_SAMPLING)
    store.update(project_id, status="active", reason="", sampling_set=True, round_requested=True)
    store.mark_changed(project_id)
    return ["resumed: a new round starts at once"]


def secure_webhook(
    client: LabelStudioClient, store: Store, project: Project, settings: Settings
) -> None:
    """Give the webhook that Label Studio made by itself our secret header (it has no auth)."""
    for webhook in project_webhooks(client, project.id):
        if webhook["url"] == webhook_url(settings):
            _set_secret(client, webhook, project.webhook_secret)
            store.update(project.id, webhook_id=webhook["id"])


# -- the backend's row --------------------------------------------------------------------------


def _register_backend(
    client: LabelStudioClient,
    store: Store,
    settings: Settings,
    project: Project,
    params: Mapping[str, Any] | None,
) -> list[str]:
    row = _row(settings, project.id) | ({} if params is None else {"extra_params": dict(params)})
    ours = our_backends(client, settings, project.id)
    done = []
    for duplicate in ours[1:]:
        _delete(client, f"/api/ml/{duplicate['id']}")
        done.append(f"duplicate model {duplicate['id']} removed")
    if ours:
        backend = client.call("PATCH", f"/api/ml/{ours[0]['id']}", json=row)
        done.append(f"model {backend['id']} was there already")
    else:
        backend = _create_backend(client, settings, project.id, row)
        done.append(f"model {backend['id']} registered at {settings.url}")
    if backend.get("state") not in (None, "CO"):
        raise LabelStudioError(
            f"Label Studio made the model but cannot reach {settings.url}: "
            f"{backend.get('error_message') or 'no answer'}; is `active-learn serve` running, and "
            "is BACKEND_URL its address as seen from Label Studio?",
            502,
        )
    store.update(project.id, backend_id=backend["id"])
    return done


def _create_backend(
    client: LabelStudioClient, settings: Settings, project_id: int, row: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        backend: dict[str, Any] = client.call("POST", "/api/ml/", json=row)
        return backend
    except LabelStudioError as error:
        if error.status == 403:
            for half_made in our_backends(client, settings, project_id):
                _delete(client, f"/api/ml/{half_made['id']}")
            raise ConnectionRefusedByLabelStudioError(
                f"Label Studio's address protection refuses {settings.url}; {LET_US_IN}",
                403,
            ) from error
        raise


def _row(settings: Settings, project_id: int) -> dict[str, Any]:
    row: dict[str, Any] = {"project": project_id, "url": settings.url, "title": TITLE}
    if settings.basic_auth_user:
        row |= {
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": settings.basic_auth_user,
            "basic_auth_pass": settings.basic_auth_pass.get_secret_value(),
        }
    return row


def our_backends(
    client: LabelStudioClient, settings: Settings, project_id: int
) -> list[dict[str, Any]]:
    """List a project's models at our address, the oldest first."""
    backends = client.call("GET", "/api/ml/", params={"project": project_id})
    ours = [one for one in backends if str(one["url"]).rstrip("/") == settings.url]
    return sorted(ours, key=lambda one: int(one["id"]))


# -- webhooks -----------------------------------------------------------------------------------


def _tidy_webhooks(
    client: LabelStudioClient, store: Store, settings: Settings, project: Project
) -> list[str]:
    """Leave exactly one webhook of ours, with the secret header."""
    url = webhook_url(settings)
    done = []
    kept = None
    for webhook in project_webhooks(client, project.id):
        if webhook["url"] == url and kept is None:
            kept = webhook
        elif webhook["url"] == url or SECRET_HEADER in webhook["headers"]:
            _delete(client, f"/api/webhooks/{webhook['id']}/")
            done.append(f"orphan webhook {webhook['id']} removed")
    if kept is None:
        kept = client.call(
            "POST",
            "/api/webhooks/",
            json={"url": url, "project": project.id, "send_for_all_actions": True},
        )
        done.append(f"webhook {kept['id']} registered")
    _set_secret(client, kept, project.webhook_secret)
    store.update(project.id, webhook_id=kept["id"])
    return done


def _set_secret(client: LabelStudioClient, webhook: Mapping[str, Any], secret: str) -> None:
    client.call(
        "PATCH",
        f"/api/webhooks/{webhook['id']}/",
        json={
            "headers": {**webhook["headers"], SECRET_HEADER: secret},
            # A PATCH without these two would empty the list of actions.
            "send_for_all_actions": True,
            "actions": webhook.get("actions", []),
        },
    )


def project_webhooks(client: LabelStudioClient, project_id: int) -> list[dict[str, Any]]:
    """List a project's webhooks, whoever's they are, the oldest first."""
    webhooks = client.call("GET", "/api/webhooks/", params={"project": project_id})
    mine = [one for one in webhooks if one.get("project") == project_id]
    return sorted(mine, key=lambda one: int(one["id"]))


def webhook_url(settings: Settings) -> str:
    """Address of our webhook as Label Studio calls it."""
    return f"{settings.url}/webhook"


# -- small pieces -------------------------------------------------------------------------------


def _remember_stream(store: Store, project_id: int, remote: Mapping[str, Any]) -> None:
    """Note what `disconnect` gives back; not our own, found after the state was lost."""
    version = remote["model_version"] or ""
    ours = round_of(version) is not None
    store.update(
        project_id,
        former_sampling=DEFAULT_SAMPLING if ours else remote["sampling"],
        former_model_version="" if ours else version,
    )


def _restore_stream(client: LabelStudioClient, project: Project) -> str:
    sampling = project.former_sampling or DEFAULT_SAMPLING
    version = project.former_model_version or ""
    try:
        client.patch_project(project.id, sampling=sampling, model_version=version)
    except LabelStudioError as error:
        if error.status != 400:
            raise
        # That version's predictions or model are gone, and Label Studio refuses its name.
        version = ""
        client.patch_project(project.id, sampling=sampling, model_version=version)
    return f"sampling is {sampling!r} and model_version {version!r} again"


def _delete(client: LabelStudioClient, path: str) -> None:
    try:
        client.call("DELETE", path)
    except LabelStudioError as error:
        if error.status != 404:
            raise
