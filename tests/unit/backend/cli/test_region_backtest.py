"""`active-learn backtest` of a project that labels regions: F1 by tasks, and by what was read."""

from __future__ import annotations

import csv
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler
from active_learn.errors import DataError, ParameterError
from active_learn.evaluation.replay import Candidate
from active_learn.heads import NestedTaggingHead
from active_learn_backend.cli.backtest import Source, replay
from active_learn_backend.cli.main import main
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.time_series import Series
from active_learn_backend.labelstudio.exports import read_export
from active_learn_backend.learning.heads.pooling import pool_tasks
from active_learn_backend.learning.quality.region_backtest import (
    LabeledRegions,
    _Run,
    backtest_regions,
    region_candidates,
)
from active_learn_backend.learning.quality.replayed_curves import read_replayed_curves
from active_learn_backend.learning.regions.embedder import PartsOfField
from active_learn_backend.learning.regions.parts import in_memory
from active_learn_backend.learning.regions.windows import SeriesWindowEncoder
from active_learn_backend.settings import load_settings
from click.testing import CliRunner
from drawn_segments import EVENTS, series_with_events

SPANS = (
    '<Labels name="label" toName="text"><Label value="person"/><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/>'
)
CHOICE = '<Choices name="c" toName="text"><Choice value="a"/><Choice value="b"/></Choices>'
CONFIG = f"<View>{SPANS}</View>"
NAMES = {"Anna": "person", "Bo": "person", "Cleo": "person", "Oslo": "city", "Turku": "city"}
LONG = "and then there was nothing else that anybody could tell about it"


def text_of(draw: random.Random) -> str:
    """A text of a person in a city; a third are long, a quarter name nobody."""
    person, city = draw.sample([*NAMES][:3], 1)[0], draw.choice([*NAMES][3:])
    said = "it rains" if draw.random() < 0.25 else f"we saw {person} in {city}"
    return f"{said} {LONG}" if draw.random() < 1 / 3 else said


def exported(folder: Path, count: int, config: str = CONFIG) -> tuple[Path, Path]:
    draw, tasks = random.Random(0), []
    control = next(one for one in parse_label_config(config).controls if one.from_name == "label")
    for _ in range(count):
        text = text_of(draw)
        spans = [[text.index(name), text.index(name) + len(name), label]
                 for name, label in NAMES.items() if name in text.split()]  # fmt: skip
        tasks.append({"data": {"text": text}, "annotations": [{"result": control.write(spans)}]})
    (folder / "export.json").write_text(json.dumps(tasks))
    (folder / "config.xml").write_text(config)
    return folder / "export.json", folder / "config.xml"


def command(folder: Path, count: int, *options: str) -> Any:
    tasks, config = exported(folder, count)
    files = ["--export", str(tasks), "--label-config", str(config)]
    places = ["--model-dir", str(folder / "state"), "--output", str(folder)]
    return CliRunner().invoke(main, ["backtest", *files, *places, *options])


def embedded(folder: Path, count: int, config: str = CONFIG) -> LabeledRegions:
    path, _ = exported(folder, count, config)
    task, rows = read_export(path, config)
    return LabeledRegions.embed(load_settings(model_dir=folder), 0, task, rows, lambda *_: b"")


