"""What Label Studio holds of us in a project: the model that it calls, and the webhook.

Only models and webhooks that point at our address, or bear our header, are ever changed.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from active_learn.errors import ActiveLearnError

from ..errors import ConnectionRefusedByLabelStudioError, LabelStudioError
from ..security_checks import LOOPBACK
from ..settings import Settings
from .client import LabelStudioClient
from .own_server import reads_bare_events

__all__ = [
    "ALLOW_OUR_ADDRESS",
    "PROJECT_HEADER",
    "SECRET_HEADER",
    "Registration",
    "model_user",
    "webhook_headers",
    "webhook_url",
]

SECRET_HEADER = "X-Active-Sampler-Secret"  # noqa: S105  the header's name, not a secret
PROJECT_HEADER = "X-Active-Sampler-Project"
#: What to do when Label Studio's address protection refuses our address.
ALLOW_OUR_ADDRESS = (
    "start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false (or only "
    "USE_DEFAULT_BANNED_SUBNETS=false), or use `active-learn connect --pull`"
)
TITLE = "Active sampler"
#: User under which the model's requests bear the project's secret where there is no Basic auth.
MODEL_USER = "active-sampler"

log = logging.getLogger(__name__)


def webhook_url(settings: Settings) -> str:
    """Return the address of our webhook as Label Studio calls it."""
    return f"{settings.url}/webhook"


def webhook_headers(settings: Settings, secret: str) -> dict[str, str]:
    """Return the headers of our webhook: its project's secret, and Basic auth where there is one.

    Our own web process takes either. The server of label-studio-ml 2.x takes Basic auth only.
    """
    headers = {SECRET_HEADER: secret}
    if settings.basic_auth_user:
        password = settings.basic_auth_pass.get_secret_value()
        token = base64.b64encode(f"{settings.basic_auth_user}:{password}".encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    return headers


def model_user(settings: Settings) -> str:
    """Return the user of Basic auth under which our model's requests come."""
    return settings.basic_auth_user or MODEL_USER


