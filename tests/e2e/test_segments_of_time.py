"""Segments of time series and sounds on a real Label Studio: labeled, learned, and proposed."""

from __future__ import annotations

import csv
import datetime
import io
import os
import shutil
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler, LabeledData, PooledTasks, RaggedArray, pool_parts
from active_learn.heads import TaggingHead, load_heads
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.labeling.time_series import Series
from active_learn_backend.learning.regions.parts import Parts
from active_learn_backend.learning.regions.windows import (
    SeriesWindowEncoder,
    SeriesWindows,
    SoundWindowEncoder,
    SoundWindows,
)
from active_learn_backend.state.tasks import read_tasks
from drawn_segments import EVENTS, RATE, SOUNDS, Segments, series_with_events, sound_with_events
from harness import Harness
from media_files import audio_file
from PIL import Image
from uploads import number_of, upload

FORM = "%Y-%m-%d %H:%M:%S.%L"
COUNT, BATCH, QUEUED = 40, 20, 26
SECONDS = 4.0  # of a sound
DONE = 15  # of the batch: so few that no round begins by itself
NOON = datetime.datetime(2020, 3, 8, 0, 0)  # the night in which New York puts its clocks forward
LABELS = {
    "TimeSeriesLabels": "".join(f'<Label value="{name}"/>' for name in EVENTS),
    "Labels": "".join(f'<Label value="{name}"/>' for name in SOUNDS),
}
CONFIGS = {
    "TimeSeriesLabels": (
        f'<TimeSeries name="o" value="$file" timeColumn="time" timeFormat="{FORM}">'
        '<Channel column="x"/><Channel column="y"/></TimeSeries>'
    ),
    "Labels": '<Audio name="o" value="$file"/>',
}


def moment(row: float) -> str:
    return f"{NOON + datetime.timedelta(seconds=row):%Y-%m-%d %H:%M:%S}.000"


def draw_series(rng: np.random.Generator) -> tuple[bytes, Segments, Any]:
    """Draw a CSV file of a row each second; its segments have dates for borders."""
    columns, segments = series_with_events(rng)
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["time", "x", "y"])
    writer.writerows(zip(map(moment, range(len(columns["x"]))), *columns.values(), strict=True))
    dated: Segments = [[moment(start), moment(end), name] for start, end, name in segments]
    channels = np.array([columns["x"], columns["y"]], np.float32)
    return file.getvalue().encode(), dated, Series(channels)


def draw_sound(rng: np.random.Generator) -> tuple[bytes, Segments, Any]:
    sound, segments = sound_with_events(rng, SECONDS)
    file = audio_file(sound, "wav", RATE)
    return file, segments, file


CASES: dict[str, tuple[Callable[[np.random.Generator], Any], str, Any, Any]] = {
    "TimeSeriesLabels": (draw_series, "csv", SeriesWindowEncoder(), SeriesWindows()),
    "Labels": (draw_sound, "wav", SoundWindowEncoder(), SoundWindows()),
}


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": BATCH, "reserve": QUEUED - BATCH, "retrain_every": COUNT, "audit": 0}


def ranking(candidates: PooledTasks, ids: list[int], labeled: list[int]) -> list[int]:
    """The order of the unlabeled tasks, by the library alone."""
    known = [at for at, task in enumerate(ids) if task in labeled]
    others = [at for at in range(len(ids)) if at not in known]
    sampler = ActiveSampler(
        "tagging",
        None,
        BATCH,
        precompute_covariance=True,
        seed_fisher=True,
        labeled_data=LabeledData(candidates[known]) if known else None,
        random_state=0,
    )
    return [
        ids[others[at]] for at in sampler.rank(candidates[others], min(QUEUED, len(others))).indices
    ]


