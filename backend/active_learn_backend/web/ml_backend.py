"""The class that a Label Studio ML server hosts: thin, and the same under every host.

Our own web process hosts it, and so does label-studio-ml 2.x (``label-studio-ml start``,
``init_app(model_class=ActiveLearningModel)``); then `active-learn worker` does the training.
label-studio-ml 1.0.9 has the same base class with another constructor.
"""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from active_learn.errors import StateError
from active_learn.heads import head_name
from label_studio_ml.model import LabelStudioMLBase

from .. import logs
from ..errors import BadRequestError, TooManyRequestsError
from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.content_loader import ContentLoader
from ..learning.heads import ControlHeads
from ..learning.regions.embedder import open_embedder
from ..learning.selection.project_params import check_params, learned_task
from ..project_settings import parse_params
from ..settings import Settings, environment_settings
from ..state.connection_requests import MOST_REQUESTS, request_connection
from ..state.folders import heads_folder, make_model_dir
from ..state.model_versions import served_settings
from ..state.schema import BEING_CONNECTED
from ..state.store import Project, Store
from .change_buffer import ChangeBuffer
from .host_program import ForeignHost, OurHost
from .interactive import controls_to_answer, without_known_regions
from .project_secrets import ProjectSecrets

__all__ = [
    "LARGEST_ID",
    "PROJECT_ID",
    "START_TRAINING",
    "ActiveLearningModel",
    "Runtime",
    "project_number",
]

log = logging.getLogger(__name__)

#: Project ids in Label Studio's requests; the first group is the number.
PROJECT_ID = r"([1-9][0-9]{0,8})(\.[0-9]+)?"
LARGEST_ID = 999_999_999
#: Event of a person who asks for a round.
START_TRAINING = "START_TRAINING"
LABEL_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED")

_BASE_TAKES_PROJECT = "project_id" in inspect.signature(LabelStudioMLBase.__init__).parameters


def project_number(project_id: Any) -> int:
    """Read Label Studio's project id, ``"<id>.<created_at>"`` or a plain number.

    Raises
    ------
    BadRequestError
        When it is neither.
    """
    match = re.fullmatch(PROJECT_ID, str(project_id))
    if match is None:
        raise BadRequestError(
            f'project {str(project_id)[:40]!r} is no project id; expected "<id>.<created_at>"'
        )
    return int(match[1])


@dataclass(frozen=True)
class Runtime:
    """What a web process holds: settings, the store with changes and secrets, Label Studio."""

    settings: Settings
    store: Store
    changes: ChangeBuffer
    client: LabelStudioClient
    content: ContentLoader
    secrets: ProjectSecrets

    @classmethod
    def open(cls, settings: Settings) -> Runtime:
        """Open the store and the client."""
        make_model_dir(settings)
        store = Store(settings.store_url)
        client = LabelStudioClient(settings)
        content = ContentLoader(settings, client)
        return cls(settings, store, ChangeBuffer(store), client, content, ProjectSecrets(store))

    def record_event(self, project_id: int, event: str | None) -> None:
        """Record for the worker that something changed; it trains, never the web process."""
        if event == START_TRAINING:  # a person asks for a round now, whatever the counts say
            self.store.mark_changed(project_id, request_round=True)
        else:
            self.changes.add(project_id, is_label=event in LABEL_EVENTS)


@lru_cache(maxsize=1)
def _environment_runtime() -> Runtime:
    """Open the runtime of a process that another server hosts: settings from the environment."""
    return Runtime.open(environment_settings())


