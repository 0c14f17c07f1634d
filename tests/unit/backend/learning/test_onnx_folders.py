"""Folders of classifiers whose weights are an ONNX file, as optimum writes them, as MODEL."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers
from active_learn_backend.errors import SettingsError
from onnxruntime.quantization import quantize_dynamic
from own_models import IDS, IMAGES, LABELS, PAIR, TEXTS, answers, choices, named, own, texts
from tiny_models import save_bert, save_onnx, save_vit

OF_TEXTS = transformers.AutoModelForSequenceClassification


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same classifier of texts in PyTorch and in ONNX."""
    top = tmp_path_factory.mktemp("models")
    source = save_bert(top / "torch", "BertForSequenceClassification", **IDS)
    return source, save_onnx(top / "onnx", source, OF_TEXTS)


def test_a_sequence_classifier_answers_as_in_pytorch(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    (expected, told), (logits, found) = (answers(own(tmp_path, f), texts()) for f in folders)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert [answer.label for answer in found] == [answer.label for answer in told]
    long = [{"text": "card lost is rate " * 12}]  # longer than the model takes
    cut = [answers(own(tmp_path, folder), long)[0] for folder in folders]
    np.testing.assert_allclose(cut[1], cut[0], atol=1e-4)
    pairs = [{"text": a, "other": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    task = choices(*named(*LABELS), objects=PAIR)
    both = [answers(own(tmp_path, folder, task), pairs)[0] for folder in folders]
    np.testing.assert_allclose(both[1], both[0], atol=1e-4)
    vectors = [own(tmp_path, f, model_use="encoder").encode(texts())[0] for f in folders]
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-4)
    assert own(tmp_path, folders[0]).fingerprint != own(tmp_path, folders[1]).fingerprint


def test_a_quantized_file_alone_or_one_of_two(folders: tuple[Path, Path], tmp_path: Path) -> None:
    folder = tmp_path / "quantized"
    folder.mkdir()
    for file in folders[1].iterdir():
        if file.suffix != ".onnx":
            (folder / file.name).write_bytes(file.read_bytes())
    quantize_dynamic(folders[1] / "model.onnx", folder / "model_quantized.onnx")
    model = own(tmp_path, folder)
    whole = answers(model, texts())[0]
    alone = answers(model, texts()[:1])[0]
    np.testing.assert_array_equal(whole[:1], alone)
    (folder / "model.onnx").write_bytes((folders[1] / "model.onnx").read_bytes())
    with pytest.raises(SettingsError, match=r"several ONNX files \(model.onnx, model_quantized"):
        own(tmp_path, folder)


def test_an_image_classifier_answers_as_in_pytorch(tmp_path: Path) -> None:
    source = save_vit(tmp_path / "torch", "ViTForImageClassification", **IDS)
    folder = save_onnx(tmp_path / "onnx", source, transformers.AutoModelForImageClassification)
    contents = [{"image": str(at)} for at in range(4)]
    both = [answers(own(tmp_path, f, IMAGES), contents)[0] for f in (source, folder)]
    np.testing.assert_allclose(both[1], both[0], atol=1e-4)


def test_an_onnx_folder_is_no_encoder_of_its_own(folders: tuple[Path, Path]) -> None:
    from active_learn_backend.learning.encoders.folders import kind_of

    with pytest.raises(SettingsError, match="no safetensors weights"):
        kind_of(folders[1])