@pytest.mark.parametrize("tag", CASES)
def test_segments_are_learned_and_land_where_they_belong(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    tag: str,
) -> None:
    draw, suffix, encoder, kind = CASES[tag]
    config = f'<View>{CONFIGS[tag]}<{tag} name="event" toName="o">{LABELS[tag]}</{tag}></View>'
    control = parse_label_config(config).regions[0]
    rng = np.random.default_rng(3)
    drawn = [draw(rng) for _ in range(COUNT)]
    body = {"title": f"Segments by {tag}", "label_config": config}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    upload(label_studio, project, suffix, [file for file, *_ in drawn])
    harness.connect(project, prelabel="head")
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    numbers = {task["id"]: number_of(task["data"]) for task in tasks}
    ids = sorted(numbers)
    parts = [encoder.prepare(drawn[numbers[one]][2]) for one in ids]
    ragged = RaggedArray.of([one.features.astype(np.float16) for one in parts])
    weight = kind.prior(Parts(ragged.rows, np.empty((0, 2), np.int64), ragged.offsets))
    first = harness.queue(project)
    assert first == ranking(
        pool_parts(ragged, lambda rows: np.stack([1 - weight / 2, weight / 2], 1)), ids, []
    )

    def answer(task: dict[str, Any]) -> list[dict[str, Any]]:
        return [
            item | {"value": item["value"] | dict(zip(("start", "end"), segment[:2], strict=True))}
            for segment in drawn[numbers[task["id"]]][1]
            for item in control.write([[0.0, 1.0, segment[2]]])
        ]

    labeled = [one.task["id"] for one in make_annotator(project, answer).label(DONE)]
    assert labeled == first[:DONE]
    report = harness.wait_round_of_all_labels(project)
    with closing(harness.store) as store:
        labels = {row.task_id: row.labels for row in read_tasks(store, project) if row.labels}
    answers = {one: control.read(answer({"id": one})) for one in ids}
    assert labels == {one: {"event": answers[one]} for one in labeled}

    folder = harness.backend.model_dir / "projects" / str(project) / "heads"
    head = load_heads(folder, report.round)["event"]
    assert isinstance(head, TaggingHead)
    rows = harness.rows(project, report.queue_version)
    pooled = pool_parts(ragged, head.flat_probabilities)
    assert [row["task"] for row in rows] == ranking(pooled, ids, labeled)

    found = {row["task"]: control.read(row["result"]) for row in rows}
    right = 2 * sum(count_matches(answers[one], found[one]) for one in found)
    assert right / sum(len(answers[one]) + len(found[one]) for one in found) > 0.4
    shown = max(found, key=lambda one: len(found[one]))
    sounding = found[shown] if tag == "Labels" else None
    assert submitted(label_studio, project, shown, sounding) == len(found[shown]) > 1
    (annotation,) = label_studio.api("GET", f"/api/tasks/{shown}/")["annotations"]
    assert control.read(annotation["result"]) == found[shown]


def submitted(server: LabelStudioServer, project: int, task: int, sounding: Segments | None) -> int:
    """Submit our prediction on the page of Label Studio, in another zone; return its regions.

    Of a sound they have to lie on its waveform.
    """
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra [dev])")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(timezone_id="America/New_York")
        page.goto(f"{server.url}/user/login/")
        page.fill("input[name=email]", server.admin.email)
        page.fill("input[name=password]", server.admin.password)
        page.click("button[type=submit]")
        page.goto(f"{server.url}/projects/{project}/data?task={task}")
        items = page.locator(".lsf-outliner-item")
        n = wait_until(items.count, timeout=60, what="regions on the page")
        if sounding:
            wait_until(lambda: lie_on_the_wave(page, sounding), timeout=60, what="the segments")
        if folder := os.environ.get("REGION_SHOTS"):
            page.screenshot(path=f"{folder}/segments-{project}.png")
        with page.expect_response(lambda answer: "/annotations" in answer.url):
            page.get_by_role("button", name="Submit").first.click()
        browser.close()
    return int(n)


def lie_on_the_wave(page: Any, segments: Segments) -> bool:
    """Check that a wave is drawn from end to end, and that what is coloured is the segments."""
    box = page.locator("canvas").first.bounding_box()
    pixels = np.asarray(Image.open(io.BytesIO(page.screenshot(clip=box))).convert("RGB"), int)
    wave = pixels[len(pixels) // 2].max(axis=1) < 200
    coloured = np.ptp(pixels[-5], axis=1) > 8  # below the wave, which is grey
    seconds = np.linspace(0, SECONDS, len(coloured))
    expected = np.any([(start <= seconds) & (seconds < end) for start, end, _ in segments], axis=0)
    everywhere = all(part.any() for part in np.array_split(wave, 10))
    return everywhere and bool(np.mean(coloured == expected) > 0.97)
