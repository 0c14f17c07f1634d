"""Checks of one project, both ways: what Label Studio holds of us, and what we hold of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import LabelConfigError, LabelStudioError, SettingsError
from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.published_queue import UNCERTAINTY_SAMPLING, round_of
from ..project_settings import project_settings
from ..settings import Settings
from ..state.rounds import last_round
from ..state.status_queries import count_tasks, unmatched_tasks
from ..state.store import Project, Store
from ..state.task_groups import describe_groups
from ..state.unreadable import describe_unreadable, unreadable_tasks
from .contents import RETRIED
from .finding import Finding, ok, warning, wrong
from .labeling_runs import check_labeling_runs
from .open_tasks import check_locks
from .recounts import check_recounts
from .registration import check_registration

__all__ = ["examine_project"]

PATIENCE_WORDS = "the worker sets it back within POLL_INTERVAL seconds, if it runs"


def examine_project(
    client: LabelStudioClient, store: Store | None, settings: Settings, project_id: int
) -> Iterator[Finding]:
    """Check one project.

    Parameters
    ----------
    store : Store or None
        None when there is no project state yet.
    """
    for finding in _examine(client, store, settings, project_id):
        yield replace(finding, project=project_id)


def _examine(
    client: LabelStudioClient, store: Store | None, settings: Settings, project_id: int
) -> Iterator[Finding]:
    try:
        remote = client.project(project_id)
    except LabelStudioError as error:
        if error.status not in (403, 404):
            raise
        yield wrong(str(error), "")
        return
    project = None if store is None else store.project(project_id)
    yield _config(remote, settings, {} if project is None else project.params)
    if store is None or project is None or project.status == "disconnected":
        yield warning(
            "it is not connected, so its stream is not ordered",
            f"run: active-learn connect --project {project_id}",
        )
        return
    if project.last_error:
        yield warning(f"the last turn ended with an error: {project.last_error}", "see the log")
    if project.mode == "pull":
        yield ok("connected by polling only; Label Studio has nothing of ours to call")
    else:
        yield from check_registration(client, settings, project)
    yield from _stream(client, store, project, remote)
    yield from _contents(store, project)
    yield from _unmatched(store, project)
    yield from check_labeling_runs(store, project)
    yield from check_locks(client, store, project)
    yield from check_recounts(client, remote)


def _config(remote: Mapping[str, Any], settings: Settings, params: Mapping[str, Any]) -> Finding:
    try:
        task = parse_label_config(remote["label_config"] or "")
        with suppress(SettingsError):  # said where its settings are checked
            task = task.only(project_settings(settings, params).controls)
    except LabelConfigError as error:
        return wrong(str(error), "change the labeling config under Settings, Labeling Interface")
    return ok(f"its tasks are {task.description}")


def _stream(
    client: LabelStudioClient, store: Store, project: Project, remote: Mapping[str, Any]
) -> Iterator[Finding]:
    if project.status == "paused":
        yield ok(f"paused {project.reason}; `active-learn resume` goes on")
        return
    if remote["sampling"] != UNCERTAINTY_SAMPLING:
        yield wrong(
            f"its task sampling is {remote['sampling']!r}, so our order is not followed",
            f"if nobody wants that, run: active-learn resume --project {project.id}",
            repairable=True,
        )
    else:
        yield ok("its task sampling follows our order")
    yield from _version(client, store, project, remote)
    if not remote.get("show_collab_predictions", True):
        yield warning(
            "pre-labels are switched off: annotators see none, and each save of that settings "
            "page resets model_version",
            "switch them on under Settings, Annotation; PRELABEL=none orders without showing any",
        )


def _version(
    client: LabelStudioClient, store: Store, project: Project, remote: Mapping[str, Any]
) -> Iterator[Finding]:
    """Compare the version served with the one published; a flip may happen between two looks."""
    served, published = str(remote["model_version"] or ""), project.queue_version
    if served != published:
        remote = client.project(project.id)
        served = str(remote["model_version"] or "")
        published = store.known_project(project.id).queue_version
    if not published:
        yield ok(f"no queue is published: {_why_no_queue(store, project)}")
        return
    newer = (round_of(served) or 0) > (round_of(published) or 0)
    if served != published and not newer:
        yield wrong(
            f"its model_version is {served!r} instead of {published!r}, so the stream is random",
            PATIENCE_WORDS,
            repairable=True,
        )
        return
    if not client.model_versions(project.id).get(served):
        yield wrong(
            f"the predictions of {served} are gone, so the stream is random",
            f"run: active-learn resume --project {project.id}, which begins a new round",
            repairable=True,
        )
        return
    yield ok(f"its queue {served} is served")


def _why_no_queue(store: Store, project: Project) -> str:
    if last_round(store, project.id) is None:
        return "the first round is not done"
    if unreadable_tasks(store, project.id):
        return "no task that can be read is left to label"
    return "all is labeled" if count_tasks(store, project.id).total else "there are no tasks yet"


def _contents(store: Store, project: Project) -> Iterator[Finding]:
    """Report the tasks that the worker could not read."""
    found, total = unreadable_tasks(store, project.id), count_tasks(store, project.id).total
    if not found:
        return
    report = wrong if sum(one.n for one in found) == total else warning
    yield report(describe_unreadable(found, total), RETRIED)


def _unmatched(store: Store, project: Project) -> Iterator[Finding]:
    """Report annotations that answer nothing that is learned."""
    found, total = unmatched_tasks(store, project.id), count_tasks(store, project.id).total
    if found:
        yield warning(
            describe_groups(found, total, "are annotated without a label"),
            "if that is a mistake, let the labeling config name the control and its choices as the "
            "annotations do",
        )