class ActiveLearningModel(LabelStudioMLBase):
    """Answers predictions with the newest head, and records changes for the worker.

    Parameters
    ----------
    project_id : str or int, optional
        As Label Studio sends it, ``"<id>.<created_at>"``.
    label_config : str, optional
        The project's labeling config.
    runtime : Runtime, optional
        Opened from the environment's settings when omitted.
    """

    def __init__(
        self,
        project_id: str | int | None = None,
        label_config: str | None = None,
        *,
        runtime: Runtime | None = None,
        **kwargs: Any,
    ) -> None:
        self._given_runtime = runtime
        self._host = ForeignHost() if runtime is None and _BASE_TAKES_PROJECT else OurHost()
        with self._host.refusals():
            named = project_id not in self._host.no_project
            self._number = project_number(project_id) if named else None
            if label_config:
                parse_label_config(label_config)  # refuses it in words, where the base would not
        self._config = label_config
        if _BASE_TAKES_PROJECT:
            super().__init__(project_id=project_id, label_config=label_config)  # calls setup()
        else:
            super().__init__(label_config=label_config, **kwargs)

    @property
    def _runtime(self) -> Runtime:
        return self._given_runtime or _environment_runtime()

    def setup(self) -> None:
        """Set the live answers' version (label-studio-ml 2.x calls it in *every* request)."""
        with self._host.refusals():
            self._host.refuse_foreign(self._runtime.settings)
            if self._host.is_setup():
                self.request_connection(self._host.extra_params())
        version = self.head_version()
        if hasattr(self, "set") and self.get("model_version") != version:
            self.set("model_version", version)  # 2.x commits it to a database

    def head_version(self) -> str:
        """Return the version of live answers, ``head-<round>``, never the queue's version."""
        project = None if self._number is None else self._runtime.store.project(self._number)
        return project.head_version if project else head_name(0)

    def set_extra_params(self, extra_params: Any) -> None:
        """Do nothing: `setup` has read them (label-studio-ml 2.x calls this unless they are empty).

        The worker takes them from Label Studio's own list of models, never from a request.
        """

    def request_connection(self, extra_params: Any) -> None:
        """Ask the worker to connect the project, or to read its own settings again.

        Nothing is believed here: the worker asks Label Studio.

        Raises
        ------
        LabelConfigError, SettingsError, ParameterError
            When the labeling config or one of the settings cannot be used.
        TooManyRequestsError
            When too many projects wait already.
        """
        params = parse_params(extra_params)
        check_params(self._runtime.settings, parse_label_config(self._config or ""), params)
        store = self._runtime.store
        number = self._project_number()
        project = store.project(number)
        if project is not None and project.status == "disconnected":
            if project.reason != BEING_CONNECTED:
                with self._log_context():
                    log.info("is not connected; run `active-learn connect --project %s`", number)
            return
        if project is not None and project.params == params:
            return
        if not request_connection(store, number):
            raise TooManyRequestsError(
                f"project {number} is not connected yet: {MOST_REQUESTS} others wait for that; try "
                f"again in a minute, or run `active-learn connect --project {number}`"
            )

    def predict(
        self,
        tasks: Sequence[Mapping[str, Any]],
        context: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> list[dict[str, Any]]:
        """Return what the newest heads answer for each task, in order.

        The result of a task holds the answers for all controls that are learned; where Label Studio
        asks while somebody annotates, for those that the annotation has not answered yet.

        A task whose content cannot be loaded, and every task before the first head, gets an empty
        result with score 0. What is read of a task is up to the labeling config that the worker
        read from Label Studio, never to that of the request.

        Parameters
        ----------
        context : mapping, optional
            Of interactive preannotations; its `result` is what the annotation holds so far.

        Raises
        ------
        BadRequestError
            When the project is not connected.
        """
        with self._host.refusals():
            project = self._connected_project()
        version = project.head_version if project else head_name(0)
        answers: list[dict[str, Any]] = [
            {"result": [], "score": 0.0, "model_version": version} for _ in tasks
        ]
        if project is None or not (project.head_round or project.model_version) or not tasks:
            return answers
        with self._log_context():
            result = (context or {}).get("result")
            for at, answer in self._head_answers(project, tasks, result).items():
                answers[at] = answer
        return answers

    def load_models(self) -> None:
        """Load what answers for the project, so that the first request need not wait for it."""
        project = self._connected_project()
        if project is not None and (project.head_round or project.model_version):
            self._heads(project).embedder.warm_up()

    def _head_answers(
        self, project: Project, tasks: Sequence[Mapping[str, Any]], annotated: Any
    ) -> dict[int, dict[str, Any]]:
        """Compute the heads' answers by position; none for a task that cannot be loaded."""
        heads = self._heads(project)
        if not heads.heads:
            return {}
        contents = [heads.task.content(task["data"]) for task in tasks]
        embeddings, usable, failed = heads.embedder.embed(
            contents, [heads.task.content_key(content) for content in contents]
        )
        for at, error in failed.items():
            log.warning("task %s has no answer: %s", tasks[at].get("id"), error)
        answers = heads.answers(
            embeddings,
            controls_to_answer(heads.task, annotated),
            contents=[contents[at] for at in usable],
        )
        return {
            at: {
                "result": without_known_regions(heads.task, annotated, answer.result),
                "score": answer.score,
                "model_version": heads.version,
            }
            for at, answer in zip(usable, answers, strict=True)
        }

    def fit(
        self,
        *args: Any,
        event: str | None = None,
        data: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Record that something changed: hosts call this, and the worker trains."""
        if args and isinstance(args[0], str):  # 2.x: fit(event, data)
            event, data = args[0], args[1] if len(args) > 1 else data
        number = self._number
        if number is None and data:
            number = project_number((data.get("project") or {}).get("id"))
        if number is not None:
            self._host.require_secret(self._runtime.settings, self._runtime.secrets, number)
            self._runtime.record_event(number, event)
        return {}

    # -- pieces -------------------------------------------------------------------------------

    def _log_context(self) -> AbstractContextManager[None]:
        return nullcontext() if self._number is None else logs.context(project=self._number)

    def _project_number(self) -> int:
        if self._number is None:
            raise BadRequestError('the request names no project; expected "project"')
        return self._number

    def _connected_project(self) -> Project | None:
        """Return the project; None where the request names none (a test of a host does that)."""
        if self._number is None:
            return None
        project = self._runtime.store.project(self._number)
        if project is None or project.status == "disconnected":
            raise BadRequestError(
                f"project {self._number} is not connected; add this backend as its model in Label "
                f"Studio, or run `active-learn connect --project {self._number}`"
            )
        return project

    def _heads(self, project: Project) -> ControlHeads:
        """Return what answers: the own model, or the trained heads that fit the config."""
        settings = served_settings(self._runtime.settings, project)
        labeling = learned_task(project.label_config, settings)
        load = self._runtime.content.load
        embedder = open_embedder(settings, project.id, labeling, load, deferred=True)
        folder = heads_folder(self._runtime.settings, project.id)
        try:
            heads, misfits = ControlHeads.current(folder, project.head_round, labeling, embedder)
        except StateError as error:
            log.warning("%s", error)
            return ControlHeads(labeling, embedder.fixed_heads, embedder)
        if misfits:
            log.info(
                "head-%d was trained under another labeling config or encoder", project.head_round
            )
        return heads
