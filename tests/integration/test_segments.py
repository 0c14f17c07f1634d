"""Projects whose audio and time series have segments: read, learned, proposed, and measured."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.state.unreadable import unreadable_tasks
from active_learn_backend.web.app import create_app
from drawn_segments import EVENTS, RATE, SOUNDS, Segments, series_with_events, sound_with_events
from exported_folders import export
from fake_label_studio import FakeLabelStudio
from media_files import audio_file
from worker_backend import Backend

SERIES = (
    '<View><TimeSeries name="ts" value="$text" valueType="json" timeColumn="t">'
    '<Channel column="x"/><Channel column="y"/></TimeSeries>'
    '<TimeSeriesLabels name="event" toName="ts">'
    + "".join(f'<Label value="{name}"/>' for name in EVENTS)
    + "</TimeSeriesLabels></View>"
)
SOUND = (
    '<View><Audio name="audio" value="$text"/><Labels name="event" toName="audio">'
    + "".join(f'<Label value="{name}"/>' for name in SOUNDS)
    + "</Labels></View>"
)
Drawn = tuple[str, Segments]


def draw_series(rng: np.random.Generator) -> Drawn:
    """Draw a series of which a row is half a second, from 100 s on."""
    columns, segments = series_with_events(rng)
    times = [100 + at / 2 for at in range(len(columns["x"]))]
    moved = [[100 + start / 2, 100 + end / 2, name] for start, end, name in segments]
    return json.dumps({"t": times, **columns}), moved


def draw_sound(rng: np.random.Generator) -> Drawn:
    sound, segments = sound_with_events(rng, 4.0)
    file = base64.b64encode(audio_file(sound, "wav", RATE)).decode()
    return f"data:audio/wav;base64,{file}", segments


@pytest.mark.parametrize(
    ("config", "draw", "words"), [(SERIES, draw_series, " to "), (SOUND, draw_sound, " s (")]
)
def test_segments_are_learned_proposed_and_measured(
    backend: Backend,
    studio: FakeLabelStudio,
    config: str,
    draw: Callable[[np.random.Generator], Drawn],
    words: str,
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(3)
    drawn = dict(draw(rng) for _ in range(45))
    control = parse_label_config(config).regions[0]
    project = studio.add_project(drawn, config)
    backend.store.register(project)
    backend.store.update(project, mode="pull")

    def truth(task: int) -> Segments:
        return drawn[studio.tasks[task]["data"]["text"]]

    settings: dict[str, Any] = {"budget": 15, "audit": 0.3, "prelabel": "head"}
    for _ in range(2):
        backend.turn(project, **settings)
        for row in read_queue(backend.store, project)[:15]:
            studio.submit(row.task_id, control.write(truth(row.task_id)))
    backend.turn(project, **settings)
    kept = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    done = [task for task, one in kept.items() if one is not None]
    assert len(done) == 30
    assert all(kept[task] == {"event": truth(task)} for task in done)

    right = both = 0
    for row in [one for one in studio.rows.values() if one["model_version"] == "al-3"]:
        answer = control.read(row["result"])
        assert all(0 < item["score"] <= 1 for item in row["result"])
        if row["result"]:  # audit tasks show none
            right += 2 * count_matches(truth(row["task"]), answer)
            both += len(truth(row["task"])) + len(answer)
    assert right / both > 0.6

    report = last_round(backend.store, project)
    assert report is not None
    (found,) = report.controls
    assert found.evaluation.audit is not None
    assert found.evaluation.audit.metric == "F1 at IoU .5"
    assert found.evaluation.audit.value > 0.4
    page = create_app(backend.settings()).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert "windows unsure" in html
    assert "proposed: " in html
    assert words in html

    exported = export(backend, project, tmp_path / "out")  # the command compares what is found
    assert exported.exit_code == 0, exported.output
    assert "on 45 tasks it answers as the backend does" in exported.output
    assert not any("active_learn" in one.read_text() for one in (tmp_path / "out").glob("*.py"))


@pytest.mark.parametrize(
    ("task", "reason"),
    [
        ('{"t": [3, 2, 1], "x": [1, 2, 3], "y": [1, 2, 3]}', "fall; sort them"),
        (
            '{"t": [1, "noon", 3], "x": [1, 2, 3], "y": [1, 2, 3]}',
            "holds 'noon' in row 1; expected numbers",
        ),
        ('{"x": [1, 2, 3], "y": [1, 2, 3]}', "has no column 't'"),
    ],
)
def test_a_series_without_times_is_left_out_alone(
    backend: Backend, studio: FakeLabelStudio, task: str, reason: str
) -> None:
    rng = np.random.default_rng(3)
    project = studio.add_project(dict(draw_series(rng) for _ in range(5)), SERIES)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    studio.add_task(project, task)
    backend.turn(project)
    assert len(read_queue(backend.store, project)) == 5
    (group,) = unreadable_tasks(backend.store, project)
    assert group.n == 1
    assert reason in group.reason
