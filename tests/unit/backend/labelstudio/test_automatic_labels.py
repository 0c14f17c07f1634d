"""What labeling runs write: only where nobody labeled, by marks, to the end, and back again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.errors import (
    LabelConfigError,
    LabelStudioError,
    SettingsError,
    StoreError,
)
from active_learn_backend.labelstudio import automatic_labels, run_actions
from active_learn_backend.labelstudio.automatic_labels import AutomaticLabels, Removed
from active_learn_backend.labelstudio.exports import read_export
from active_learn_backend.labelstudio.poller import poll
from active_learn_backend.settings import load_settings
from active_learn_backend.state.answer_files import Answer
from active_learn_backend.state.labeling_runs import (
    LabelingRun,
    count_automatic,
    list_runs,
    unfinished,
)
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.tasks import read_tasks
from fake_label_studio import CONFIG, FakeLabelStudio
from fake_server import Answer as Answered

GRANTED = {"accuracy": 0.95, "confidence": 0.9}


class Project:
    """A project of ten texts in a small Label Studio, and its labeling runs."""

    def __init__(self, folder: Path) -> None:
        self.studio, self.folder = FakeLabelStudio(), folder
        self.id = self.studio.add_project(f"text {n}" for n in range(10))
        self.tasks = sorted(self.studio.tasks)
        self.client = self.studio.client()
        self.store = Store("sqlite://")
        self.store.register(self.id)
        self.settings = load_settings(model_dir=folder)

    @property
    def labels(self) -> AutomaticLabels:
        return AutomaticLabels(self.client, self.store, self.settings, self.id)

    def begin(self, kind: Any = "annotations", first: int = 0, last: int = 10) -> LabelingRun:
        answers = [Answer(task, {"label": "odd"}, 0.97) for task in self.tasks[first:last]]
        return self.labels.begin(kind, answers, **GRANTED)

    def lose_state(self) -> None:
        self.store = Store("sqlite://")
        self.store.register(self.id)

    def rows(self) -> list[TaskRow]:
        poll(self.client, self.store, self.store.known_project(self.id))
        return read_tasks(self.store, self.id)

    def annotations(self, at: int) -> list[dict[str, Any]]:
        return list(self.studio.tasks[self.tasks[at]]["annotations"])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    made = Project(tmp_path)
    yield made
    made.client.close()
    made.studio.close()


def test_only_tasks_without_an_annotation_are_written(project: Project) -> None:
    project.studio.annotate(project.tasks[0], "even")
    run = project.begin()

    def label_meanwhile(_: str, path: str, __: Any) -> None:
        if "dm/actions" in path and len(project.annotations(1)) == 0:
            project.studio.annotate(project.tasks[1], "even")

    project.studio.before = label_meanwhile
    done = project.labels.write(run)
    assert (done.run, done.status, done.granted, done.written) == (1, "done", 10, 8)
    assert [len(project.annotations(at)) for at in range(10)] == [1] * 10
    rows = project.rows()
    assert [row.labels for row in rows] == [{"label": "even"}] * 2 + [None] * 8
    assert [row.automatic for row in rows] == [False] * 2 + [True] * 8
    assert count_automatic(project.store, project.id) == {1: 8}


def test_predictions_have_a_version_of_their_own(project: Project) -> None:
    project.studio.annotate(project.tasks[9], "even")
    done = project.labels.write(project.begin("predictions"))
    assert done.written == 9
    assert project.studio.versions(project.id) == {"label-1": 9}
    assert project.studio.projects[project.id]["model_version"] == ""
    assert not any(row.automatic for row in project.rows())
    assert project.labels.remove(1) == Removed(annotations=0, predictions=9, kept=0)
    assert not project.studio.versions(project.id)


@pytest.mark.parametrize("path", ["import/predictions", "predictions_to_annotations"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_was_broken_off_is_finished(
    project: Project, monkeypatch: pytest.MonkeyPatch, path: str, moment: str
) -> None:
    monkeypatch.setattr(run_actions, "CONVERTED_AT_ONCE", 4)
    monkeypatch.setattr(automatic_labels, "IMPORTED_AT_ONCE", 4)
    run, seen = project.begin(), []
    call = project.client.call

    def die(method: str, asked: str, **kwargs: Any) -> Any:
        """Send a request, but for the second of these: there the process is gone."""
        seen.extend([asked] if path in f"{asked} {kwargs}" else [])
        dies = path in f"{asked} {kwargs}" and len(seen) == 2
        if dies and moment == "before":
            raise KeyboardInterrupt
        answer = call(method, asked, **kwargs)
        if dies:
            raise KeyboardInterrupt
        return answer

    monkeypatch.setattr(project.client, "call", die)
    with pytest.raises(KeyboardInterrupt):
        project.labels.write(run)
    monkeypatch.setattr(project.client, "call", call)
    left = unfinished(project.store, project.id)
    assert left == run
    with pytest.raises(StoreError, match=r"run 1 of .* is not finished; finish it, or take"):
        project.begin()
    assert project.labels.write(left).written == 10
    assert unfinished(project.store, project.id) is None
    assert [len(project.annotations(at)) for at in range(10)] == [1] * 10
    assert project.studio.versions(project.id) == {"label-1": 10}


def test_a_run_is_taken_back_but_for_what_people_did(project: Project) -> None:
    project.labels.write(project.begin())
    changed, confirmed, beside = (project.annotations(at)[0] for at in range(3))
    other = [{**changed["result"][0], "value": {"choices": ["even"]}}]
    project.studio.edit(changed["id"], result=other)
    project.studio.edit(confirmed["id"])
    project.studio.annotate(project.tasks[2], "even")
    project.studio.rows[-1] = {
        **{"id": -1, "project": project.id, "task": project.tasks[3]},
        **{"model_version": "theirs", "score": 0.5, "result": []},
    }
    rows = project.rows()
    assert [row.labels for row in rows[:4]] == [
        {"label": "even"}, {"label": "odd"}, {"label": "even"}, None
    ]  # fmt: skip
    # Those who changed or confirmed an answer saw it; who labeled beside it did not.
    assert [row.run for row in rows] == [1, 1, None, *[1] * 7]
    updated = datetime.fromisoformat(project.annotations(0)[0]["updated_at"]).timestamp()
    assert [row.labeled_at for row in (rows[0], *rows[3:])] == [updated, *[None] * 7]

    assert project.labels.remove(1) == Removed(annotations=8, predictions=10, kept=2)
    assert [len(project.annotations(at)) for at in range(10)] == [1, 1, 1, *[0] * 7]
    assert project.annotations(2)[0]["id"] != beside["id"]
    assert project.studio.versions(project.id) == {"theirs": 1}
    assert [row.automatic for row in project.rows()] == [False] * 10
    assert project.labels.remove(1) == Removed(annotations=0, predictions=0, kept=2)
    (run,) = list_runs(project.store, project.id)
    assert (run.status, run.removed) == ("removed", 10)


def test_an_export_tells_automatic_labels_apart(project: Project) -> None:
    project.labels.write(project.begin(last=5))
    project.studio.edit(project.annotations(0)[0]["id"])
    project.studio.annotate(project.tasks[9], "even")
    export = project.folder / "export.json"
    export.write_text(json.dumps([*project.client.exported_tasks(project.id, project.tasks)]))
    _, rows = read_export(export, CONFIG)
    assert [row.labels for row in rows] == [{"label": "odd"}, *[None] * 4, {"label": "even"}]
    assert [row.automatic for row in rows] == [False, *[True] * 4, False]


def test_what_a_person_changes_while_it_is_taken_back_stays(project: Project) -> None:
    project.labels.write(project.begin())
    annotation = project.annotations(4)[0]

    def edit_meanwhile(_: str, path: str, __: Any) -> None:
        if "delete_tasks_annotations" in path and annotation["updated_by"] is None:
            project.studio.edit(annotation["id"])

    project.studio.before = edit_meanwhile
    assert project.labels.remove(1) == Removed(annotations=9, predictions=10, kept=1)
    assert project.annotations(4) == [annotation]


def test_the_marks_survive_a_lost_state_and_a_deleted_version(project: Project) -> None:
    project.labels.write(project.begin(last=4))
    project.lose_state()
    assert project.begin(first=4).run == 2  # the version is there, and the tasks are not yet known
    project.lose_state()
    project.client.delete_version(project.id, "label-1")
    project.studio.annotate(project.tasks[0], "even")  # beside the run's, which counts no more
    project.rows()
    assert project.begin(first=4).run == 2
    assert count_automatic(project.store, project.id) == {1: 3}
    assert project.labels.remove(1) == Removed(annotations=4, predictions=0, kept=0)


def test_a_busy_label_studio_is_asked_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_actions, "BUSY_PAUSE", 0.01)
    failures = []

    def fail_once(_: str, path: str, __: Any) -> Answered | None:
        if "dm/actions" in path and path not in failures:
            failures.append(path)
            return 500, {}, b'{"detail": "database is locked"}'
        return None

    project.studio.before = fail_once
    assert project.labels.write(project.begin()).written == 10
    assert project.labels.remove(1) == Removed(annotations=10, predictions=10, kept=0)
    assert len(failures) == 3


def test_what_label_studio_did_not_count_is_done_again(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would serve annotated tasks, and never those whose annotations are gone."""
    monkeypatch.setattr(run_actions, "CONVERTED_AT_ONCE", 4)
    monkeypatch.setattr(run_actions, "DELETED_AT_ONCE", 4)
    project.studio.annotate(project.tasks[9], "even")
    run = project.begin()
    project.studio.busy = 4
    assert project.labels.write(run).written == 9
    assert [task["total_annotations"] for task in project.studio.tasks.values()] == [1] * 10
    assert [len(project.annotations(at)) for at in range(10)] == [1] * 10
    project.studio.busy = 2
    removed = project.labels.remove(1)
    assert [task["total_annotations"] for task in project.studio.tasks.values()] == [0] * 9 + [1]
    assert [len(project.annotations(at)) for at in range(10)] == [0] * 9 + [1]
    assert removed.predictions == 9

    left = project.begin()
    project.studio.busy = 1000
    with pytest.raises(LabelStudioError, match="counts 9 tasks of run 2 as open that are"):
        project.labels.write(left)
    assert unfinished(project.store, project.id) == left


