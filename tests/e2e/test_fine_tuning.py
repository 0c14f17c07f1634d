"""A team without a model gets one: an encoder that this test makes is fine-tuned on the labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.settings import load_settings
from active_learn_backend.state.model_versions import read_versions, version_path
from active_learn_backend.state.training_status import read_output, read_training
from harness import PATIENCE, Harness
from tiny_models import save_bert

CLASSES = {"lost": ["card", "lost"], "rate": ["rate", "exchange"]}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="intent" toName="text">'
    '<Choice value="lost"/><Choice value="rate"/></Choices></View>'
)
SETTINGS = {
    "TRAIN": "lora", "TRAIN_EVERY": "40", "AUDIT": "0.4", "BUDGET": "15", "RESERVE": "15",
    "RETRAIN_EVERY": "15", "POLL_INTERVAL": "1", "DEVICE": "cpu",
}  # fmt: skip


def test_an_encoder_is_fine_tuned_after_40_labels_and_its_answers_follow(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
    make_annotator: Callable[..., Annotator],
    tmp_path: Path,
) -> None:
    rng = np.random.default_rng(0)
    truth: dict[str, str] = {}
    while len(truth) < 120:
        label = ("lost", "rate")[len(truth) % 2]
        truth.setdefault(" ".join(rng.choice(CLASSES[label], 8)), label)
    project, tasks = make_text_project(list(truth), config=CONFIG)
    encoder = save_bert(tmp_path / "encoder")
    server = backend(start=False, ENCODER=str(encoder), **SETTINGS)
    harness = Harness(label_studio, server)
    settings = load_settings(model_dir=server.model_dir)
    server.run("connect", "--project", str(project), "--pull")

    def answer(task: dict[str, Any]) -> list[dict[str, Any]]:
        return choice(truth[task["data"]["text"]], "intent", "text")

    def answers_of(version: str) -> bool:
        state = harness.state(project)
        return state.head_version.startswith(version) and not state.activity

    def ended() -> bool:
        status = read_training(settings, project)
        return status is not None and status.state in ("done", "failed")

    with server.server("worker"):
        harness.wait_queue(project)
        annotator = make_annotator(project, answer)
        status = None
        while status is None:  # 40 labels that are no audit labels
            assert len(list(annotator.label(5))) == 5
            status = read_training(settings, project)
        wait_until(ended, timeout=PATIENCE, what="the end of the training")
        version = read_versions(settings, project)[0]
        if version.reason:  # some 25 audit labels decide, so this may happen: a person takes it
            assert "it is worse than what serves" in version.reason
            server.run("rollback", "--project", str(project), "--to", version.name)
            list(annotator.label(10))
        wait_until(lambda: answers_of("model-"), timeout=PATIENCE, what="the new model to serve")
        status = read_training(settings, project)
        assert status is not None
        assert (status.state, status.command) == ("done", "TRAIN")
        assert status.labels >= 40
        assert "labels to train on" in read_output(settings, project)

        assert version.name == harness.state(project).head_version
        assert version.audit >= 10
        assert version.quality is not None
        assert version.served_quality is not None  # of the head on the frozen encoder
        assert (version.quality >= version.served_quality) == (version.reason == "")

        folder = version_path(settings, project, version)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        texts = dict(zip(tasks, truth, strict=True))
        queue = harness.version(project)
        rows = [row for row in harness.rows(project, queue) if row["result"]]
        assert rows
        for row in rows:
            logits = model(**tokenizer(texts[row["task"]], return_tensors="pt")).logits[0]
            expected = model.config.id2label[int(logits.argmax())]
            assert row["result"][0]["value"]["choices"] == [expected]

        # Back to the head on the encoder.
        server.run("rollback", "--project", str(project), "--to", version.compared_with)
        list(annotator.label(15))
        head = version.compared_with
        wait_until(lambda: answers_of(head), timeout=PATIENCE, what="the head to serve again")
