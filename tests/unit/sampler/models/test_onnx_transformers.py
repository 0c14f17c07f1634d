"""Hugging Face classifiers as ONNX files, as optimum exports them, with their processors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from active_learn import ActiveSampler
from active_learn.errors import DataError, ModelError, ParameterError
from active_learn.models import adapt
from onnxruntime.quantization import quantize_dynamic
from PIL import Image
from tiny_models import WORDS, save_bert, save_onnx, save_vit

AutoTokenizer = transformers.AutoTokenizer
RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, size=k)) for k in RNG.integers(1, 9, 20)]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path, Any]:
    """Return a classifier, its ONNX file, and its tokenizer."""
    top = tmp_path_factory.mktemp("bert")
    source = save_bert(top / "torch", "BertForSequenceClassification", num_labels=3)
    auto = transformers.AutoModelForSequenceClassification
    folder = save_onnx(top / "onnx", source, auto)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.model_max_length = 32
    return auto.from_pretrained(source).eval(), folder / "model.onnx", tokenizer


@pytest.mark.parametrize("samples", [TEXTS, list(zip(TEXTS, TEXTS[::-1], strict=True))])
def test_texts_and_pairs_with_a_tokenizer(bert: Any, samples: list[Any]) -> None:
    module, path, tokenizer = bert
    expected = adapt((module, tokenizer))(samples)
    for batch_size in (1, 7, "auto"):
        adapter = adapt((path, tokenizer), batch_size=batch_size)
        found = adapter(samples)
        torch.testing.assert_close(found.logits, expected.logits, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
    rebuilt = found.embedding @ adapter.weight.T + adapter.bias
    torch.testing.assert_close(rebuilt, found.logits)


def test_the_same_texts_are_selected(bert: Any) -> None:
    module, path, tokenizer = bert
    chosen = [
        ActiveSampler("classification", (model, tokenizer), 5, strategy="margin").select(TEXTS)
        for model in (module, path, str(path), path.read_bytes(), onnx.load(path))
    ]
    assert all(texts == chosen[0] for texts in chosen)
    tokens = dict(tokenizer(TEXTS, padding=True, return_tensors="np"))
    torch.testing.assert_close(
        adapt((path, tokenizer))(tokens).logits, adapt((path, tokenizer))(TEXTS).logits
    )


def test_it_can_be_pickled(bert: Any) -> None:
    _, path, tokenizer = bert
    adapter = adapt((path, tokenizer))
    again = pickle.loads(pickle.dumps(adapter))  # our own bytes, as adapters go to workers
    assert torch.equal(again(TEXTS).logits, adapter(TEXTS).logits)


def test_texts_of_a_quantized_file_do_not_depend_on_their_batch(bert: Any, tmp_path: Path) -> None:
    """Its scales are those of the batch, so that each text runs alone."""
    _, path, tokenizer = bert
    quantize_dynamic(path, tmp_path / "q.onnx")
    found = adapt((tmp_path / "q.onnx", tokenizer))(TEXTS)
    for i in (0, 7, 19):
        alone = adapt((tmp_path / "q.onnx", tokenizer))(TEXTS[i : i + 1])
        assert torch.equal(alone.logits, found.logits[i : i + 1])


def test_a_file_of_one_length_gets_texts_of_that_length(bert: Any, tmp_path: Path) -> None:
    module, path, tokenizer = bert
    model = onnx.load(path)
    for one in model.graph.input:
        one.type.tensor_type.shape.dim[1].dim_value = 6
    short = [" ".join(text.split()[:4]) for text in TEXTS]  # with [CLS] and [SEP]
    expected = adapt((module, tokenizer))(short).logits
    found = adapt((model, tokenizer))(TEXTS).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_images_with_an_image_processor(tmp_path: Path) -> None:
    source = save_vit(tmp_path / "torch", "ViTForImageClassification", num_labels=3)
    auto = transformers.AutoModelForImageClassification
    folder = save_onnx(tmp_path / "onnx", source, auto)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    pixels = RNG.integers(256, size=(6, 20, 20, 3), dtype=np.uint8)
    images = [Image.fromarray(one) for one in pixels]
    expected = adapt((auto.from_pretrained(source).eval(), processor))(images).logits
    for samples in (images, [{"image": image, "label": 0} for image in images]):
        found = adapt((folder / "model.onnx", processor))(samples).logits
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_what_does_not_fit_is_refused_by_name(bert: Any) -> None:
    _, path, tokenizer = bert
    with pytest.raises(DataError, match=r"takes 2 inputs .*; for texts give \(file, tokenizer\)"):
        adapt(path)(TEXTS)
    with pytest.raises(ModelError, match="with an image processor expected one input, the pixels"):
        adapt((path, transformers.ViTImageProcessor()))
    with pytest.raises(ModelError, match="comes with a dict; expected its tokenizer or its image"):
        adapt((path, {}))
    model = onnx.load(path)
    for holder in (model.graph.input[0], *model.graph.node):
        if holder is model.graph.input[0]:
            holder.name = "tokens"
        else:
            names = ["tokens" if name == "input_ids" else name for name in holder.input]
            holder.ClearField("input")
            holder.input.extend(names)
    with pytest.raises(ModelError, match=r"takes tokens, .* expected inputs called as it calls"):
        adapt((model, tokenizer))
    for other in (path, (path, tokenizer), lambda batch: batch):
        with pytest.raises(ParameterError, match="layer= names a linear layer of a PyTorch module"):
            adapt(other, layer="classifier")
