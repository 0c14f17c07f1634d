"""All checks, within a time limit, and the repair of what is safe to repair."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial

from active_learn.errors import ActiveLearnError

from ..errors import StoreError
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.connection import Connection
from ..labelstudio.published_queue import Queue
from ..logs import context
from ..settings import Settings
from ..state.lease import Lease, owner_name
from ..state.store import Project, Store
from .environment import (
    check_disk,
    check_engine,
    check_safety,
    check_training,
    check_worker,
    has_state,
)
from .finding import Finding, not_checked, warning, wrong
from .project import examine_project
from .registration import check_orphans, orphans
from .servers import check_backend, check_label_studio

__all__ = ["examine", "repair"]

Check = Callable[[], Iterable[Finding]]

SHORT_TURN = 5.0  # seconds that a worker's turn takes without a round
SIDE_BY_SIDE = 4  # projects that Label Studio is asked about at once
TOO_LONG = "there was no time for it; allow more by --seconds"
MOST_PROJECTS = 20  # looked at when none is named


def examine(settings: Settings, project_id: int | None, deadline: float) -> list[Finding]:
    """Check everything, or one project only, and return the findings.

    Nothing is changed, except that Label Studio stores our answers to its own check.

    Parameters
    ----------
    project_id : int or None
        None: all projects that are connected.
    deadline : float
        Of the monotonic clock: what is not done then is reported as not checked.
    """
    client = LabelStudioClient(settings)
    store, found = _open_store(settings)
    projects = [] if store is None else store.projects()
    connected = {one.id: one for one in projects if one.status != "disconnected"}
    numbers = sorted(connected) if project_id is None else [project_id]
    if not numbers:
        found.append(
            warning("no project is connected", "run: active-learn connect --project <number>")
        )
    if len(numbers) > MOST_PROJECTS:
        left = f"{len(numbers) - MOST_PROJECTS} of {len(numbers)} projects"
        found.append(not_checked(left, "name one by --project"))
    numbers = numbers[:MOST_PROJECTS]

    gate = _Gate()
    checks: dict[str, Check] = {
        "Label Studio": partial(gate.open, partial(check_label_studio, settings, client)),
        "the packages": partial(check_safety, settings),
        "the disk": partial(check_disk, settings.model_dir),
        "the engine": partial(check_engine, settings),
        "the training": partial(check_training, settings),
    }
    if store is not None and connected:
        checks["the worker"] = partial(check_worker, store)
    if any(project.mode == "push" for project in connected.values()):
        checks["the backend"] = partial(check_backend, settings)
    for number in numbers:
        check = partial(_about, number, partial(examine_project, client, store, settings, number))
        checks[f"project {number}"] = partial(gate.passed, check)
    examined = [connected[number] for number in numbers if number in connected]
    checks["what projects load"] = partial(_models, client, settings, examined)
    orphaned = partial(check_orphans, client, settings, connected)
    checks["left-over webhooks"] = partial(gate.passed, orphaned)
    return found + _in_time(checks, deadline)


class _Gate:
    """Makes the checks of projects wait until Label Studio is known to answer."""

    def __init__(self) -> None:
        self._known = threading.Event()
        self._answers = False
        self._turns = threading.BoundedSemaphore(SIDE_BY_SIDE)

    def open(self, check: Callable[[], tuple[bool, list[Finding]]]) -> list[Finding]:
        """Run the check of Label Studio, and let the others start or skip them."""
        try:
            self._answers, findings = check()
        finally:
            self._known.set()
        if not self._answers:
            findings.append(not_checked("the projects", "Label Studio could not be asked"))
        return findings

    def passed(self, check: Check) -> list[Finding]:
        """Run a check in its turn."""
        self._known.wait()
        if not self._answers:
            return []
        with self._turns:
            return list(check())


def _about(project_id: int, check: Check) -> list[Finding]:
    """Run a check of one project, whose number every line that it logs bears."""
    with context(project=project_id):
        return list(check())


def _models(
    client: LabelStudioClient, settings: Settings, projects: Iterable[Project]
) -> Iterator[Finding]:
    for project in projects:
        from .models import check_model  # imports scikit-learn: the other checks go ahead

        with context(project=project.id):
            yield from check_model(client, settings, project)


def repair(settings: Settings, findings: Iterable[Finding], project_id: int | None) -> list[str]:
    """Repair what is safe to repair: our rows and webhooks, the sampling, the version served.

    Returns
    -------
    list of str
        What was done, in words; also what could not be.
    """
    repairable = [finding for finding in findings if finding.repairable]
    store, _ = _open_store(settings)
    if store is None or not repairable:
        return []
    client = LabelStudioClient(settings)
    projects = [one for one in store.projects() if one.status != "disconnected"]
    done = []
    for project in projects:
        # Who paused a project by command wants it as it is.
        if project.status == "paused" or project.id not in {one.project for one in repairable}:
            continue
        try:
            with context(project=project.id):
                steps = _repair(client, store, settings, project)
        except ActiveLearnError as error:
            steps = [f"not repaired: {error}"]
        done += [f"project {project.id}: {step}" for step in steps]
    connected = {project.id for project in projects}
    for webhook in orphans(client, settings, connected):
        if project_id in (None, webhook["project"]):
            client.call("DELETE", f"/api/webhooks/{webhook['id']}/")
            done.append(f"project {webhook['project']}: orphan webhook {webhook['id']} removed")
    return done


def _repair(
    client: LabelStudioClient, store: Store, settings: Settings, project: Project
) -> list[str]:
    """Connect again, which repairs what is half made, and serve the published queue again."""
    done = Connection(client, store, settings, project.id).connect(pull=project.mode == "pull")
    lease = Lease(store, project.id, owner_name())
    deadline = time.monotonic() + SHORT_TURN
    while not lease.acquire():  # `connect` has woken the worker up
        if time.monotonic() > deadline:
            return [*done, "a worker is at work on it, and sees to its queue itself"]
        time.sleep(0.1)
    with lease.renewed():
        version = store.known_project(project.id).queue_version
        if not version:
            return done
        if not client.model_versions(project.id).get(version):
            store.update(project.id, queue_version="", request_round=True)
            return [*done, f"the predictions of {version} are gone: a new round is asked for"]
        Queue(client, project.id).flip(version)
        return [*done, f"{version} is served"]


def _open_store(settings: Settings) -> tuple[Store | None, list[Finding]]:
    if not has_state(settings):
        return None, [
            warning(
                f"there is no project state in MODEL_DIR {settings.model_dir}",
                "run this command with the backend's own MODEL_DIR or DATABASE_URL, or connect a "
                "first project",
            )
        ]
    try:
        return Store(settings.store_url), []
    except StoreError as error:
        return None, [wrong(str(error), "`active-learn serve` puts a damaged one aside")]


def _in_time(checks: Mapping[str, Check], deadline: float) -> list[Finding]:
    """Run checks side by side; report those that are not done in time as not checked."""
    results: dict[str, list[Finding]] = {}
    faults: dict[str, BaseException] = {}

    def run(name: str, check: Check) -> None:
        try:
            results[name] = list(check())
        except ActiveLearnError as error:
            results[name] = [not_checked(name, error)]
        except Exception as error:  # raised where it can be seen
            faults[name] = error

    # Daemons: one that waits for an answer must not keep the command from ending.
    threads = [
        threading.Thread(target=run, args=(name, check), name=name, daemon=True)
        for name, check in checks.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for fault in list(faults.values()):
        raise fault
    return [
        finding for name in checks for finding in results.get(name, [not_checked(name, TOO_LONG)])
    ]
