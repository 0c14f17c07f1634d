"""Connects a project: its model and webhook, and the ordered stream; and undoes it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from ..errors import LabelStudioError, ProjectMissingError
from ..labeling.config import LabelingTask, parse_label_config
from ..logs import context
from ..project_settings import project_settings
from ..settings import Settings
from ..state.lease import exclusively
from ..state.schema import BEING_CONNECTED
from ..state.store import Project, Store
from .client import LabelStudioClient
from .published_queue import UNCERTAINTY_SAMPLING, Queue, round_of
from .registration import Registration

__all__ = [
    "MODEL_DELETED",
    "PROJECT_DELETED",
    "STREAM_IS_ORDERED",
    "Connection",
    "ParamsCheck",
    "recover_projects",
]

log = logging.getLogger(__name__)

DEFAULT_SAMPLING = "Sequential sampling"  # of a new project

MODEL_DELETED = (
    "its model was deleted in Label Studio; run `active-learn resume` to go on by polling, or "
    "`active-learn connect` to register the model again"
)
#: What `connect` did last.
STREAM_IS_ORDERED = "the annotation stream is ordered"
PROJECT_DELETED = (
    "Label Studio has no such project any more, or the user of the token may not see it; if it is "
    "there, give that user access and run `active-learn connect`"
)

#: Raises when the settings, with a project's own over them, cannot be used for what it labels.
ParamsCheck = Callable[[Settings, LabelingTask, Mapping[str, Any]], None]


class Connection:
    """The connection of one project between Label Studio and this backend.

    Parameters
    ----------
    client : LabelStudioClient
    store : Store
    settings : Settings
        Uses our own address and its Basic auth.
    project_id : int
    """

    def __init__(
        self, client: LabelStudioClient, store: Store, settings: Settings, project_id: int
    ) -> None:
        self._client, self._store, self._settings = client, store, settings
        self._project_id = project_id
        self._registration = Registration(client, settings, project_id)

    # -- commands -----------------------------------------------------------------------------

    def connect(
        self,
        *,
        pull: bool,
        params: Mapping[str, Any] | None = None,
        check_params: ParamsCheck | None = None,
    ) -> list[str]:
        """Connect the project, or repair a half-made connection.

        It is registered in Label Studio first. If that fails, nothing is left of the attempt.

        Parameters
        ----------
        pull : bool
            Register nothing in Label Studio: the worker's poller does everything.
        params : mapping, optional
            The project's own settings; as they are when omitted.
        check_params : callable, required with `params`
            Is called before anything is changed, also with the own settings that the project has.

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
        if params is not None and check_params is None:
            raise TypeError("params are stored only after a check: pass check_params")
        self._client.read_release()  # a token that another server refuses is not to blame
        remote = self._client.project(self._project_id)
        task = parse_label_config(remote["label_config"] or "")
        known = self._store.project(self._project_id)
        own = params if params is not None else known.params if known else {}
        if check_params is not None:
            check_params(self._settings, task, own)
        # No worker takes it up before all is registered.
        is_new = self._store.register(
            self._project_id, status="disconnected", reason=BEING_CONNECTED
        )
        try:
            with nullcontext() if pull else self._registration.undone_on_failure():
                done = [] if pull else self._register(params)
                if not (known and known.sampling_set):
                    self._remember_stream(remote)
                self.order_stream(remote)
        except BaseException:
            if is_new:
                self._store.forget(self._project_id)
            raise
        if params is not None:
            self._store.set_params(self._project_id, params)
            done.insert(0, f"settings of its own: {', '.join(params) or 'none'}")
        mode = "pull" if pull else "push"
        self._update(status="active", reason="", mode=mode, last_error="")
        self._store.mark_changed(self._project_id)
        done.append(STREAM_IS_ORDERED + (" (by polling only)" if pull else ""))
        learned = task.only(project_settings(self._settings, own).controls)
        done.append(f"its tasks are {learned.description}")
        return done

    def disconnect(self) -> list[str]:
        """Undo `connect`: restore sampling and version, remove our model, webhooks and rows.

        Returns
        -------
        list of str
            What was done, in words.
        """
        self._store.known_project(self._project_id)
        try:
            self._client.project(self._project_id)
        except ProjectMissingError as error:
            if error.status != 404:
                raise
            self._store.forget(self._project_id)
            return ["Label Studio has no such project any more; it is forgotten here too"]
        # First, so that no worker starts another round; one that runs is waited for.
        self._update(status="disconnected", reason="by `active-learn disconnect`")
        with exclusively(self._store, self._project_id):
            project = self._store.known_project(self._project_id)
            done = [self._restore_stream(project), *self._remove_ours(project)]
            self._update(
                backend_id=None,
                webhook_id=None,
                queue_version="",
                request_round=True,
                # The next connection remembers what it finds, not what this one found.
                sampling_set=False,
                former_sampling=None,
                former_model_version=None,
            )
            return done

    def pause(self) -> list[str]:
        """Stop ordering, and restore the project's former sampling until `resume`."""
        self._store.known_project(self._project_id)
        self._update(status="paused", reason="by `active-learn pause`")
        with exclusively(self._store, self._project_id):
            project = self._store.known_project(self._project_id)
            sampling = project.former_sampling or DEFAULT_SAMPLING
            self._client.patch_project(self._project_id, sampling=sampling)
        return [f"paused: the sampling is {sampling!r} again"]

    def resume(self) -> list[str]:
        """Order the stream again."""
        self._store.known_project(self._project_id)
        self._client.patch_project(self._project_id, sampling=UNCERTAINTY_SAMPLING)
        self._update(status="active", reason="", sampling_set=True, request_round=True)
        self._store.mark_changed(self._project_id)
        return ["resumed: a new round starts at once"]

    # -- what a worker's turn needs -----------------------------------------------------------

    def order_stream(self, remote: Mapping[str, Any]) -> None:
        """Turn on the sampling that follows our scores, and remember what was there before.

        Parameters
        ----------
        remote : mapping
            The project as Label Studio holds it.
        """
        if self._store.known_project(self._project_id).former_sampling is None:
            self._remember_stream(remote)
        if remote["sampling"] != UNCERTAINTY_SAMPLING:
            self._client.patch_project(self._project_id, sampling=UNCERTAINTY_SAMPLING)
        self._update(sampling_set=True)
        log.info("the stream is ordered from now on")

    def secure_webhook(self, secret: str) -> None:
        """Add our secret header to the webhook that Label Studio made by itself."""
        webhook_id = self._registration.secure_webhook(secret)
        if webhook_id is not None:
            self._update(webhook_id=webhook_id)

    def check_model(self, project: Project) -> bool:
        """Pause a project whose model a person deleted in Label Studio; return whether it goes on.

        The webhook goes with the model. The project goes on when a person resumes it, by polling,
        or when it is connected again.
        """
        model = self._registration.find_model(project.backend_id)
        if model is not None:
            if project.backend_id not in (None, model["id"]):
                self._update(backend_id=model["id"])  # another one was made instead
            return True
        self._registration.delete_webhooks()
        values = {"mode": "pull", "backend_id": None, "webhook_id": None}
        self._update(status="paused", reason=MODEL_DELETED, **values)
        sampling = project.former_sampling or DEFAULT_SAMPLING
        self._client.patch_project(project.id, sampling=sampling)
        log.warning("paused: %s", MODEL_DELETED)
        return False

    # -- pieces -------------------------------------------------------------------------------

    def _update(self, **values: Any) -> None:
        self._store.update(self._project_id, **values)

    def _register(self, params: Mapping[str, Any] | None) -> list[str]:
        secret = self._store.known_project(self._project_id).webhook_secret
        model_id, of_model = self._registration.register_model(params, secret)
        webhook_id, of_webhook = self._registration.register_webhook(secret)
        self._update(backend_id=model_id, webhook_id=webhook_id)
        return of_model + of_webhook

    def _remember_stream(self, remote: Mapping[str, Any]) -> None:
        """Store what `disconnect` restores; values of ours are what a lost state left behind."""
        version = remote["model_version"] or ""
        ours = round_of(version) is not None
        self._update(
            former_sampling=DEFAULT_SAMPLING if ours else remote["sampling"],
            former_model_version="" if ours else version,
        )

    def _restore_stream(self, project: Project) -> str:
        sampling = project.former_sampling or DEFAULT_SAMPLING
        version = project.former_model_version or ""
        try:
            self._client.patch_project(project.id, sampling=sampling, model_version=version)
        except LabelStudioError as error:
            if error.status != 400:
                raise
            # That version's predictions or model are gone, and Label Studio refuses its name.
            version = ""
            self._client.patch_project(project.id, sampling=sampling, model_version=version)
        return f"sampling is {sampling!r} and model_version {version!r} again"

    def _remove_ours(self, project: Project) -> list[str]:
        done = []
        if project.backend_id is not None:
            self._registration.delete_model(project.backend_id)
            done.append(f"model {project.backend_id} removed")
        done += [f"webhook {one} removed" for one in self._registration.delete_webhooks()]
        queue = Queue(self._client, project.id)
        left = queue.versions()
        for step in queue.retirements(left):
            queue.retire(step)
        done.append(f"{sum(left.values())} queue rows removed")
        by_hand = project.backend_id is None and project.mode == "push"
        if by_hand and self._registration.models():
            done.append(
                "the model was added in Label Studio by hand: remove it under Settings, Model"
            )
        return done


def recover_projects(client: LabelStudioClient, store: Store, settings: Settings) -> list[int]:
    """Register again the projects that are ours by what Label Studio holds.

    Those are served by a queue version of ours and have a model at our address. Projects that were
    connected with ``--pull`` have none, and have to be connected again.

    Returns
    -------
    list of int
        Their ids.
    """
    recovered = []
    for remote in client.projects():
        served = round_of(remote.get("model_version") or "")
        if served is None:
            continue
        project_id = int(remote["id"])
        ours = Registration(client, settings, project_id).models()
        if ours:
            store.register(project_id)
            store.update(
                project_id,
                round=served,
                queue_version=remote["model_version"],
                backend_id=ours[0]["id"],
            )
            with context(project=project_id):
                log.warning("registered again, as Label Studio shows it")
            recovered.append(project_id)
    return recovered
