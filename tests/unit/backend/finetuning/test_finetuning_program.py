"""Fine-tuning of tiny models: what is trained on, what comes out, and interrupted runs."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn.errors import DataError
from active_learn.models import adapt
from active_learn_backend.errors import SettingsError
from active_learn_backend.finetuning import training
from active_learn_backend.finetuning.__main__ import main
from active_learn_backend.finetuning.examples import Example, Task, held_out_rows, read_examples
from active_learn_backend.finetuning.losses import class_weights
from active_learn_backend.finetuning.starting_model import find_start, load_start
from active_learn_backend.finetuning.training import Options, fine_tune
from active_learn_backend.labeling.data_objects import Field
from active_learn_backend.learning.encoders.content_reader import run_each
from active_learn_backend.learning.encoders.transformer_text import TransformerTextEncoder
from active_learn_backend.learning.user_models.hugging_face import load_folder
from active_learn_backend.settings import load_settings
from PIL import Image
from safetensors.torch import load_file
from tiny_models import WORDS, save_bert, save_vit

CPU = torch.device("cpu")
CLASSES = {"card lost": ["card", "lost"], "rates": ["rate", "exchange"], "top-up": ["top", "up"]}
TEXT = {"name": "text", "type": "text"}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Keep what the program sets for its own process out of the other tests."""
    logging = transformers.utils.logging
    level = logging.get_verbosity()
    logging.disable_progress_bar()
    yield
    logging.set_verbosity(level)
    logging.enable_progress_bar()


