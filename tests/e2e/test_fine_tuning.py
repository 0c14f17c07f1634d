"""A team without a model gets one: an encoder that this test makes is fine-tuned on the labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import transformers
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.learning.quality.learning_curve import LEAST_AUDITED
from active_learn_backend.settings import load_settings
from active_learn_backend.state.model_versions import ModelVersion, read_versions, version_path
from active_learn_backend.state.training_status import TrainingStatus, read_output, read_training
from harness import PATIENCE, Harness
from tiny_models import save_bert

CLASSES = {"lost": ["card", "lost"], "rate": ["rate", "exchange"]}
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="intent" toName="text">'
    '<Choice value="lost"/><Choice value="rate"/></Choices></View>'
)
SETTINGS = {
    "TRAIN": "lora", "TRAIN_EVERY": "40", "AUDIT": "0.25", "BUDGET": "15", "RESERVE": "10",
    "RETRAIN_EVERY": "10", "POLL_INTERVAL": "1", "DEVICE": "cpu",
}  # fmt: skip
IMPORTED = 35  # labels that tasks come with: too few to train on; people then label the audit set


def truths() -> dict[str, str]:
    """Return the labels of 120 texts of different words."""
    rng = np.random.default_rng(0)
    found: dict[str, str] = {}
    while len(found) < 120:
        label = ("lost", "rate")[len(found) % 2]
        found.setdefault(" ".join(rng.choice(CLASSES[label], 8)), label)
    return found


class Project:
    """A project with some labels, and the worker that trains on them."""

    def __init__(self, label_studio: LabelStudioServer, server: BackendServer) -> None:
        self.server, self.truth = server, truths()
        self.harness = Harness(label_studio, server)
        self.settings = load_settings(model_dir=server.model_dir)
        body = {"title": "Intents", "label_config": CONFIG}
        self.number = int(label_studio.api("POST", "/api/projects/", body)["id"])
        labeled = list(self.truth)[:IMPORTED]
        tasks = [self._task(text, is_labeled=text in labeled) for text in self.truth]
        label_studio.api("POST", f"/api/projects/{self.number}/import", tasks)

    def _task(self, text: str, *, is_labeled: bool) -> dict[str, Any]:
        task: dict[str, Any] = {"data": {"text": text}}
        result = {"result": self.answer(task), "ground_truth": False}
        return task | ({"annotations": [result]} if is_labeled else {})

    def answer(self, task: dict[str, Any]) -> list[dict[str, Any]]:
        return choice(self.truth[task["data"]["text"]], "intent", "text")

    @property
    def training(self) -> TrainingStatus | None:
        return read_training(self.settings, self.number)

    @property
    def audited(self) -> int:
        """Audit labels that the last round knew."""
        return self.harness.rounds(self.number)[-1].audit

    def wait_trained(self) -> ModelVersion:
        """Wait for the end of the training; return what it made."""

        def ended() -> bool:
            return self.training is not None and self.training.state in ("done", "failed")

        wait_until(ended, timeout=PATIENCE, what="the end of the training")
        return read_versions(self.settings, self.number)[0]

    def roll_back(self, version: str) -> None:
        """Have a person go back to a version, and wait until it answers and orders."""
        after = int(self.harness.state(self.number).queue_version.removeprefix("al-"))
        self.server.run("rollback", "--project", str(self.number), "--to", version)
        self.harness.wait_queue(self.number, after=after)
        self.wait_answers_of(version)

    def wait_answers_of(self, version: str) -> None:
        def served() -> bool:
            state = self.harness.state(self.number)
            return state.head_version == version and not state.activity

        wait_until(served, timeout=PATIENCE, what=f"{version} to serve")

    def proposals(self) -> dict[str, str]:
        """Return what the served queue proposes, by text."""
        queue = self.harness.version(self.number)
        rows = [row for row in self.harness.rows(self.number, queue) if row["result"]]
        texts = {
            task["id"]: task["data"]["text"]
            for task in self.harness.api("GET", f"/api/tasks/?project={self.number}&page_size=200")[
                "tasks"
            ]
        }
        return {texts[row["task"]]: row["result"][0]["value"]["choices"][0] for row in rows}


def predict(folder: Path, texts: Iterable[str]) -> dict[str, str]:
    """Return the answers of a folder of `save_pretrained` without us, by text."""
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = {}
    for text in texts:
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0]
        found[text] = model.config.id2label[int(logits.argmax())]
    return found


def test_an_encoder_is_fine_tuned_after_40_labels_and_its_answers_follow(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_annotator: Callable[..., Annotator],
    tmp_path: Path,
) -> None:
    """A person goes back to the head, and takes the model again, whether it was better or not."""
    encoder = save_bert(tmp_path / "encoder")
    server = backend(start=False, ENCODER=str(encoder), **SETTINGS)
    project = Project(label_studio, server)
    with server.server("worker"):  # which starts while the command does
        server.run("connect", "--project", str(project.number), "--pull")
        project.harness.wait_queue(project.number)
        assert project.training is None
        annotator = make_annotator(project.number, project.answer)
        # 40 labels that are no audit labels, and 10 to compare on.
        while project.training is None or project.audited < LEAST_AUDITED:
            assert len(list(annotator.label(5))) == 5
        version = project.wait_trained()
        status = project.training
        assert status is not None
        assert (status.state, status.command) == ("done", "TRAIN")
        assert status.labels >= 40
        assert "labels to train on" in read_output(project.settings, project.number)
        assert version.audit >= LEAST_AUDITED
        assert version.quality is not None
        assert version.served_quality is not None  # of the head on the frozen encoder
        if version.quality >= version.served_quality:
            assert version.reason == ""
            project.wait_answers_of(version.name)
        else:  # some 15 audit labels decide, so this may happen
            assert "it is worse than what serves" in version.reason

        project.roll_back(version.compared_with)
        project.roll_back(version.name)
        proposed = project.proposals()
        assert proposed
        folder = version_path(project.settings, project.number, version)
        assert proposed == predict(folder, proposed)
