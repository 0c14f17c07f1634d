"""Two backends with states of their own at one project: the last one connected orders it."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from active_learn_backend.state.schedule import resume
from active_learn_backend.state.store import Store
from active_learn_backend.web.status.project import project_status
from active_learn_backend.worker.turn import Pace
from image_project import Project

pytestmark = pytest.mark.usefixtures("clean_environment")


def beside(first: Project, folder: Path) -> Project:
    """Return another backend at the same project of the same Label Studio."""
    other = copy.copy(first)
    other.settings = first.settings.model_copy(update={"model_dir": folder})
    folder.mkdir()
    other.store, other.pace = Store(other.settings.store_url), Pace()
    other.store.register(other.id)
    other.store.update(other.id, mode="pull")
    return other


def test_of_two_backends_the_former_pauses_and_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Project(tmp_path, [f"/data/upload/1/{n}" for n in range(12)])
    first.turn()
    second = beside(first, tmp_path / "other")
    second.turn()
    served = first.studio.projects[first.id]
    assert served["model_version"] == "al-2"
    first.turn()
    assert served["model_version"] == "al-2"
    said = "because another backend serves its queue al-2 in this project"
    summary = project_status(first.settings, first.store, first.store.known_project(1)).summary
    assert (summary.state, summary.resumable) == ("Paused", True)
    assert said in summary.sentence
    assert f"paused {said}" in caplog.text
    assert said in "\n".join(first.doctor())
    # Whoever is resumed orders the project, and the other one pauses.
    assert resume(first.store, first.id)
    first.turn()
    assert served["model_version"] == "al-3"
    second.turn()
    assert second.store.known_project(second.id).status == "paused"
    assert served["model_version"] == "al-3"
    second.store.close()
    first.close()
