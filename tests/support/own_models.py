"""Labels, contents and settings, with which tests load an own model and ask it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from active_learn_backend.errors import ContentError
from active_learn_backend.labeling.config import LabelingTask, parse_label_config
from active_learn_backend.learning.user_models import OwnModel, load_own_model
from active_learn_backend.settings import Settings
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

LABELS = ("Card", "Rate", "Top up")
TEXTS = ["card lost", "why is my card lost", "exchange rate", "top up failed why", "my"]


def choices(*tags: str, choice: str = "single", objects: str = "") -> LabelingTask:
    shown = objects or '<Text name="t" value="$text"/>'
    return parse_label_config(
        f'<View>{shown}<Choices name="c" toName="t" choice="{choice}">{"".join(tags)}</Choices>'
        "</View>"
    )


def named(*labels: str) -> list[str]:
    return [f'<Choice value="{label}"/>' for label in labels]


def number(objects: str = "") -> LabelingTask:
    shown = objects or '<Text name="t" value="$text"/>'
    return parse_label_config(f'<View>{shown}<Number name="n" toName="t"/></View>')


CLASSES = choices(*named(*LABELS))
IMAGE = '<Image name="t" value="$image"/>'
IMAGES = choices(*named(*LABELS), objects=IMAGE)
PAIR = '<Text name="t" value="$text"/><Text name="u" value="$other"/>'
IDS = {"id2label": dict(enumerate(LABELS)), "label2id": {k: i for i, k in enumerate(LABELS)}}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(20, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def load(address: str) -> bytes:
    if not address.isdigit():
        raise ContentError("it is gone")
    return png(int(address))


def settings_of(folder: Path, model: Path | str, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", model=str(model), **values)


def own(folder: Path, model: Path | str, task: LabelingTask = CLASSES, **values: Any) -> OwnModel:
    return load_own_model(settings_of(folder, model, **values), task, load)


def answers(model: OwnModel, contents: list[dict[str, Any]]) -> tuple[np.ndarray, list[Any]]:
    """Logits and answers by way of what the cache holds."""
    vectors, failed = model.encode(contents)
    assert not failed
    stored = vectors.astype(np.float16).astype(np.float32)
    head = model.head()
    assert head is not None
    logits, _ = head.sampler_model()(stored)
    return logits, head.predict(stored)


def texts(*fields: str) -> list[dict[str, Any]]:
    return [dict.fromkeys(fields or ("text",), text) for text in TEXTS]


# -- Hugging Face folders -------------------------------------------------------------------------


def bert_logits(folder: Path, *columns: Sequence[str]) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [model(**tokenizer(*row, return_tensors="pt")).logits for row in zip(*columns)]  # noqa: B905
    return torch.cat(rows).numpy()


# -- files ----------------------------------------------------------------------------------------


def onnx_file(path: Path, nodes: list[Any], inputs: list[Any], **tensors: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "classifier",
        inputs,
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path
