"""The folder that a training command reads."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import ContentError, TrainingError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.training.data import (
    TrainingData,
    labeled_tasks,
    trained_control,
    write_training_data,
)
from active_learn_backend.settings import Settings
from active_learn_backend.state import schema
from active_learn_backend.state.schema import TaskRow
from active_learn_backend.state.store import Store
from PIL import Image

CONFIG = (
    '<View><Text name="t" value="$text"/><Image name="i" value="$image"/>'
    '<Choices name="c" toName="t"><Choice value="A"/><Choice value="B"/></Choices></View>'
)
PROJECT = 7


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("L", (4, 4), shade).save(file, "PNG")
    return file.getvalue()


def load(address: str) -> bytes:
    if not address.startswith("/"):
        raise ContentError("it is gone")
    return png(int(address[1:]))


def row(number: int, label: Any = "A", image: str | None = None, **values: Any) -> TaskRow:
    task = parse_label_config(CONFIG)
    content = {"text": f"text {number}", "image": image or f"/{number}"}
    labels = None if label is None else {"c": label}
    values = {"served": "queue", **values}
    return TaskRow(
        number, content, task.content_key(content), labels, False, labeled_at=1e12 + number,
        annotations=1, **values,
    )  # fmt: skip


def store_rows(store: Store, rows: Sequence[TaskRow]) -> None:
    """Store tasks with all that is known of them."""
    ids = [one.task_id for one in rows]
    mine = (schema.tasks.c.project_id == PROJECT) & schema.tasks.c.task_id.in_(ids)
    with store.write() as connection:
        connection.execute(schema.tasks.delete().where(mine))
        for one in rows:
            values = {"project_id": PROJECT, **vars(one)}
            connection.execute(schema.tasks.insert().values(values))


def written(
    store: Store, settings: Settings, rows: Sequence[TaskRow], config: str = CONFIG
) -> tuple[TrainingData, list[dict[str, Any]], Path]:
    """Write the data of some tasks; return what is told of them, their lines and the folder."""
    if store.register(PROJECT, config):
        store_rows(store, rows)
    task, project = parse_label_config(config), store.known_project(PROJECT)
    control = trained_control(task)
    folder = settings.model_dir / "data"
    snapshot = labeled_tasks(store, project, settings, control)
    data = write_training_data(folder, snapshot, task, control, store, load)
    lines = [json.loads(line) for line in (folder / "tasks.jsonl").read_text().splitlines()]
    return data, lines, folder


def test_what_it_holds(store: Store, settings: Settings) -> None:
    rows = [
        row(1), row(2, "B", image="/1"), row(3, None), row(4, image="gone"),
        row(5, None, run=1), row(6, "B", served="audit"),
    ]  # fmt: skip
    data, lines, folder = written(store, settings, rows)
    assert (data.labels, data.audit, data.unreadable) == (2, 1, 1)
    assert [(one["id"], one.get("label"), one["split"]) for one in lines] == [
        (1, "A", "train"), (2, "B", "train"), (6, None, "audit"),
    ]  # fmt: skip
    assert "label" not in lines[2]
    assert lines[0]["content"]["text"] == "text 1"
    assert lines[0]["content"]["image"] == lines[1]["content"]["image"]
    with Image.open(folder / lines[0]["content"]["image"]) as image:
        assert np.asarray(image)[0, 0] == 1
    assert len(list((folder / "files").glob("*.png"))) == 2
    assert json.loads((folder / "labels.json").read_text()) == {
        "control": "c",
        "problem_type": "classification",
        "labels": ["A", "B"],
        "fields": [{"name": "text", "type": "text"}, {"name": "image", "type": "image"}],
    }
    again, _, _ = written(store, settings, rows)
    assert again == data


def test_another_label_is_another_fingerprint(store: Store, settings: Settings) -> None:
    rows = [row(1), row(2, served="audit")]
    first, _, _ = written(store, settings, rows)
    changed = replace(rows[1], labels={"c": "B"})
    store_rows(store, [changed])
    assert written(store, settings, ())[0] == first  # the label of an audit task is not in it
    store_rows(store, [replace(rows[0], labels={"c": "B"})])
    assert written(store, settings, ())[0].fingerprint != first.fingerprint


def test_what_cannot_be_trained_on_is_said(store: Store, settings: Settings) -> None:
    config = CONFIG.replace('<Text name="t" value="$text"/>', "").replace(
        'Image name="i"', 'Audio name="t"'
    )
    with pytest.raises(TrainingError, match="trained on texts and images; the tasks show audio"):
        written(store, settings, (), config)
    unlearned = '<View><Text name="t" value="$text"/><TextArea name="a" toName="t"/></View>'
    with pytest.raises(TrainingError, match="no control of the labeling config"):
        trained_control(parse_label_config(unlearned))