def test_wrong_counters_of_label_studio_leave_nothing_behind(project: Project) -> None:
    project.labels.write(project.begin())
    project.studio.edit(project.annotations(0)[0]["id"])
    project.studio.before = lambda _, path, __: (
        (200, {}, b'{"processed_items": 0}') if "delete_tasks_annotations" in path else None
    )
    assert project.labels.remove(1) == Removed(annotations=9, predictions=10, kept=1)
    assert [len(project.annotations(at)) for at in range(10)] == [1, *[0] * 9]


def test_runs_are_told_apart(project: Project) -> None:
    project.labels.write(project.begin(last=2))
    for _ in range(9):
        project.labels.remove(project.begin(last=2).run)
    project.labels.write(project.begin(first=2, last=5))
    project.rows()
    assert count_automatic(project.store, project.id) == {1: 2, 11: 3}
    assert project.labels.remove(1).annotations == 2
    project.rows()
    assert count_automatic(project.store, project.id) == {11: 3}


def test_what_label_studio_would_not_take_is_refused_before_anything_is_written(
    project: Project,
) -> None:
    for labels in ({"label": "green"}, {"colour": "odd"}):
        with pytest.raises(LabelConfigError, match="would not store"):
            project.labels.begin("annotations", [Answer(1, labels, 0.9)], **GRANTED)
    project.studio.projects[project.id]["maximum_annotations"] = 2
    with pytest.raises(SettingsError, match="asks for 2 annotations of each task"):
        project.begin()
    assert project.begin("predictions").run == 1


def test_damaged_answers_are_named(project: Project) -> None:
    run = project.begin()
    path = next(project.folder.rglob("run-1.jsonl"))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(StoreError, match=r"9 answers, not 10.*active-learn unlabel .* --run 1"):
        project.labels.write(run)


def test_only_one_process_writes_at_a_time(project: Project) -> None:
    run = project.begin()
    refused = []

    def another(_: str, path: str, __: Any) -> None:
        if "import/predictions" in path:
            with pytest.raises(StoreError, match="is at work on project"):
                project.labels.remove(run.run)
            refused.append(path)

    project.studio.before = another
    assert project.labels.write(run).written == 10
    assert refused
