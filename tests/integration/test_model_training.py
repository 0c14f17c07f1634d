"""A training of an own model runs, fails in words, and its result serves."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from active_learn.heads import head_name
from active_learn_backend.cli import main
from active_learn_backend.demo.process import wait_until
from active_learn_backend.doctor.models import check_versions
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.quality.head_versions import roll_back
from active_learn_backend.learning.training import run
from active_learn_backend.learning.training.data import labeled_tasks, trained_control
from active_learn_backend.project_settings import project_settings
from active_learn_backend.state.folders import training_folder
from active_learn_backend.state.training_status import (
    read_output,
    record_training,
)
from active_learn_backend.worker.model_update import ModelUpdates, candidate_of
from active_learn_backend.worker.training import train, training_is_due
from active_learn_backend.worker.work import alone
from click.testing import CliRunner
from fake_label_studio import CONFIG
from fake_server import KEY
from labeled_project import Labeled, label, write
from tiny_models import save_pattern_model
from worker_backend import PATIENCE, Backend

EVEN = r"number \d*[02468] of \d+"


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Models of which one knows all labels, one half of them, and one none."""
    return {
        name: save_pattern_model(tmp_path / "made" / name / "m.onnx", pattern, ("even", "odd"))
        for name, pattern in (
            ("good", EVEN), ("half", ".*"), ("bad", EVEN.replace("02468", "13579")),
        )
    }  # fmt: skip


# -- training by a command --------------------------------------------------------------------


def test_a_command_trains_a_model_that_serves_from_the_next_round(
    backend: Backend, models: dict[str, Path]
) -> None:
    command = f"echo progress: 0.5; echo trained; {write(models['good'])}"
    labeled = Labeled(backend, train_command=command)
    queue = labeled.state.queue_version
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
    (version,) = labeled.versions
    assert (version.origin, version.reason, version.quality) == ("training", "", 1.0)
    assert version.audit >= 10
    assert labeled.state.model_version == version.name
    assert labeled.state.queue_version != queue
    assert labeled.answers() == ["even", "odd"]
    shown = labeled.page()
    assert shown["training"]["output"] == "trained"
    assert shown["training"]["status"]["progress"] == 0.5
    assert shown["served"] == 1
    # The state was lost: what served last serves again.
    backend.store.update(labeled.project, served_model=0, next_model=0, model_version="")
    restore = ModelUpdates(labeled.work()).due(labeled.state)
    assert restore is not None
    restore(labeled.state)
    labeled.turn()
    assert labeled.state.model_version == version.name


FAILURES = {
    "exit 3": "it failed with exit status 3",
    "no-such-program": "it cannot be started",
    "kill -9 $$": "it was killed by SIGKILL; perhaps the memory did not suffice",
    "sleep 600": r"it took longer than TRAIN_TIMEOUT \(1 s\) and was ended",
    "true": "expected one model, a Hugging Face folder or a file .* found nothing",
    "cp $GOOD $TRAIN_OUTPUT": "there has to be 'm.onnx.json'",
    "cp $GOOD.json $TRAIN_OUTPUT; echo rubbish > $TRAIN_OUTPUT/m.onnx": "is no ONNX model that can",
    "cp $OTHER $OTHER.json $TRAIN_OUTPUT": "classes without a label: 'cat', 'dog'",
}


