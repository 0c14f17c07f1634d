"""A model whose file or factory changed is a new version from the next round."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.doctor.models import check_versions
from active_learn_backend.learning.quality.head_versions import roll_back
from active_learn_backend.state.model_versions import version_path
from active_learn_backend.worker.model_update import ModelUpdates
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


# -- a new file of MODEL ------------------------------------------------------------------------


def replace_model(target: Path, model: Path) -> None:
    for suffix in (".json", ""):
        shutil.copy(f"{model}{suffix}", f"{target}{suffix}")


def test_a_new_file_is_the_version_of_the_next_round_and_a_broken_one_is_not(
    backend: Backend, models: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "models" / "team.onnx"
    path.parent.mkdir()
    replace_model(path, models["half"])
    labeled = Labeled(backend, model=str(path))
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
        assert labeled.state.queue_version == "al-2"  # it served already: no round is lost
        replace_model(path, models["good"])
        labeled.wait_served(number=2)
        assert labeled.state.queue_version == "al-3"
        assert labeled.answers() == ["even", "odd"]
        path.write_bytes(b"half of a file")
        wait_until(lambda: labeled.page()["refused"], timeout=PATIENCE, what="the refusal")
    good, half = labeled.versions
    assert labeled.state.model_version == good.name != half.name
    # Another worker and another web process know the former one too.
    label(labeled.studio, labeled.project, 30)
    labeled.turn()
    assert labeled.state.last_error == ""
    assert labeled.state.queue_version == "al-4"
    assert labeled.answers() == ["even", "odd"]
    findings = [str(one) for one in check_versions(labeled.settings, labeled.state)]
    assert f"MODEL names now is not used, {good.name} serves on: " in findings[0]
    roll_back(labeled.settings, backend.store, labeled.project, half.name)
    labeled.turn()
    assert labeled.state.model_version == half.name
    assert labeled.answers() == ["even", "even"]


def test_a_version_that_fails_in_the_round_leaves_the_former_one(
    backend: Backend, models: dict[str, Path], tmp_path: Path
) -> None:
    labeled = Labeled(backend)
    labeled.train(write(models["good"]))
    (version,) = labeled.versions
    ready = ModelUpdates(labeled.work()).due(labeled.state)
    assert ready is not None
    ready(labeled.state)
    version_path(labeled.settings, labeled.project, version).write_bytes(b"")
    labeled.turn()
    assert (labeled.state.next_model, labeled.state.model_version) == (0, "")
    assert labeled.versions[0].reason.startswith("it fails: ")


def test_a_file_that_cannot_be_copied_is_tried_again(
    backend: Backend, models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    labeled = Labeled(backend, 12, model=str(models["half"]))
    updates = ModelUpdates(labeled.work())

    def examine() -> None:
        updates.due(labeled.state)  # the first look only remembers the files
        due = updates.due(labeled.state)
        assert due is not None
        due(labeled.state)

    with monkeypatch.context() as full:
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        full.setattr(shutil, "copyfile", Mock(side_effect=error))
        with pytest.raises(OSError, match="No space left"):
            examine()
    assert labeled.page()["refused"] == "it cannot be copied: No space left on device"
    assert labeled.answers() == ["even", "even"]
    examine()
    assert labeled.page()["refused"] == ""
    assert labeled.state.served_model == 1


def test_another_model_than_before_has_its_queue_without_a_label(
    backend: Backend, models: dict[str, Path]
) -> None:
    """The first queue after `connect` is the former one's: nobody waits for the embedding."""
    labeled = Labeled(backend, 12, model=str(models["half"]))
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
    backend.store.update(labeled.project, queue_version="", request_round=True)
    labeled.values["model"] = str(models["good"])
    served: list[str] = []
    labeled.studio.after = lambda method, path, body: (
        served.append(labeled.state.model_version) if "model_version" in (body or {}) else None
    )
    with backend.worker(**labeled.values):
        labeled.wait_served(number=2)
    good, half = labeled.versions
    assert served == [half.name, good.name]
    assert labeled.answers() == ["even", "odd"]


def test_a_state_that_is_lost_brings_back_no_model_that_is_named_no_more(
    backend: Backend, models: dict[str, Path]
) -> None:
    labeled = Labeled(backend, 12, model=str(models["half"]))
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
    backend.store.update(labeled.project, served_model=0, next_model=0, request_round=True)
    labeled.values["model"] = str(models["good"])
    labeled.settings = backend.settings(**labeled.values)
    labeled.turn()
    good = labeled.state.model_version
    updates = ModelUpdates(labeled.work())
    for _ in range(4):
        if (step := updates.due(labeled.state)) is not None:
            step(labeled.state)
            labeled.turn()
    assert (labeled.state.served_model, labeled.state.model_version) == (2, good)
    assert labeled.state.queue_version == "al-3"


FACTORY = """
import json
from pathlib import Path

import torch

CONTENT = Path(__file__).with_name("weights.json")


def make(labels):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, len(labels)))
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor(json.loads(CONTENT.read_text())))
        model[1].bias.zero_()
    return model, prepare


def prepare(contents):
    digits = [content["text"].partition(" of ")[0].strip("number ") for content in contents]
    return torch.eye(2)[[int(one) % 2 if one.isdigit() else 0 for one in digits]]


make.version = lambda: CONTENT.stat().st_mtime_ns
"""


def test_a_factory_whose_version_changes_is_called_again(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it can be copied, so a former model serves as long as the processes run."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "team_factory.py").write_text(FACTORY)
    weights = tmp_path / "weights.json"
    weights.write_text("[[2.0, 2.0], [1.0, 1.0]]")
    labeled = Labeled(backend, model="team_factory:make")
    with backend.worker(**labeled.values):
        labeled.wait_served(number=1)
        assert labeled.answers() == ["even", "even"]
        weights.write_text("[[2.0, 1.0], [1.0, 2.0]]")
        labeled.wait_served(number=2)
        assert labeled.answers() == ["even", "odd"]
        weights.write_text("{}")
        wait_until(lambda: labeled.page()["refused"], timeout=PATIENCE, what="the refusal")
    assert "MODEL 'team_factory:make' fails: " in labeled.page()["refused"]
    assert labeled.answers() == ["even", "odd"]
