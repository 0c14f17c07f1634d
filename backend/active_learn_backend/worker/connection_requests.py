"""Connects the projects that /setup named, once Label Studio itself says that we are their model.

Anybody may call /setup. So a request counts for nothing but a question: the worker asks Label
Studio, with our own token, for the models of that project. It never asks within a request, because
Label Studio calls /health and /setup of each model before it lists them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from typing import Any

from active_learn.errors import ActiveLearnError

from ..errors import LabelStudioError, LabelStudioUnreachableError, StoreError
from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.registration import Registration
from ..learning.selection.project_params import check_params
from ..logs import context
from ..project_settings import parse_params
from ..settings import Settings
from ..state.connection_requests import drop_connection_request, read_connection_requests
from ..state.schema import ConnectionRequest
from ..state.store import Store

__all__ = ["ConnectionRequests"]

log = logging.getLogger(__name__)

LOOK_EVERY = 0.5  # seconds
# Label Studio calls /setup before it stores the model that it is adding, so a request is kept for
# a while, and asked about less and less often.
PATIENCE = 60.0
FIRST_PAUSE = 1.0


class ConnectionRequests:
    """Answers the requests of /setup, one at a time.

    Parameters
    ----------
    settings : Settings
    store : Store
    client : LabelStudioClient
    """

    def __init__(self, settings: Settings, store: Store, client: LabelStudioClient) -> None:
        self._settings, self._store, self._client = settings, store, client
        self._ask_at: dict[int, float] = {}

    def run(self, stopping: threading.Event) -> None:
        """Answer requests until `stopping` is set."""
        while not stopping.wait(LOOK_EVERY):
            try:
                self.answer(time.time())
            except StoreError as error:
                log.error("%s; trying again", error)

    def answer(self, now: float) -> None:
        """Answer all requests that are due; each is connected, dropped, or asked about later."""
        waiting = read_connection_requests(self._store)
        self._ask_at = {one.project_id: self._ask_at.get(one.project_id, 0.0) for one in waiting}
        for request in waiting:
            if now >= self._ask_at[request.project_id]:
                with context(project=request.project_id):
                    self._answer_one(request, now)

    def _answer_one(self, request: ConnectionRequest, now: float) -> None:
        age = abs(now - request.requested_at)
        try:
            self._client.require_token()
            registration = Registration(self._client, self._settings, request.project_id)
            if models := registration.models():
                self._connect(registration, request.project_id, models[0])
                drop_connection_request(self._store, request.project_id)
                return
            reason = (
                f"Label Studio lists no model at {self._settings.url} for it; add one with exactly "
                "this address, correct BACKEND_URL, or run `active-learn connect --project "
                f"{request.project_id}`"
            )
            final = False
        except StoreError:
            raise
        except LabelStudioUnreachableError as error:
            reason, final = str(error), False
        except LabelStudioError as error:
            reason, final = str(error), error.status in (403, 404)  # not for our token
        except ActiveLearnError as error:  # it cannot be learned, or not so
            reason, final = str(error), True
        if final or age >= PATIENCE:
            log.warning("was set up and is not connected: %s", reason)
            drop_connection_request(self._store, request.project_id)
            return
        next_at = min(now + max(FIRST_PAUSE, age), request.requested_at + PATIENCE)
        self._ask_at[request.project_id] = next_at

    def _connect(
        self, registration: Registration, project_id: int, model: Mapping[str, Any]
    ) -> None:
        """Register a project, or store its changed params, as Label Studio holds them."""
        project = self._store.project(project_id)
        if project is not None and project.status == "disconnected":
            return
        params = parse_params(model.get("extra_params"))
        config = self._client.project(project_id)["label_config"] or ""
        check_params(self._settings, parse_label_config(config), params)
        if self._store.register(project_id, params=params):
            log.info("connected through Label Studio")
            registration.secure_model(model, self._store.known_project(project_id).webhook_secret)
        elif self._store.set_params(project_id, params):
            log.info("has settings of its own: %s", ", ".join(params) or "none")
