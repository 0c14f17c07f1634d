"""A labeling run in a real Label Studio: killed, finished, edited by a person, taken back."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.label_studio import User
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.automatic_labels import AutomaticLabels, Removed
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.connection import recover_projects
from active_learn_backend.labelstudio.poller import poll
from active_learn_backend.settings import load_settings
from active_learn_backend.state.answer_files import Answer
from active_learn_backend.state.labeling_runs import count_automatic, list_runs, unfinished
from active_learn_backend.state.store import Store
from active_learn_backend.state.tasks import read_tasks
from harness import PATIENCE, Harness

POSITIVE = choice("positive", "label", "text")
NEGATIVE = choice("negative", "label", "text")

# Goes on with the unfinished run, and is killed after Label Studio made the second part of the
# annotations.
KILLED = """
import os, signal, sys
from active_learn_backend.labelstudio import automatic_labels, run_actions
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import load_settings
from active_learn_backend.state.labeling_runs import unfinished
from active_learn_backend.state.store import Store

project, settings = int(sys.argv[1]), load_settings()
client, store = LabelStudioClient(settings), Store(settings.store_url)
run_actions.CONVERTED_AT_ONCE = 20
labels = automatic_labels.AutomaticLabels(client, store, settings, project)
labels.write(
    unfinished(store, project),
    lambda done, of: os.kill(os.getpid(), signal.SIGKILL) if done == 40 else None,
)
"""


def test_a_run_is_killed_finished_edited_and_taken_back(
    harness: Harness,
    text_project: Callable[..., tuple[int, list[int]]],
    make_user: Callable[[], User],
    tmp_path: Path,
) -> None:
    project, tasks = text_project(60, BUDGET="4", RESERVE="3")
    by_people = {tasks[at]: "positive" for at in (0, 7, 50)}
    for task in by_people:
        harness.annotate(task, POSITIVE)
    harness.annotate(tasks[8], [], was_cancelled=True)
    settings = load_settings(
        label_studio_url=harness.label_studio.url,
        label_studio_api_key=harness.label_studio.token,
        model_dir=harness.backend.model_dir,
        backend_url=harness.backend.url,
    )
    client, store = LabelStudioClient(settings), harness.store
    labels = AutomaticLabels(client, store, settings, project)

    def annotations() -> list[dict[str, Any]]:
        pages = client.task_pages(project)
        return [one for page in pages for task in page for one in task["annotations"]]

    answers = [Answer(task, {"label": "negative"}, 0.97) for task in tasks]
    run = labels.begin("annotations", answers, accuracy=0.95, confidence=0.95)
    arguments = [sys.executable, "-c", KILLED, str(project)]
    killed = subprocess.run(arguments, env=harness.backend.env, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert unfinished(store, project) == run
    assert len(annotations()) == 40 + 1  # a label lies behind the first forty tasks
    done = labels.write(run)
    assert (done.status, done.written) == ("done", 56)
    assert len(annotations()) == 60

    # The backend sees them as no labels; what a person changes is one.
    harness.wait_labels(project, by_people)
    wait_until(
        lambda: count_automatic(store, project) == {run.run: 56},
        timeout=PATIENCE,
        what="the backend to read all annotations of the run",
    )
    edited = next(one for one in annotations() if one["task"] == tasks[20])
    with harness.label_studio.client(make_user().token) as person:
        answer = person.patch(f"/api/annotations/{edited['id']}/", json={"result": NEGATIVE})
        answer.raise_for_status()
        changed = [{**edited["result"][0], "value": {"choices": ["positive"]}}]
        answer = person.patch(f"/api/annotations/{edited['id']}/", json={"result": changed})
        answer.raise_for_status()
    by_people[tasks[20]] = "positive"
    harness.wait_labels(project, by_people)

    # The state is lost: Label Studio tells which labels are whose.
    rebuilt = Store(f"sqlite:///{tmp_path / 'rebuilt.sqlite3'}")
    assert project in recover_projects(client, rebuilt, settings)
    poll(client, rebuilt, rebuilt.known_project(project))
    rows = {row.task_id: row for row in read_tasks(rebuilt, project)}
    assert {task for task, row in rows.items() if row.labels} == set(by_people)
    assert [rows[tasks[at]].run for at in (0, 20, 21)] == [None, run.run, run.run]
    assert count_automatic(rebuilt, project) == {run.run: 55}
    assert list_runs(rebuilt, project) == []

    unlabel = ("unlabel", "--project", str(project), "--run", str(run.run))
    assert harness.backend.run(*unlabel).endswith(
        f"project {project}: run 1 is taken back: 55 annotations and 56 predictions removed; 1 of "
        "its annotations stay, which people changed or confirmed\n"
    )
    assert sorted(one["task"] for one in annotations()) == sorted([*by_people, tasks[8]])
    assert "label-1" not in client.model_versions(project)
    assert labels.remove(run.run) == Removed(annotations=0, predictions=0, kept=1)
    assert list_runs(store, project)[0].status == "removed"
    poll(client, rebuilt, rebuilt.known_project(project))
    assert count_automatic(rebuilt, project) == {}
    client.close()