def write_data(folder: Path, rows: list[dict[str, Any]], **described: Any) -> Path:
    (folder / "files").mkdir(parents=True)
    labels = {"problem_type": "classification", "labels": list(CLASSES), "fields": [TEXT]}
    (folder / "labels.json").write_text(json.dumps({"control": "c", **labels, **described}))
    lines = [json.dumps({"id": number, **row}) for number, row in enumerate(rows)]
    (folder / "tasks.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder


def texts(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Return texts of four words of their class and one of any, with the class."""
    rng = np.random.default_rng(seed)
    others = [word for word in WORDS if not any(word in words for words in CLASSES.values())]
    found = []
    for number in range(n):
        label = list(CLASSES)[number % 3]
        words = [*rng.choice(CLASSES[label], 4), rng.choice(others)]
        found.append((" ".join(rng.permutation(words)), label))
    return found


def text_rows(n: int) -> list[dict[str, Any]]:
    return [
        {"content": {"text": text}, "label": label, "split": "train"} for text, label in texts(n)
    ]


def train(data: Path, start: Path, into: Path, method: Any = "lora", **options: Any) -> list[str]:
    lines: list[str] = []
    checkpoints = into.with_name(f"{into.name}-checkpoints")
    fine_tune(data, start, into, checkpoints, Options(method, **options), CPU, lines.append)
    return lines


def answers(folder: Path, samples: list[Any]) -> list[Any]:
    """Return the answers of a model as the backend loads it."""
    loaded = load_folder("trained", folder, CPU)
    logits = run_each(lambda rows: loaded.adapter(rows).logits.numpy(), samples)
    assert loaded.classes is not None
    return [loaded.classes[int(np.argmax(row))] for row in logits]


def classifier(folder: Path) -> Path:
    """A classifier whose classes are the labels, written otherwise and in another order."""
    names = ["TOP-UP", "card_lost", "Rates"]
    ids = dict(enumerate(names))
    return save_bert(
        folder, "BertForSequenceClassification", id2label=ids,
        label2id={name: at for at, name in ids.items()},
    )  # fmt: skip


def accuracy(folder: Path) -> float:
    held = texts(60, seed=1)
    plain = [
        answer.casefold().replace("_", " ") for answer in answers(folder, [t for t, _ in held])
    ]
    return float(np.mean([answer == label for answer, (_, label) in zip(plain, held, strict=True)]))


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_classifier_learns_and_keeps_its_form(tmp_path: Path, method: str) -> None:
    start = classifier(tmp_path / "start")
    data = write_data(tmp_path / "data", text_rows(60))
    lines = train(data, start, tmp_path / "new", method, epochs=6, class_weight="balanced")
    assert accuracy(tmp_path / "new") > accuracy(start) + 0.2
    before, after = (load_file(f / "model.safetensors") for f in (start, tmp_path / "new"))
    assert {name: t.shape for name, t in before.items()} == {n: t.shape for n, t in after.items()}
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["id2label"] == {"0": "top-up", "1": "card lost", "2": "rates"}
    embedded = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(before[embedded], after[embedded]) == (method == "lora")
    shares = [float(line.removeprefix("progress: ")) for line in lines if "progress" in line]
    assert shares == sorted(shares)
    assert shares[-1] <= 1


def test_where_no_epoch_is_better_than_the_start_the_start_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is fitted on the encoder is the least that comes out."""
    monkeypatch.setitem(training.LEARNING_RATE, "lora", 10.0)  # no epoch is of use
    start = save_bert(tmp_path / "start")
    data = write_data(tmp_path / "data", text_rows(60))
    lines = train(data, start, tmp_path / "new", epochs=1)
    losses = [float(line.split()[-1]) for line in lines if "held-out loss" in line[:24]]
    assert len(losses) == 2
    assert losses[0] < losses[1]
    assert "no epoch is better than the start" in lines[-1]
    made = load_file(tmp_path / "new" / "model.safetensors")
    kept = load_file(start / "model.safetensors")
    assert all(torch.equal(made[f"bert.{n}"], kept[n]) for n in kept if "pooler" not in n)


def test_an_encoder_gets_a_head_with_the_labels_of_the_config(tmp_path: Path) -> None:
    start = save_bert(tmp_path / "start")
    offered = [*CLASSES, "never seen"]
    data = write_data(tmp_path / "data", text_rows(60), labels=offered)
    lines = train(data, start, tmp_path / "new", epochs=3)
    assert "a new head is fitted on the model as it is" in lines
    assert accuracy(tmp_path / "new") > 0.6
    assert load_folder("trained", tmp_path / "new", CPU).classes == tuple(offered)


@pytest.mark.parametrize(("length", "pooled"), [(3, "mean"), (2, "cls")])
def test_a_new_classifier_reads_what_the_encoder_gives(
    tmp_path: Path, length: int, pooled: str
) -> None:
    """Its head starts on the vectors that the head of the backend learns on."""
    folder = save_bert(tmp_path / "bert")
    (folder / "modules.json").write_text(
        json.dumps([{"type": "m.Transformer", "path": ""}, {"type": "m.Pooling", "path": "1_P"}])
    )
    (folder / "1_P").mkdir()
    (folder / "1_P" / "config.json").write_text(json.dumps({"pooling_mode": pooled}))
    start = load_start(folder, TASK, CPU)
    assert start.model.config.num_hidden_layers == length
    samples = [text for text, _ in texts(9)] + ["my card"]
    embedding = adapt((start.model, start.processor))(samples).embedding
    inner = torch.nn.functional.normalize(torch.atanh(embedding), dim=1)
    vectors = torch.tensor(TransformerTextEncoder(folder, CPU).encode(samples))
    same = bool(((inner * vectors).sum(dim=1) > 0.999).all())
    assert same == (pooled == "mean")


def test_a_classifier_of_other_classes_gets_a_new_head(tmp_path: Path) -> None:
    start = classifier(tmp_path / "start")
    config = json.loads((start / "config.json").read_text())
    config["id2label"] = {"0": "a", "1": "b", "2": "c"}
    (start / "config.json").write_text(json.dumps(config))
    lines = train(write_data(tmp_path / "data", text_rows(60)), start, tmp_path / "new", epochs=2)
    assert "a new head is fitted on the model as it is" in lines
    assert accuracy(tmp_path / "new") > 0.6


def test_an_image_classifier_leaves_out_what_cannot_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    rows = []
    (tmp_path / "data").mkdir()
    for number in range(40):
        pixels = rng.integers(0, 256, (16, 16, 3))
        pixels[:, :, number % 2] //= 8  # little red, or little green
        name = f"files/{number}.png"
        rows.append({"content": {"image": name}, "label": "rg"[number % 2], "split": "train"})
    data = write_data(
        tmp_path / "data" / "images", rows, labels=["r", "g"],
        fields=[TEXT, {"name": "image", "type": "image"}],
    )  # fmt: skip
    for number in range(40):
        pixels = rng.integers(0, 256, (16, 16, 3))
        pixels[:, :, number % 2] //= 8
        Image.fromarray(pixels.astype(np.uint8)).save(data / "files" / f"{number}.png")
    (data / "files" / "7.png").write_bytes(b"no image")
    lines = train(data, save_vit(tmp_path / "start"), tmp_path / "new", epochs=3)
    assert "task 7 is left out" in caplog.text
    counts = [int(number) for number in re.findall(r"\d+", lines[0])]
    assert sum(counts) == 39
    loaded = load_folder("trained", tmp_path / "new", CPU)
    field = (Field("image", "image"),)
    images = [loaded.inputs.prepare(field, [(data / row["content"]["image"]).read_bytes()])
              for number, row in enumerate(rows) if number != 7]  # fmt: skip
    truth = [row["label"] for number, row in enumerate(rows) if number != 7]
    found = answers(tmp_path / "new", images)
    assert np.mean([one == label for one, label in zip(found, truth, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("problem", "labels", "label", "written"),
    [
        (
            "multilabel",
            list(CLASSES),
            lambda n: list(CLASSES)[: n % 3],
            "multi_label_classification",
        ),
        ("regression", [], lambda n: 10.0 * (n % 3), "regression"),
    ],
)
def test_other_problems_than_classes(
    tmp_path: Path, problem: str, labels: list[str], label: Any, written: str
) -> None:
    rows = [{**row, "label": label(number)} for number, row in enumerate(text_rows(45))]
    data = write_data(tmp_path / "data", rows, problem_type=problem, labels=labels)
    start = save_bert(tmp_path / "start")
    train(data, start, tmp_path / "new", epochs=3, class_weight="balanced")
    loaded = load_folder("trained", tmp_path / "new", CPU)
    logits = loaded.adapter([text for text, _ in texts(45)]).logits.numpy()
    if problem == "regression":
        off = np.abs(logits[:, 0] - [row["label"] for row in rows]).mean()
        assert off < 5  # the mean of the labels is off by 6.7
    else:
        truth = np.array([[name in row["label"] for name in labels] for row in rows])
        assert ((logits > 0) == truth).mean() > 0.8
    assert json.loads((tmp_path / "new" / "config.json").read_text())["problem_type"] == written


def test_audit_tasks_change_nothing_and_seeds_are_fixed(tmp_path: Path) -> None:
    """Not even a content or a label is looked at that is no task of the training."""
    start = save_bert(tmp_path / "start")
    rows = text_rows(45)
    poison: dict[str, Any] = {"content": None, "label": ["rates"], "split": "audit"}
    plain = write_data(tmp_path / "plain", rows)
    with_audit = write_data(tmp_path / "audited", rows)
    lines = (with_audit / "tasks.jsonl").read_text()
    (with_audit / "tasks.jsonl").write_text(json.dumps({"id": 99, **poison}) + "\n" + lines)
    train(plain, start, tmp_path / "a", epochs=2)
    train(with_audit, start, tmp_path / "b", epochs=2)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


class Killed(BaseException):
    """As a signal ends a run."""


def test_a_killed_run_is_taken_up_where_its_last_epoch_ended(tmp_path: Path) -> None:
    start = classifier(tmp_path / "start")
    data = write_data(tmp_path / "data", text_rows(60))

    def end(line: str) -> None:
        if line.startswith("epoch 3: training"):
            raise Killed  # all that goes on is what lies on disk then

    with pytest.raises(Killed):
        fine_tune(
            data, start, tmp_path / "new", tmp_path / "new-checkpoints", Options(epochs=4), CPU, end
        )
    assert not (tmp_path / "new").exists()
    (half,) = (tmp_path / "new-checkpoints").glob("*")
    (half / "checkpoint-999").mkdir()  # one that was not written to its end

    lines = train(data, start, tmp_path / "new", epochs=4)
    assert any(line.startswith("goes on from checkpoint-") for line in lines)
    assert not any(line.startswith(("epoch 1:", "epoch 2:")) for line in lines)
    train(data, start, tmp_path / "whole", epochs=4)
    went_on, whole = (load_file(tmp_path / n / "model.safetensors") for n in ("new", "whole"))
    assert all(torch.allclose(went_on[name], whole[name], atol=1e-6) for name in whole)


def test_the_program_says_in_one_line_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["finetuning"])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,4")
    monkeypatch.setenv("TRAIN_DATA", str(tmp_path / "data"))
    monkeypatch.delenv("TRAIN_OUTPUT", raising=False)
    with pytest.raises(
        SystemExit, match=r"^the training failed: TRAIN_OUTPUT is not set; the back"
    ):
        main()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    for name in ("TRAIN_OUTPUT", "TRAIN_CHECKPOINT"):
        monkeypatch.setenv(name, str(tmp_path / name))
    with pytest.raises(SystemExit, match=r"^the training failed: .*labels.json cannot be read"):
        main()
    write_data(tmp_path / "data", text_rows(4))
    with pytest.raises(
        SystemExit, match=r"^the training failed: there is no model to start from; "
    ):
        main()
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(SystemExit, match=r"needs peft, which .*: pip install '.*\[train\]'$"):
        main()


TASK = Task("classification", tuple(CLASSES), (Field("text", "text"),))


def test_what_cannot_be_started_from_is_named(tmp_path: Path) -> None:
    settings = load_settings(model_dir=tmp_path)
    file = tmp_path / "model.onnx"
    file.write_bytes(b"")
    with pytest.raises(SettingsError, match="is a file; name a folder, or train by TRAIN_COMMAND"):
        find_start(str(file), TASK, settings)
    vit = save_vit(tmp_path / "vit")
    with pytest.raises(SettingsError, match="reads none of what the tasks show \\(text\\)"):
        find_start(str(vit), TASK, settings)
    bert = save_bert(tmp_path / "bert")
    assert find_start(f"{vit},{bert}", TASK, settings) == bert
    with pytest.raises(SettingsError, match=r"'none/..' cannot be used: it is no model below"):
        find_start("none/..", TASK, settings)
    assert find_start("minilm", TASK, settings).is_dir()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["rates"] * 4, "there are 4 training labels, and at least 10 are needed"),
        (["rates"] * 12, "all training labels are the same"),
        (["gone", "rates"] * 6, "there are 6 training labels"),
    ],
)
def test_too_little_to_learn_from_is_said(tmp_path: Path, labels: list[str], message: str) -> None:
    rows = [{"content": {"text": "a"}, "label": label, "split": "train"} for label in labels]
    with pytest.raises(DataError, match=message):
        read_examples(write_data(tmp_path / "data", rows), TASK)