class Registration:
    """Our model and our webhook of one project in Label Studio.

    Parameters
    ----------
    client : LabelStudioClient
    settings : Settings
        Uses our own address and its Basic auth.
    project_id : int
    """

    def __init__(self, client: LabelStudioClient, settings: Settings, project_id: int) -> None:
        self._client, self._settings, self._project_id = client, settings, project_id

    # -- the model ----------------------------------------------------------------------------

    def all_models(self) -> list[dict[str, Any]]:
        """List all models of the project, the oldest first.

        On this request Label Studio calls /health and /setup of each, and stores the answers.
        """
        models = self._client.call("GET", "/api/ml/", params={"project": self._project_id})
        return sorted(models, key=lambda one: int(one["id"]))

    def models(self) -> list[dict[str, Any]]:
        """List the project's models at our address, the oldest first."""
        return [one for one in self.all_models() if self.is_our_model(one)]

    def is_our_model(self, model: Mapping[str, Any]) -> bool:
        """Check whether a model lies at our address."""
        return _same_address(str(model["url"]), self._settings.url)

    def find_model(self, model_id: int | None) -> dict[str, Any] | None:
        """Return the model of that id, or another one at our address; None when there is none."""
        if model_id is not None:
            try:
                model: dict[str, Any] = self._client.call("GET", f"/api/ml/{model_id}")
                return model
            except LabelStudioError as error:
                if error.status != 404:
                    raise
        return next(iter(self.models()), None)

    @contextmanager
    def undone_on_failure(self) -> Iterator[None]:
        """Delete the model and the webhooks that were made within the block, if it fails."""
        before = {one["id"] for one in self.models()}, {one["id"] for one in self._our_webhooks()}
        try:
            yield
        except BaseException:
            self._undo(*before)
            raise

    def _undo(self, models: set[int], webhooks: set[int]) -> None:
        try:
            for model in self.models():
                if model["id"] not in models:
                    self.delete_model(model["id"])
            for webhook in self._our_webhooks():
                if webhook["id"] not in webhooks:
                    self._delete_webhook(webhook["id"])
        except ActiveLearnError as error:  # the failure itself is raised, not this one
            log.warning("what was made in Label Studio may be left there: %s", error)

    def register_model(
        self, params: Mapping[str, Any] | None, secret: str
    ) -> tuple[int, list[str]]:
        """Leave exactly one model at our address.

        Parameters
        ----------
        params : mapping, optional
            The project's own settings; as they are when omitted.
        secret : str
            The project's; the model's requests bear it where the backend has no Basic auth.

        Returns
        -------
        (int, list of str)
            The model's id, and what was done, in words.

        Raises
        ------
        ConnectionRefusedByLabelStudioError
            When Label Studio's address protection refuses our address.
        LabelStudioError
            When it cannot reach us.
        """
        values = self._model_values(secret) | (
            {} if params is None else {"extra_params": dict(params)}
        )
        ours = self.models()
        done = []
        for duplicate in ours[1:]:
            self.delete_model(duplicate["id"])
            done.append(f"duplicate model {duplicate['id']} removed")
        if ours:
            model = self._client.call("PATCH", f"/api/ml/{ours[0]['id']}", json=values)
            done.append(f"model {model['id']} was there already")
        else:
            model = self._create_model(values)
            done.append(f"model {model['id']} registered at {self._settings.url}")
        if model.get("state") not in (None, "CO"):
            raise LabelStudioError(
                f"Label Studio made the model but cannot reach {self._settings.url}: "
                f"{model.get('error_message') or 'no answer'}; is `active-learn serve` running, "
                "and is BACKEND_URL its address as seen from Label Studio?",
                502,
            )
        return model["id"], done

    def _create_model(self, values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            model: dict[str, Any] = self._client.call("POST", "/api/ml/", json=values)
            return model
        except LabelStudioError as error:
            if error.status == 403:
                for half_made in self.models():
                    self.delete_model(half_made["id"])
                raise ConnectionRefusedByLabelStudioError(
                    f"Label Studio's address protection refuses {self._settings.url}; "
                    f"{ALLOW_OUR_ADDRESS}",
                    403,
                ) from error
            raise

    def _model_values(self, secret: str) -> dict[str, Any]:
        return {
            "project": self._project_id,
            "url": self._settings.url,
            "title": TITLE,
        } | self._credentials(secret)

    def _credentials(self, secret: str) -> dict[str, Any]:
        password = self._settings.basic_auth_pass.get_secret_value()
        own = bool(self._settings.basic_auth_user)
        return {
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": model_user(self._settings),
            "basic_auth_pass": password if own else secret,
        }

    def secure_model(self, model: Mapping[str, Any], secret: str) -> None:
        """Let the requests of a model that a person added bear the project's secret.

        Without it a person's request to train is refused, so a failure here is only logged.
        """
        if self._settings.basic_auth_user or model.get("basic_auth_user"):
            return
        try:
            # Without the url Label Studio answers 500.
            values = {"project": self._project_id, "url": model["url"], **self._credentials(secret)}
            self._client.call("PATCH", f"/api/ml/{model['id']}", json=values)
        except ActiveLearnError as error:
            log.warning("the model's requests to train will be refused: %s", error)

    def delete_model(self, model_id: int) -> None:
        """Delete a model; one that is gone already is no error."""
        self._delete(f"/api/ml/{model_id}")

    # -- webhooks -----------------------------------------------------------------------------

    def webhooks(self) -> list[dict[str, Any]]:
        """List all webhooks of the project, also those of others, the oldest first."""
        webhooks = self._client.call("GET", "/api/webhooks/", params={"project": self._project_id})
        own = [one for one in webhooks if one.get("project") == self._project_id]
        return sorted(own, key=lambda one: int(one["id"]))

    def sends_to_us(self, webhook: Mapping[str, Any]) -> bool:
        """Check whether a webhook sends to our present address."""
        return _same_address(str(webhook["url"]), webhook_url(self._settings))

    def is_our_webhook(self, webhook: Mapping[str, Any]) -> bool:
        """Check whether a webhook is ours; one of an earlier address of ours bears our header."""
        return self.sends_to_us(webhook) or SECRET_HEADER in webhook["headers"]

    def _our_webhooks(self) -> list[dict[str, Any]]:
        return [one for one in self.webhooks() if self.is_our_webhook(one)]

    def register_webhook(self, secret: str) -> tuple[int, list[str]]:
        """Leave exactly one webhook of ours, with our headers.

        Returns
        -------
        (int, list of str)
            The webhook's id, and what was done, in words.
        """
        ours = self._our_webhooks()
        webhook = next((one for one in ours if self.sends_to_us(one)), None)
        done = []
        for extra in ours:
            if extra is not webhook:
                self._delete_webhook(extra["id"])
                done.append(f"orphan webhook {extra['id']} removed")
        if webhook is None:
            webhook = self._client.call(
                "POST",
                "/api/webhooks/",
                json={
                    "url": webhook_url(self._settings),
                    "project": self._project_id,
                    "send_for_all_actions": True,
                },
            )
            done.append(f"webhook {webhook['id']} registered")
        self._set_secret(webhook, secret)
        return webhook["id"], done

    def secure_webhook(self, secret: str) -> int | None:
        """Add our headers to the webhook that Label Studio made by itself, without any.

        Returns
        -------
        int or None
            The webhook's id; None when there is no webhook to our address.
        """
        secured = None
        for webhook in self.webhooks():
            if self.sends_to_us(webhook):
                self._set_secret(webhook, secret)
                secured = webhook["id"]
        return secured

    def delete_webhooks(self) -> list[int]:
        """Delete all webhooks of ours, and return their ids."""
        ours = [one["id"] for one in self._our_webhooks()]
        for webhook_id in ours:
            self._delete_webhook(webhook_id)
        return ours

    def _set_secret(self, webhook: Mapping[str, Any], secret: str) -> None:
        """Set our headers, and have Label Studio send no more than our server reads.

        It writes the whole project into each event, within the submit that waits for it.
        """
        headers = {
            name: one
            for name, one in webhook["headers"].items()
            if name not in ("Authorization", PROJECT_HEADER)
        } | webhook_headers(self._settings, secret)
        if bare := reads_bare_events(self._settings):
            headers[PROJECT_HEADER] = str(self._project_id)
        self._client.call(
            "PATCH",
            f"/api/webhooks/{webhook['id']}/",
            json={
                "headers": headers,
                "send_payload": not bare,
                # A PATCH without these two would empty the list of actions.
                "send_for_all_actions": True,
                "actions": webhook.get("actions", []),
            },
        )

    def _delete_webhook(self, webhook_id: int) -> None:
        self._delete(f"/api/webhooks/{webhook_id}/")

    def _delete(self, path: str) -> None:
        try:
            self._client.call("DELETE", path)
        except LabelStudioError as error:
            if error.status != 404:
                raise


def _same_address(one: str, other: str) -> bool:
    """Compare two addresses; the names of this machine are one."""
    return _plain(one) == _plain(other)


def _plain(address: str) -> tuple[str, str, int | None, str]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:  # a person may write anything
        return address, "", None, ""
    host = "localhost" if host in LOOPBACK else host
    port = port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, host, port, parts.path.rstrip("/")
