"""Which head a round starts from, and what becomes of a pinned one that cannot be read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.labeling.config import LabelingTask
from active_learn_backend.settings import Settings
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.worker.heads_stage import HeadsStage

PROJECT = 7
EMBEDDER: Any = SimpleNamespace(fixed_heads={}, read_by=lambda control: ("e", 4))


class Updates:
    """A store that records what is written to it."""

    def __init__(self) -> None:
        self.written: dict[str, Any] = {}

    def update(self, project_id: int, **values: Any) -> None:
        assert project_id == PROJECT
        self.written |= values


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(model_dir=tmp_path)


def saved(settings: Settings) -> TrainedHead:
    rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    labels = ["yes" if row[0] > 0 else "no" for row in rows]
    head = fit_head("classification", ("yes", "no"), rows, labels, round=3, encoder="e")
    assert head is not None
    head.save(heads_folder(settings, PROJECT))
    return head


def stage_of(settings: Settings, pinned: int) -> tuple[HeadsStage, Updates]:
    project: Any = SimpleNamespace(id=PROJECT, head_round=3, pinned_round=pinned)
    control: Any = SimpleNamespace(from_name="c", problem_type="classification", learned=True)
    store: Any = Updates()
    return HeadsStage(project, LabelingTask((control,), ()), store, settings), store


@pytest.mark.parametrize("pinned", [0, 3])
def test_the_last_head_where_it_can_be_read(settings: Settings, pinned: int) -> None:
    head = saved(settings)
    one, store = stage_of(settings, pinned)
    assert one.former(EMBEDDER)["c"].metadata == head.metadata
    assert not store.written


@pytest.mark.parametrize(("pinned", "written"), [(0, {}), (3, {"pinned_round": 0})])
def test_an_unreadable_head_is_passed_over_and_pinned_no_more(
    settings: Settings, pinned: int, written: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    saved(settings)
    (heads_folder(settings, PROJECT) / "head-3.safetensors").write_bytes(b"of an earlier version")
    one, store = stage_of(settings, pinned)
    assert one.former(EMBEDDER) == {}
    assert store.written == written
    assert "the next round trains a new one" in caplog.text