def test_damaged_data_is_said_with_its_line(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", text_rows(12))
    with (data / "tasks.jsonl").open("a") as file:
        file.write("{no json\n")
    with pytest.raises(DataError, match=r"line 13 of tasks.jsonl is damaged"):
        read_examples(data, TASK)


def test_a_task_that_is_held_out_once_always_is() -> None:
    """A later training may start from the model of an earlier one."""
    examples = [Example(number, {}, "rates") for number in range(1000)]
    held = held_out_rows(examples)
    assert 90 < held.sum() < 160
    later = [*examples[300:], *(Example(number, {}, "rates") for number in range(1000, 1100))]
    assert (held_out_rows(later)[:700] == held[300:]).all()
    assert [held_out_rows(examples[at : at + 10]).sum() >= 2 for at in range(0, 100, 10)]


def test_rare_classes_weigh_more_but_not_without_end() -> None:
    targets = torch.tensor([0] * 90 + [1] * 9 + [2])
    weights = class_weights("classification", targets, 4)
    assert weights[1] / weights[0] == pytest.approx(10)
    assert weights[2] == weights.max() == 10
    sides = class_weights("multilabel", torch.tensor([[1.0, 0.0]] * 3 + [[0.0, 1.0]]), 2)
    assert sides.tolist() == pytest.approx([1 / 3, 3])
