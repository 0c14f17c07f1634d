"""`active-learn backtest`: an export in, an honest table, a CSV and a plot out."""

from __future__ import annotations

import csv
import importlib.util
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.errors import DataError, ParameterError
from active_learn.evaluation import replayed_head
from active_learn.evaluation.replay import Candidate
from active_learn.heads import fit_head
from active_learn.heads.folds import folds
from active_learn.strategies import strategies
from active_learn_backend.cli.backtest import Source, replay
from active_learn_backend.cli.main import main
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.exports import read_export
from active_learn_backend.learning.quality.backtest import (
    LabeledSet,
    backtest,
    candidates_for,
)
from active_learn_backend.learning.quality.replayed_curves import read_replayed_curves
from active_learn_backend.settings import load_settings
from click.testing import CliRunner

TOPICS = {
    "card": "my new card has not arrived in the post",
    "rate": "what is the exchange rate for euros today",
    "pin": "i forgot the pin and cannot change it",
}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    + "".join(f'<Choice value="{name}"/>' for name in TOPICS)
    + "</Choices></View>"
)


def annotated(at: int, label: str, text: str) -> dict[str, Any]:
    result = [
        {"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    ]
    stamp = f"2026-01-01T00:{at // 60:02d}:{at % 60:02d}.000000Z"
    return {
        "id": at,
        "data": {"text": text},
        "annotations": [{"id": at, "result": result, "created_at": stamp}],
    }


def export(folder: Path, n: int = 150) -> tuple[Path, Path]:
    """An export of short texts, and the file of its config; a few tasks are not labeled."""
    rng = np.random.default_rng(0)
    names = list(TOPICS)
    items = []
    for at in range(n):
        name = names[int(rng.integers(3))]
        words = rng.permutation(TOPICS[name].split())[:4]
        items.append(annotated(at, name, f"{' '.join(words)} {at}"))
    items += [{"id": n + at, "data": {"text": "open"}, "annotations": []} for at in range(5)]
    (folder / "export.json").write_text(json.dumps(items))
    (folder / "config.xml").write_text(CONFIG)
    return folder / "export.json", folder / "config.xml"


def command(tmp_path: Path, *options: str) -> Any:
    arguments = ["backtest", "--model-dir", str(tmp_path / "state"), "--output", str(tmp_path)]
    return CliRunner().invoke(main, [*arguments, *options])


def clouds(n: int = 160, problem_type: Any = "classification") -> LabeledSet:
    rng = np.random.default_rng(0)
    places = rng.integers(0, 4, n)
    centers = 2 * np.random.default_rng(9).normal(size=(4, 6))
    X = (centers[places] + rng.normal(size=(n, 6))).astype(np.float32)
    y: Any = np.array([f"class {place}" for place in places])
    if problem_type == "regression":
        y = X @ np.arange(6) + rng.normal(size=n)
    if problem_type == "multilabel":
        y = np.stack([places == 0, places >= 2], axis=1).astype(np.float64)
    return LabeledSet(X, y, problem_type)


# -- the command --------------------------------------------------------------------------------


def test_an_export_gives_a_table_a_csv_and_a_plot(tmp_path: Path) -> None:
    if importlib.util.find_spec("matplotlib") is None:
        pytest.skip("matplotlib is not installed")
    tasks, config = export(tmp_path)
    told = command(
        tmp_path, "--export", str(tasks), "--label-config", str(config),
        "--strategies", "margin", "--seeds", "2",
    )  # fmt: skip
    assert told.exit_code == 0, told.output
    assert "| margin |" in told.output
    assert "| random |" in told.output
    assert "150 labels, 2 seeds" in told.output
    assert "so few seeds" in told.output
    with (tmp_path / "backtest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["strategy"] for row in rows} == {"margin", "random"}
    assert {row["replicate"] for row in rows} == {"0", "1"}
    assert max(int(row["labels"]) for row in rows) <= 56  # half of three quarters of 150
    assert all(0 <= float(row["score"]) <= 1 for row in rows)
    assert (tmp_path / "backtest.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("options", [[], ["--project", "1", "--export"], ["--export"]])
def test_it_has_to_be_said_where_the_labels_are(tmp_path: Path, options: list[str]) -> None:
    tasks, _ = export(tmp_path, 3)
    told = command(tmp_path, *options, *([str(tasks)] if options else []))
    assert told.exit_code == 1
    assert "--label-config" in told.output


def test_a_project_needs_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    told = command(tmp_path, "--project", "1")
    assert told.exit_code == 1
    assert "LABEL_STUDIO_API_KEY" in told.output


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("{}", "no list of tasks"),
        ('[{"id": 1, "text": "a", "choice": "card"}]', "JSON-MIN"),
        ('[{"id": 1, "data": {}, "annotations": [7]}]', "item 0"),
    ],
)
def test_what_is_no_export_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "export.json").write_text(text)
    with pytest.raises(DataError, match=reason):
        read_export(tmp_path / "export.json", CONFIG)


def changed(tasks: Any, **values: Any) -> Any:
    """Set values of each annotation; `drop` removes one of them."""
    for task in tasks:
        for annotation in task["annotations"]:
            annotation |= values
            annotation.pop("drop" in values and annotation.pop("drop"), None)
    return tasks


def completions(tasks: Any) -> Any:
    return [
        {name: one for name, one in task.items() if name != "annotations"}
        | {"completions": [one | {"skipped": at == 3} for one in task["annotations"]]}
        for at, task in enumerate(tasks)
    ]


def without_ids(tasks: Any) -> Any:
    for task in tasks:
        del task["id"]
    return tasks


def mixed_ids(tasks: Any) -> Any:
    for at, task in enumerate(tasks):
        task["id"] = f"task-{at}" if at % 2 else at
        task["annotations"] = [
            one | {"id": number} for one in task["annotations"] for number in ("a", 7, None)
        ]
    return tasks


@pytest.mark.parametrize(
    ("change", "labeled"),
    [
        (completions, 5),
        (lambda tasks: changed(tasks, created_at=1598958300), 6),
        (lambda tasks: changed(tasks, created_at=1598958300.5, updated_at="2020-09-01"), 6),
        (lambda tasks: changed(tasks, created_at="yesterday", updated_at=10**30), 6),
        (lambda tasks: changed(tasks, created_at=[1], updated_at=None), 6),
        (lambda tasks: changed(tasks, drop="id"), 6),
        (without_ids, 6),
        (mixed_ids, 6),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_exports_of_any_age_and_hand_are_read(
    tmp_path: Path, change: Any, labeled: int, encoding: str
) -> None:
    """Tracebacks and silent losses before."""
    tasks = change([annotated(at, list(TOPICS)[at % 3], f"text {at}") for at in range(6)])
    (tmp_path / "export.json").write_text(json.dumps(tasks), encoding=encoding)
    _, rows = read_export(tmp_path / "export.json", CONFIG)
    assert [row.content["text"] for row in rows] == [f"text {at}" for at in range(6)]
    assert len({row.task_id for row in rows}) == 6
    found = [label for row in rows if row.labels for label in row.labels.values()]
    assert len(found) == labeled
    assert set(found) <= set(TOPICS)


def test_the_latest_of_old_stamps_wins(tmp_path: Path) -> None:
    (one,) = [annotated(0, "card", "a")]
    other = annotated(0, "pin", "a")["annotations"][0] | {"id": 1, "created_at": 1}
    for now, label in ((2, "card"), (0.5, "pin")):
        first = one["annotations"][0] | {"created_at": now}
        (tmp_path / "x.json").write_text(json.dumps([one | {"annotations": [first, other]}]))
        (row,) = read_export(tmp_path / "x.json", CONFIG)[1]
        assert list((row.labels or {}).values()) == [label]


def test_images_that_cannot_be_loaded_are_the_reason(tmp_path: Path) -> None:
    items = [annotated(at, "card", f"s3://bucket/{at}.png") for at in range(4)]
    (tmp_path / "export.json").write_text(json.dumps(items))
    (tmp_path / "config.xml").write_text(CONFIG.replace("<Text", "<Image"))
    files = ("--export", f"{tmp_path}/export.json", "--label-config", f"{tmp_path}/config.xml")
    told = command(tmp_path, *files)
    assert told.exit_code == 1
    assert "no labeled task can be read; 4 of 4 labeled tasks cannot be read: " in told.output
    assert "'s3://bucket/0.png' is in cloud storage that Label Studio does not read" in told.output


def test_what_is_left_out_of_a_backtest_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    items = [annotated(at, "card", f"text {at}") for at in range(4)]
    items[0]["data"]["text"] = ""
    items[1]["annotations"][0]["result"][0]["from_name"] = "other"
    (tmp_path / "export.json").write_text(json.dumps(items))
    task, rows = read_export(tmp_path / "export.json", CONFIG)
    settings = load_settings(model_dir=tmp_path)
    data = LabeledSet.embed(settings, 0, task, rows, lambda _: b"")
    assert len(data.X) == 2
    assert [one.getMessage() for one in caplog.records] == [
        "1 of 4 tasks are annotated without a label: 'other' is answered, which is no control of "
        "the labeling config (task 1)",
        "1 of 3 labeled tasks cannot be read: the task is empty in its field 'text' (task 0)",
    ]


def test_too_few_labels_are_refused(tmp_path: Path) -> None:
    tasks, config = export(tmp_path, 20)
    told = command(tmp_path, "--export", str(tasks), "--label-config", str(config))
    assert told.exit_code == 1
    assert "20 labels are too few" in told.output


# -- replays ------------------------------------------------------------------------------------


def test_replays_train_the_heads_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the labels offered in the order of the config, and the weights of the settings."""
    trained: list[Any] = []

    def record(problem_type: Any, offered: Any, *arguments: Any, **options: Any) -> Any:
        trained.append((tuple(offered), options["class_weight"], options["bounds"]))
        return fit_head(problem_type, offered, *arguments, **options)

    monkeypatch.setattr(replayed_head, "fit_head", record)
    data, offered = clouds(), ("class 3", "class 1", "class 2", "class 0", "class 9")
    choices = "".join(f'<Choice value="{name}"/>' for name in offered)
    config = CONFIG.partition("<Choice value")[0] + choices + "</Choices></View>"
    control = parse_label_config(config).controls[0]
    named = LabeledSet.of(control, data.X, [str(name) for name in data.y], "balanced")
    assert named.draw(90).head_config == named.head_config
    backtest(named, candidates_for("classification", ["margin"]), batch=20, seeds=1)
    assert set(trained) == {(offered, "balanced", None)}


@pytest.mark.parametrize("problem_type", ["classification", "regression", "multilabel"])
def test_any_problem_type_is_replayed(problem_type: Any) -> None:
    names = ["aopt"] if problem_type == "regression" else ["margin"]
    found = backtest(
        clouds(problem_type=problem_type), candidates_for(problem_type, names), batch=10, seeds=2
    )
    assert list(found.curves.scores) == [*names, "random"]
    assert found.curves.labels.tolist() == [10, 20, 30, 40, 50, 60]
    assert np.isfinite(found.curves.scores["random"]).all()
    assert "mean" in found.report()


@pytest.mark.parametrize("problem_type", ["classification", "regression"])
def test_curves_of_accuracy_are_kept_for_the_page_of_the_project(
    problem_type: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of numbers are R², which the page does not show."""
    data = replace(clouds(problem_type=problem_type), control="c")
    settings = load_settings(model_dir=tmp_path / "state")
    monkeypatch.setattr(Source, "read", lambda _self, given: (data, given))
    said = list(replay(settings, Source(project_id=5), "aopt", 2, True, tmp_path))
    kept = read_replayed_curves(settings, 5)
    if problem_type == "regression":
        assert kept is None
        return
    assert "the status page shows the curve of random beside the project's own" in said
    assert kept is not None
    assert (kept.control, set(kept.scores)) == ("c", {"aopt", "random"})
    curve = kept.of("random")
    assert [labels for labels, _ in curve] == sorted(labels for labels, _ in curve)
    assert len(curve) > 2
    assert all(0 < score <= 1 for _, score in curve)
    assert kept.of("margin") == []
    assert kept.verdict
    assert kept.verdict in said[0]


def test_every_strategy_that_fits_is_tried() -> None:
    assert {one.strategy for one in candidates_for("classification")} == set(strategies())
    numbers = {one.strategy for one in candidates_for("regression")}
    assert "margin" not in numbers
    assert {"auto", "random"} <= numbers
    with pytest.raises(ParameterError, match="unknown"):
        candidates_for("classification", ["best"])
    with pytest.raises(ParameterError):
        candidates_for("regression", ["margin"])


def test_quick_bounds_labels_and_seeds() -> None:
    found = backtest(clouds(900), [Candidate("random")], batch=20, seeds=5, quick=True)
    assert found.n_labels == 600
    assert found.curves.scores["random"].shape[0] == 3
    assert len(found.curves.labels) <= 16


def test_the_held_out_labels_are_drawn_anew_for_each_seed() -> None:
    data = clouds()
    tests = [set(test) for _, test in folds(data.y, 4, range(3))[::4]]
    assert all(len(one) == 40 for one in tests)
    assert len(tests[0] & tests[1]) < 25
