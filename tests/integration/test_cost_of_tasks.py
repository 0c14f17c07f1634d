"""How long people take for a task, from their annotations to the status page and the advice."""

from __future__ import annotations

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.web.app import create_app
from click.testing import CliRunner
from fake_label_studio import FakeLabelStudio
from worker_backend import Backend

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]


def test_times_of_annotations_are_fitted_shown_and_told(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    texts = [
        f"{'Oslo ' * (at % 3 > 0)}{'and ' * (at % 7)}{'Turku ' * (at % 3 > 1)}number {at}"
        for at in range(50)
    ]
    project = studio.add_project(texts, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    for task in sorted(studio.tasks)[:30]:
        text = studio.tasks[task]["data"]["text"]
        spans = [[text.index(one), text.index(one) + len(one), "city"]
                 for one in ("Oslo", "Turku") if one in text]  # fmt: skip
        seconds = 2 + 0.5 * len(text.split()) + 4 * len(spans)
        studio.submit(task, CONTROL.write(spans), seconds if task % 5 else None)
    backend.turn(project)
    times = [row.lead_time for row in read_tasks(backend.store, project)]
    assert sum(one is not None for one in times) == 24
    report = last_round(backend.store, project)
    assert report is not None
    assert report.cost is not None
    assert report.cost.noun == "words"
    assert report.cost.fixed == pytest.approx(2, abs=0.1)
    assert report.cost.per_part == pytest.approx(0.5, abs=0.05)
    assert report.cost.per_region == pytest.approx(4, abs=0.1)
    client, accepted = create_app(backend.settings()).test_client(), {"Accept": "text/html"}
    page = client.get(f"/projects/{project}", headers=accepted)
    assert f"<dt>A task takes</dt><dd>{report.cost.about} <small>2.0 s, 50 s" in page.text
    folder = ["--model-dir", str(backend.folder)]
    told = CliRunner().invoke(main, ["advise", "--project", str(project), *folder])
    assert f"a task takes {report.cost.about} (2.0 s, 50 s for 100 words and 4.0 s" in told.output