def test_regions_give_a_table_by_words_and_one_by_tasks(tmp_path: Path) -> None:
    told = command(tmp_path, 60, "--strategies", "aopt", "--seeds", "2", "--budget", "8")
    assert told.exit_code == 0, told.output
    assert "| words for entity F1 " in told.output
    assert "| tasks for entity F1 " in told.output
    assert "60 labels, 2 seeds" in told.output
    assert "status page" not in told.output  # an export has none
    assert read_replayed_curves(load_settings(model_dir=tmp_path / "state"), 0) is None
    assert (tmp_path / "backtest.png").read_bytes().startswith(b"\x89PNG")
    with (tmp_path / "backtest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["strategy", "replicate", "tasks", "parts", "score"]
    assert {(row["strategy"], row["replicate"]) for row in rows} == {
        (name, seed) for name in ("aopt", "random") for seed in "01"
    }
    last = {(row["strategy"], row["replicate"]): row for row in rows}
    assert all(float(row["score"]) > 0.8 for row in last.values())
    read = {
        name: [row["parts"] for row in rows if row["strategy"] == name]
        for name in ("aopt", "random")
    }
    assert read["aopt"] != read["random"]


def test_replays_of_both_orders_end_with_half_of_tasks_and_words(tmp_path: Path) -> None:
    data = embedded(tmp_path, 60)
    found = backtest_regions(data, region_candidates(["margin"]), batch=5, seeds=1)
    assert found.by_tasks.curves.labels.tolist() == [5, 10, 15, 20]
    grid = found.by_parts.curves.labels
    assert len(grid) == 30
    for name in ("margin", "random"):
        ends = [row for row in found.rows if row["strategy"] == name][-1]
        assert ends["tasks"] >= 22
        assert ends["parts"] >= grid[-1]
        by_tasks = {row["tasks"]: row["score"] for row in found.rows if row["strategy"] == name}
        scores = [by_tasks[count] for count in (5, 10, 15, 20)]
        np.testing.assert_allclose(found.by_tasks.curves.scores[name][0], scores)
    again = backtest_regions(data, region_candidates(["margin"]), batch=5, seeds=1)
    assert again.rows == found.rows


def test_curves_by_tasks_are_kept_for_the_page_of_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = embedded(tmp_path, 60)
    settings = load_settings(model_dir=tmp_path / "state", budget=8)
    monkeypatch.setattr(Source, "read", lambda _self, given: (data, given))
    said = list(replay(settings, Source(project_id=5), "margin", 2, True, tmp_path))
    assert "the status page shows the curve of random beside the project's own" in said
    kept = read_replayed_curves(settings, 5)
    assert kept is not None
    assert (kept.control, set(kept.scores)) == ("label", {"margin", "random"})
    with (tmp_path / "backtest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["strategy"] == "random"]
    for count, score in kept.of("random"):
        scores = [float(row["score"]) for row in rows if int(row["tasks"]) == count]
        assert score == pytest.approx(np.mean(scores))
    assert kept.labels == [8, 16]
    assert re.fullmatch(r"\S.* tasks .*\. \S.* words .*\.", kept.verdict)


def test_the_first_tasks_of_a_replay_are_those_of_the_queue(tmp_path: Path) -> None:
    """Before the first label those windows weigh most that differ from the mean of their task."""
    config = (
        '<View><TimeSeriesLabels name="label" toName="ts">'
        + "".join(f'<Label value="{name}"/>' for name in EVENTS)
        + '</TimeSeriesLabels><TimeSeries name="ts" value="$ts" valueType="json">'
        '<Channel column="x"/><Channel column="y"/></TimeSeries></View>'
    )
    task, settings = parse_label_config(config), load_settings(model_dir=tmp_path)
    source = PartsOfField(settings, 0, task, "ts", lambda *_: b"")
    rng, encoder = np.random.default_rng(0), SeriesWindowEncoder()
    drawn = [series_with_events(rng) for _ in range(20)]
    parts = in_memory(
        [encoder.prepare(Series(np.array([one["x"], one["y"]], np.float32))) for one, _ in drawn],
        encoder.n_features,
    )
    control = task.regions[0]
    data = LabeledRegions(parts, [regions for _, regions in drawn], control, source)
    at = np.arange(20)
    run = _Run.of(data, (at[:16], at[16:]), 0)
    first = run._choose(Candidate("aopt"), at[:0], at[:16], 5)
    pooled = pool_tasks(parts.select(run.pool), [], prior=source.kind.prior)
    ranking = ActiveSampler("tagging", None, 5, seed_fisher=True, random_state=0).rank(pooled, 5)
    assert first.tolist() == ranking.indices.tolist()


def test_without_a_model_auto_begins_as_random_does(tmp_path: Path) -> None:
    data = embedded(tmp_path, 60)
    assert data.begins_at_random
    at = np.arange(60)
    run = _Run.of(data, (at[:45], at[45:]), 0)
    first = {
        name: run._choose(Candidate(name), at[:0], at[:45], 8).tolist()
        for name in ("auto", "aopt", "random")
    }
    assert first["auto"] == first["random"] != first["aopt"]
    run._train(at[:8])
    later = [run._choose(Candidate(name), at[:8], at[8:45], 8) for name in ("auto", "aopt")]
    assert later[0].tolist() == later[1].tolist()


def test_spans_that_overlap_are_replayed_with_the_heads_of_both(tmp_path: Path) -> None:
    data = embedded(tmp_path, 60)
    around = [[*one, [one[0][0], one[-1][1], "city"]] if one else [] for one in data.regions]
    data = replace(data, regions=[one[:1] + one[2:] for one in around])  # a person within a city
    at = np.arange(60)
    run = _Run.of(data, (at[:45], at[45:]), 0)
    run._train(at[:30])
    assert isinstance(run.head, NestedTaggingHead)
    assert run._score() > 0.9
    run._train(at[:40])  # from the head of the round before
    assert run._score() > 0.9


def test_too_few_regions_are_refused(tmp_path: Path) -> None:
    told = command(tmp_path, 20)
    assert told.exit_code == 1
    assert "20 labels are too few" in told.output
    data = embedded(tmp_path, 60)
    with pytest.raises(DataError, match="0 of them with a region"):
        replace(data, regions=[[]] * 60).check()


def test_strategies_that_know_no_parts_are_refused() -> None:
    assert {one.strategy for one in region_candidates()} >= {"aopt", "margin", "random"}
    assert "auto" not in {one.strategy for one in region_candidates()}
    assert "auto" in {one.strategy for one in region_candidates(auto=True)}
    with pytest.raises(ParameterError, match="tagging"):
        region_candidates(["badge"])


def test_of_many_tasks_some_are_drawn_by_tasks_and_by_parts(tmp_path: Path) -> None:
    data = embedded(tmp_path, 60)
    assert len(data.draw(20, 10_000)) == 20
    few = data.draw(60, 100)
    assert 80 < few.parts.sizes.sum() <= 100
    assert len(few) == len(few.parts)
    whole = data.draw(60, 10_000)
    assert whole.regions == data.regions
    at = np.arange(60)
    np.testing.assert_array_equal(whole.parts[at].places, data.parts[at].places)


def test_the_first_control_is_replayed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = embedded(tmp_path, 6, f"<View>{SPANS}{CHOICE}</View>")
    assert data.control.from_name == "label"
    assert len(data) == 6
    assert "replays the labels of 'label' alone, while the queue is ordered for all" in caplog.text
    assert "name it by --controls: c" in caplog.text