def test_a_training_that_fails_says_why_and_changes_nothing(
    backend: Backend, models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOOD", str(models["good"]))
    other = save_pattern_model(tmp_path / "made" / "other.onnx", EVEN, ("cat", "dog"))
    monkeypatch.setenv("OTHER", str(other))
    labeled = Labeled(backend)
    before = labeled.state
    for command, reason in FAILURES.items():
        status = labeled.train(command, train_timeout=1.0)
        assert status.state == "failed"
        assert re.search(reason, status.reason), (command, status.reason)
        assert labeled.page()["training"]["status"]["reason"] == status.reason
    assert labeled.versions == []
    assert labeled.state == before
    left = {one.name for one in training_folder(labeled.settings, labeled.project).iterdir()}
    assert "model" not in left


def test_the_folders_of_a_training_are_found_from_everywhere(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labeled = Labeled(backend)
    monkeypatch.chdir(tmp_path.parent)
    folders = "test -d $TRAIN_DATA/files && test -d $TRAIN_OUTPUT && test -d $TRAIN_CHECKPOINT"
    status = labeled.train(
        f'cd / && {folders} && test "$TRAIN_FROM$TRAIN_PROJECT" = {labeled.project} && exit 9',
        model_dir=Path(tmp_path.name),
    )
    assert status.reason == "it failed with exit status 9; its last lines say why"


def test_without_room_on_the_disk_nothing_is_trained(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "DISK_LOW", 1 << 60)
    status = Labeled(backend).train("echo this must not run")
    assert status.state == "failed"
    assert status.reason.startswith("the disk of MODEL_DIR has less than")


def test_a_model_that_is_worse_is_a_candidate_with_the_reason(
    backend: Backend, models: dict[str, Path]
) -> None:
    labeled = Labeled(backend)
    status = labeled.train(write(models["bad"]))
    (version,) = labeled.versions
    assert version.quality == 0.0
    assert status.reason == version.reason
    assert re.match(r"it is worse than what serves: accuracy 0.000 instead of", version.reason)
    assert version.compared_with == labeled.state.head_version
    assert ModelUpdates(labeled.work()).due(labeled.state) is None
    findings = [str(one) for one in check_versions(labeled.settings, labeled.state)]
    assert "made version 1 of its model: it is worse" in findings[0]
    assert "accuracy 0.000 <small>of 20</small>" in labeled.html()
    assert "may be chance" not in labeled.html() + version.reason
    # A person may take it all the same, and go back to the head.
    roll_back(labeled.settings, backend.store, labeled.project, version.name)
    labeled.turn()
    assert labeled.state.model_version == version.name
    assert labeled.answers() == ["odd", "even"]
    head = head_name(labeled.state.head_round)
    roll_back(labeled.settings, backend.store, labeled.project, head)
    labeled.turn()
    assert (labeled.state.served_model, labeled.state.model_version) == (0, "")
    assert ModelUpdates(labeled.work()).due(labeled.state) is None
    roll_back(labeled.settings, backend.store, labeled.project, "latest")
    assert ModelUpdates(labeled.work()).due(labeled.state) is not None


def test_whether_a_worse_model_may_be_so_by_chance_is_in_the_reason(
    backend: Backend, models: dict[str, Path], tmp_path: Path
) -> None:
    """Models that answer wrong on a few audit tasks, beside one that knows all labels."""
    labeled = Labeled(backend, model=str(models["good"]))
    candidate = candidate_of(labeled.work(), labeled.state)
    control = trained_control(candidate.task)
    audited = labeled_tasks(backend.store, labeled.state, candidate.settings, control)
    rows = [audited.rows[at] for at in audited.measuring]
    texts = [labeled.studio.tasks[row.task_id]["data"]["text"] for row in rows]
    odd = [text for text in texts if int(text.split()[1]) % 2]
    for wrong, chance in ((2, ", which may be chance (p = 0.25)"), (5, "")):
        pattern = "|".join([EVEN, *odd[:wrong]])
        path = save_pattern_model(tmp_path / f"{wrong}" / "m.onnx", pattern, ("even", "odd"))
        reason = labeled.train(write(path)).reason
        assert reason == (
            f"it is worse than what serves: accuracy {1 - wrong / 20:.3f} instead of 1.000 on 20 "
            f"audit labels{chance}"
        )
        assert reason in labeled.html()
        assert labeled.versions[0].compared_with == labeled.state.model_version


def test_a_model_waits_for_audit_labels_to_be_compared_on(
    backend: Backend, models: dict[str, Path]
) -> None:
    labeled = Labeled(backend, 12)
    status = labeled.train(write(models["good"]))
    assert status.reason == ("it waits for audit labels to be compared on: there are 6 of 10")
    updates = ModelUpdates(labeled.work())
    assert updates.due(labeled.state) is None
    label(labeled.studio, labeled.project, 12)
    labeled.turn()
    compare = updates.due(labeled.state)
    assert compare is not None
    compare(labeled.state)
    (version,) = labeled.versions
    assert (version.undecided, version.reason, version.audit) == (False, "", 12)


def test_beside_regions_a_model_of_the_other_control_is_trained(
    backend: Backend, models: dict[str, Path]
) -> None:
    spans = '<Labels name="span" toName="text"><Label value="a number"/></Labels></View>'
    labeled = Labeled(backend, config=CONFIG.replace("</View>", spans))
    status = labeled.train(write(models["good"]))
    assert (status.state, status.reason) == ("done", "")
    ready = ModelUpdates(labeled.work()).due(labeled.state)
    assert ready is not None
    ready(labeled.state)
    labeled.turn()
    assert labeled.state.last_error == ""
    assert labeled.state.model_version.startswith(labeled.versions[0].name)
    assert labeled.answers() == ["even", "odd"]


def test_a_training_whose_worker_ends_is_taken_up_with_its_checkpoint(
    backend: Backend, models: dict[str, Path]
) -> None:
    """The second run gets the same data, also when there are new labels."""
    begun = "$TRAIN_CHECKPOINT/begun"
    data = "md5sum < $TRAIN_DATA/tasks.jsonl"
    command = (
        f"if test -e {begun}; then {data} | cmp - {begun} && {write(models['good'])};"
        f" else {data} > {begun}; echo half; sleep 600; fi"
    )
    labeled = Labeled(backend, train_command=command)
    with backend.worker(**labeled.values) as worker:
        wait_until(
            lambda: read_output(labeled.settings, labeled.project) == "half\n",
            timeout=PATIENCE,
            what="half of the training",
        )
        worker.stopping.set()
        labeled.wait_state("interrupted")
    # As after a worker that was killed, which records nothing.
    record_training(labeled.settings, labeled.project, replace(labeled.status, state="running"))
    label(labeled.studio, labeled.project, 5)
    labeled.turn()
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
    assert (labeled.status.state, labeled.status.tries) == ("done", 2)


def test_a_person_trains_by_a_command_and_sees_what_came_of_it(
    backend: Backend, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeled = Labeled(backend)
    environment = {
        "LABEL_STUDIO_URL": labeled.studio.url, "LABEL_STUDIO_API_KEY": KEY,
        "MODEL_DIR": str(backend.folder), "DEVICE": "cpu",
    }  # fmt: skip

    def run(*options: str) -> tuple[int, str]:
        command = ["train", "--project", str(labeled.project), *options]
        done = CliRunner().invoke(main, command, env=environment)
        return done.exit_code, done.output

    assert "set TRAIN_COMMAND, or TRAIN to lora or full" in run()[1]
    status, said = run("--train-command", "echo no data; exit 1")
    assert status == 1
    assert re.search("no data\n.*gave no model: it failed with exit status 1", said, re.DOTALL)
    status, said = run("--train-command", f"echo done; {write(models['good'])}")
    assert status == 0, said
    assert "done\nproject 1: version 1 of its model is trained; the worker lets the next" in said
    with alone(labeled.settings, labeled.project, "training"):
        assert "the worker trains the model of project 1 now" in run("--train-command", "true")[1]


def test_a_training_is_due_every_so_many_labels(backend: Backend, models: dict[str, Path]) -> None:
    labeled = Labeled(backend)
    settings = labeled.settings.model_copy(update={"train_command": "exit 1", "train_every": 12})
    work = replace(labeled.work(), settings=settings)
    assert training_is_due(work, labeled.state)
    assert not training_is_due(labeled.work(), labeled.state)  # there is no command
    unaudited = settings.model_copy(update={"audit": 0.0})
    assert "AUDIT is 0, so a model" in str(next(check_versions(unaudited, labeled.state)))
    train(work, labeled.state)
    assert not training_is_due(work, labeled.state)
    label(labeled.studio, labeled.project, 30)
    labeled.turn()
    assert training_is_due(work, labeled.state)
    for name in ("train_command", "TRAIN_EVERY"):
        with pytest.raises(SettingsError, match="which no project can set"):
            project_settings(settings, {name: "5"})
