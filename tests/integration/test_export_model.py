"""`active-learn export-model` on a project: the file answers as /predict does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from active_learn_backend.learning.encoders.ngrams import count_ngrams
from active_learn_backend.web.app import create_app
from exported_folders import export
from worker_backend import Backend

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="fruit" toName="text">'
    '<Choice value="apple"/><Choice value="pear"/></Choices></View>'
)


def test_the_exported_model_answers_as_predict_does(backend: Backend, tmp_path: Path) -> None:
    texts = [f"{('apple tart', 'pear sorbet')[n % 2]} number {n}" for n in range(40)]
    project = backend.studio.add_project(texts, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    backend.turn(project)
    early = export(backend, project, tmp_path / "out")
    assert early.exit_code == 1
    assert "Error: the project has no trained head" in early.output
    tasks = sorted(backend.studio.tasks)
    for at, task in enumerate(tasks[:20]):
        choice = {"choices": [("apple", "pear")[at % 2]]}
        item = {"from_name": "fruit", "to_name": "text", "type": "choices", "value": choice}
        backend.studio.submit(task, [item])
    backend.turn(project)

    done = export(backend, project, tmp_path / "out")
    assert done.exit_code == 0, done.output
    said = re.search(r"'fruit' is written to (\S+); on 40 tasks it answers as", done.output)
    assert said is not None, done.output
    names = {file.name for file in Path(said[1]).iterdir()}
    assert names == {"README.md", "example.py", "model.onnx", "model.onnx.json"}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Head | head-2, trained 20" in card
    assert "| apple | 10 | 0 |" in card

    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    words, characters = count_ngrams(texts)
    shares = session.run(["probabilities"], {"words": words, "characters": characters})[0]
    client = create_app(backend.settings()).test_client()
    sent = [{"id": task, "data": backend.studio.tasks[task]["data"]} for task in tasks]
    answers = client.post("/predict", json={"tasks": sent, "project": str(project)}).json
    for row, answer in zip(shares, answers["results"], strict=True):
        assert answer["result"][0]["value"]["choices"] == [("apple", "pear")[row.argmax()]]
        # The backend stores embeddings in half precision.
        assert answer["score"] == pytest.approx(float(row.max()), abs=1e-3)
    assert np.ptp(shares[:, 0]) > 0.1
