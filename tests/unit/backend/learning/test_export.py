"""An exported model: encoder and head in one ONNX graph that answers as they do, without us."""

from __future__ import annotations

import io
import json
import os
import runpy
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from active_learn.errors import ModelError
from active_learn.heads import Answer, TrainedHead, fit_head, load_heads, save_heads
from active_learn_backend.errors import ContentError, SettingsError, StoreError
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.export import ExportedModel, export_controls, head_part
from active_learn_backend.learning.selection.project_params import learned_task
from active_learn_backend.learning.user_models import load_own_model
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.state.round_report import (
    ControlReport,
    Estimate,
    Evaluation,
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from PIL import Image
from tiny_models import WORDS, save_bert, save_vit

pytestmark = pytest.mark.usefixtures("clean_environment")

TEXT = '<Text name="t" value="$text"/>'
IMAGE = '<Image name="t" value="$image"/>'
NUMBER = '<Number name="n" toName="t" min="0" max="9"/>'
TEXTS = [
    f"{a} {b} {c} " * (1 + at % 3) for at, a in enumerate(WORDS) for b in WORDS[:2] for c in "xy"
]


def choices(choice: str = "single", labels: Sequence[str] = ("red", "blue", "never")) -> str:
    tags = "".join(f'<Choice value="{label}"/>' for label in labels)
    return f'<Choices name="c" toName="t" choice="{choice}">{tags}</Choices>'


def png(address: str) -> bytes:
    """Return a picture of random squares; one address stands for each."""
    if not address.isdigit():
        raise ContentError("it is gone")
    drawn = np.random.default_rng(int(address))
    small = Image.fromarray(drawn.integers(256, size=(5, 7, 3), dtype=np.uint8))
    file = io.BytesIO()
    small.resize((50 + int(address), 40), Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


class Project:
    """A project in the state, whose heads are trained on labels by a rule."""

    def __init__(
        self,
        folder: Path,
        controls: str,
        contents: Sequence[Mapping[str, Any]],
        rules: Mapping[str, Callable[[int], Any]],
        objects: str = TEXT,
        **values: Any,
    ) -> None:
        self.settings = load_settings(model_dir=folder / "state", **values)
        self.settings.model_dir.mkdir()
        self.config, self.contents = f"<View>{objects}{controls}</View>", contents
        self.task = learned_task(self.config, self.settings)
        self.store = Store(self.settings.store_url)
        self.store.register(1, self.config)
        embedder = TaskEmbedder(self.settings, 1, self.task, png)
        self.vectors, failed = embedder.encoder.encode(contents)
        assert not failed
        labels = [{name: rule(at) for name, rule in rules.items()} for at in range(len(contents))]
        heads = {}
        for one in self.task.controls:
            if one.from_name in embedder.fixed_heads:
                continue
            heads[one.from_name] = fit_head(
                one.problem_type,
                one.labels,
                embedder.features(one.from_name, self.vectors)[:],
                [label[one.from_name] for label in labels],
                round=1,
                bounds=one.bounds,
                encoder=embedder.read_by(one.from_name)[0],
            )
        save_heads(heads_folder(self.settings, 1), heads)  # type: ignore[arg-type]
        rows = [
            TaskRow(at + 1, content, self.task.content_key(content), labels[at], False)
            for at, content in enumerate(contents)
        ]
        apply_changes(self.store, 1, rows, replace=True)
        self.store.update(1, head_round=1)
        self.features = {
            one.from_name: embedder.features(one.from_name, self.vectors)[:]
            for one in self.task.controls
        }

    def head(self, control: str) -> TrainedHead:
        return load_heads(heads_folder(self.settings, 1), 1)[control]

    def export(self, folder: Path, control: str = "") -> list[ExportedModel]:
        return export_controls(self.settings, self.store, 1, folder, png, control=control)

    def answers(self, control: str) -> list[Answer]:
        return self.head(control).predict(self.features[control])

    def given_back(self, path: Path, settings: Settings | None = None) -> list[Answer]:
        """Return the answers of the exported file as MODEL."""
        values = {"model": str(path), "model_use": "as-is"}
        own = load_own_model(self.settings.model_copy(update=values), self.task, png)
        vectors, failed = own.encode(self.contents)
        head = own.head()
        assert not failed
        assert head is not None
        return head.predict(vectors)


def same(found: Sequence[Answer], expected: Sequence[Answer]) -> None:
    """Compare answers to 1e-5."""
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        if isinstance(other.label, float):
            assert one.label == pytest.approx(other.label, abs=1e-5 * 9)
        else:
            assert one.label == other.label


def run_example(folder: Path, *arguments: str) -> Any:
    """Run the example, and return what it prints."""
    said = io.StringIO()
    path = str(folder / "example.py")
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(said):
        patch.setattr(sys, "argv", [path, *arguments])
        runpy.run_path(path)
    return json.loads(said.getvalue())


def run_alone(folder: Path, *arguments: str) -> Any:
    """Run the example in a process that finds nothing of ours, from another folder."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0]);"
        "assert not any(name.startswith('active_learn') for name in sys.modules)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder / "example.py"), *arguments],
        capture_output=True,
        text=True,
        cwd="/",
        env=environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def color(at: int) -> str:
    return ("red", "blue")[at % 2]


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    return save_bert(tmp_path / "bert")


def texts(*more: str) -> list[dict[str, Any]]:
    return [{"text": text} for text in [*TEXTS, *more]]


def test_texts_without_a_model_for_two_controls(tmp_path: Path) -> None:
    """Each has a folder; the example and the file as MODEL answer as encoder and head do."""
    project = Project(
        tmp_path,
        choices() + NUMBER,
        texts("Ünïcode: 東京 ß naïve!", "a", "  tabs\tand\nlines  "),
        {"c": color, "n": lambda at: at % 10},
    )
    estimate = Estimate("audit", "accuracy", 0.9, 0.7, 0.98, 20, 20, "exact interval")
    found = ControlReport("c", evaluation=Evaluation(audit=estimate))
    report = RoundReport(1, labeled=47, head_version="head-1", controls=(found,))
    finish_round(project.store, 1, report, labels=0, tasks=0)
    written = project.export(tmp_path / "out")
    assert [(one.control, one.folder.name) for one in written] == [("c", "c"), ("n", "n")]
    assert all(one.compared.difference <= 1e-5 for one in written)
    assert all(0 < one.compared.from_stored < 5e-3 for one in written)
    for control in ("c", "n"):
        found = project.given_back(tmp_path / "out" / control / "model.onnx")
        bounded = [max(0.0, min(9.0, a.label)) for a in found] if control == "n" else None
        same(
            [Answer(label, None) for label in bounded] if bounded else found,
            project.answers(control),
        )
    assert {answer.label for answer in project.answers("c")} == {"red", "blue"}
    answer = project.answers("c")[5]
    assert run_alone(tmp_path / "out" / "c", project.contents[5]["text"]) == {
        "label": answer.label,
        "probability": pytest.approx(answer.score, abs=1e-5),
    }
    card = (tmp_path / "out" / "c" / "README.md").read_text()
    assert "| red | 24 | 0 |" in card
    assert "By 20 audit labels: accuracy 0.900, with 95 % confidence from 0.700 to 0.980" in card
    assert "It is not measured" in (tmp_path / "out" / "n" / "README.md").read_text()
    assert "Never answered, as the head has seen no example: never." in card


def test_a_hugging_face_encoder_of_texts(tmp_path: Path, bert: Path) -> None:
    project = Project(
        tmp_path,
        choices("multiple", ("red", "blue")),
        texts(),
        {"c": lambda at: [color(at)] if at % 3 else ["red", "blue"]},
        encoder=str(bert),
    )
    project.export(tmp_path / "out")
    same(project.given_back(tmp_path / "out" / "model.onnx"), project.answers("c"))
    answer = project.answers("c")[7]
    found = run_example(tmp_path / "out", TEXTS[7])
    assert [label for label in ("red", "blue") if label in found["labels"]] == answer.label
    least = min(max(share, 1 - share) for share in found["probabilities"].values())
    assert least == pytest.approx(answer.score, abs=1e-5)


@pytest.mark.parametrize("encoder", ["", "vit"])
def test_images(tmp_path: Path, encoder: str) -> None:
    path = str(save_vit(tmp_path / "vit")) if encoder else ""
    contents = [{"image": str(at)} for at in range(30)]
    project = Project(tmp_path, choices(), contents, {"c": color}, objects=IMAGE, encoder=path)
    project.export(tmp_path / "out")
    same(project.given_back(tmp_path / "out" / "model.onnx"), project.answers("c"))
    (tmp_path / "3.png").write_bytes(png("3"))
    answer = project.answers("c")[3]
    assert run_example(tmp_path / "out", str(tmp_path / "3.png")) == {
        "label": answer.label,
        "probability": pytest.approx(answer.score, abs=1e-5),
    }


def test_two_texts_and_an_image_are_one_graph(tmp_path: Path, bert: Path) -> None:
    objects = TEXT + '<Text name="u" value="$more"/><Image name="i" value="$image"/>'
    contents = [{"text": t, "more": t[::-1], "image": str(at)} for at, t in enumerate(TEXTS)]
    project = Project(
        tmp_path, choices(), contents, {"c": color}, objects=objects, encoder=str(bert)
    )
    project.export(tmp_path / "out")
    same(project.given_back(tmp_path / "out" / "model.onnx"), project.answers("c"))
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    assert {one.name.split("_")[0] for one in session.get_inputs()} == {
        "field1",
        "field2",
        "field3",
    }


@pytest.mark.parametrize("kind", ["folder", "onnx"])
def test_the_teams_own_model_as_an_encoder(tmp_path: Path, kind: str) -> None:
    """The ONNX file is one that was exported: its last layer is replaced by our head."""
    classifier = save_bert(tmp_path / "own", "BertForSequenceClassification")
    values = {"model": str(classifier), "model_use": "encoder"}
    first = Project(tmp_path, choices(), texts(), {"c": color}, **values)
    first.export(tmp_path / "out")
    project, folder = first, tmp_path / "out"
    if kind == "onnx":
        (tmp_path / "second").mkdir()
        values["model"] = str(folder / "model.onnx")
        project = Project(
            tmp_path / "second", choices(), texts(), {"c": lambda at: color(at // 2)}, **values
        )
        folder = tmp_path / "again"
        project.export(folder)
    same(project.given_back(folder / "model.onnx"), project.answers("c"))


def test_a_head_on_random_cosines(tmp_path: Path) -> None:
    """A part that only passes its input on shows what the head alone computes."""
    drawn = np.random.default_rng(0).uniform(-2, 2, (200, 3)).astype(np.float32)
    head = fit_head(
        "regression", (), drawn, np.sin(3 * drawn[:, 0]).tolist(), round=1, bounds=(-0.9, 0.9)
    )
    assert head is not None
    assert head.cosines is not None
    nodes = head_part.Nodes("")
    vectors = nodes.add("Identity", nodes.input("x", 3))
    part = head_part.GraphPart.of_nodes(nodes, vectors, [])
    session = onnxruntime.InferenceSession(head_part.build_model([part], head).SerializeToString())
    found = session.run(["prediction"], {"x": 10 * drawn})[0][:, 0]
    expected = [answer.label for answer in head.predict(10 * drawn)]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert (np.abs(found) <= 0.9).all()
    assert np.ptp(found) > 0.5


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    project = Project(tmp_path, choices(), texts(), {"c": color})
    with pytest.raises(SettingsError, match=r"--control names 'x'.*expected one of: c"):
        project.export(tmp_path / "out", control="x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(SettingsError, match="is there and not empty; name a new folder"):
        project.export(tmp_path / "full")
    project.store.update(1, head_round=0)
    with pytest.raises(StoreError, match="the project has no trained head"):
        project.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_used_as_it_is_and_a_factory_are_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {"id2label": {0: "red", 1: "blue"}, "label2id": {"red": 0, "blue": 1}}
    classifier = save_bert(tmp_path / "own", "BertForSequenceClassification", **ids)
    task = choices(labels=("red", "blue"))
    own = Project(
        tmp_path,
        task + NUMBER,
        texts(),
        {"c": color, "n": lambda at: 3.0 + at % 2},
        model=str(classifier),
    )
    # The number has a head on the model's embeddings, and the choices are its own.
    (written,) = own.export(tmp_path / "out")
    assert written.control == "n"
    with pytest.raises(SettingsError, match="your own model answers as it is"):
        own.export(tmp_path / "other", control="c")


def test_videos_are_refused_in_words(tmp_path: Path) -> None:
    series = (
        '<TimeSeries name="t" value="$rows" valueType="json"><Channel column="a"/></TimeSeries>'
    )
    contents = [{"rows": json.dumps({"a": [at % 2, at, 3.0]})} for at in range(8)]
    project = Project(tmp_path, choices(), contents, {"c": color}, objects=series)
    with pytest.raises(SettingsError, match="'rows' of the labeling config is time series"):
        project.export(tmp_path / "out")


def test_a_graph_that_answers_otherwise_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = Project(tmp_path, choices(), texts(), {"c": color})

    def wrong(head: TrainedHead) -> tuple[np.ndarray, np.ndarray]:
        weight, bias = calibrated(head)
        return weight, bias + np.arange(len(bias), dtype=np.float32)

    calibrated = head_part._calibrated
    monkeypatch.setattr(head_part, "_calibrated", wrong)
    with pytest.raises(ModelError, match="answers otherwise than encoder and head: by up to"):
        project.export(tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []
