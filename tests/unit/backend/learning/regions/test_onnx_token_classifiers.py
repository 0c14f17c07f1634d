"""Token classifiers in ONNX: they answer as the same model in PyTorch does."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.embedder import RegionEmbedder, open_embedder
from active_learn_backend.learning.regions.words import find_words
from active_learn_backend.learning.user_models.model_files import copy_model, digest_of_model
from active_learn_backend.learning.user_models.region_head import SCALE
from active_learn_backend.learning.user_models.token_classifier import TokenClassifier
from active_learn_backend.settings import Settings
from tiny_models import save_onnx_token_classifier, save_token_classifier

CONFIG = (
    '<View><Labels name="ner" toName="text"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
TEXTS = [
    "my card is lost, why? top-up failed (exchange rate) again",
    "Cards failing; 2 cards unlost in \U0001f600 rates!",
    "is it topped up",
    " ".join(["card lost is top up failed my rate"] * 9),  # longer than the model takes
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same model in PyTorch and in ONNX."""
    top = tmp_path_factory.mktemp("models")
    source = save_token_classifier(top / "torch")
    return source, save_onnx_token_classifier(top / "onnx", source)


def embedder_of(folder: Path, model_dir: Path, **values: Any) -> RegionEmbedder:
    settings = Settings(model_dir=model_dir, model=str(folder), **values)
    found = open_embedder(settings, 1, parse_label_config(CONFIG), lambda url: b"")
    assert isinstance(found, RegionEmbedder)
    return found


@pytest.mark.parametrize("as_is", [True, False])
def test_states_and_classes_are_those_of_pytorch(folders: tuple[Path, Path], as_is: bool) -> None:
    cpu = torch.device("cpu")
    places = [find_words(text) for text in TEXTS]
    found = [
        TokenClassifier.load("ner", folder, cpu).words(as_is)(TEXTS, places) for folder in folders
    ]
    for ours, theirs, words in zip(*found, places, strict=True):
        assert ours.shape == theirs.shape == (len(words), 16 + 7 * as_is)
        np.testing.assert_allclose(ours[:, :16], theirs[:, :16], atol=1e-4)
        np.testing.assert_allclose(ours[:, 16:] / SCALE, theirs[:, 16:] / SCALE, atol=1e-4)


def test_proposals_are_those_of_pytorch(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = []
    for folder in folders:
        embedder = embedder_of(folder, tmp_path)
        keys = [f"{at:032x}" for at in range(len(TEXTS))]
        parts, _, failed = embedder.embed([{"text": text} for text in TEXTS], keys)
        assert not failed
        kind = embedder.parts["ner"].kind
        answers = find_regions(embedder.fixed_heads["ner"], kind, parts.parts["ner"])
        found.append([[tuple(one[:3]) for one in answer.regions] for answer in answers])
    assert found[0] == found[1]
    assert {label for spans in found[0] for *_, label in spans} == {"PER", "LOC"}


def test_as_an_encoder_it_has_no_head(folders: tuple[Path, Path], tmp_path: Path) -> None:
    as_is, encoder = (
        embedder_of(folders[1], tmp_path, model_use=use) for use in ("as-is", "encoder")
    )
    assert encoder.fixed_heads == {}
    assert encoder.parts["ner"].n_features == as_is.parts["ner"].n_features - 7


def test_its_file_is_part_of_its_version(folders: tuple[Path, Path], tmp_path: Path) -> None:
    copy = copy_model(folders[1], tmp_path / "copy")
    assert (copy / "model.onnx").is_file()
    assert digest_of_model(copy) == digest_of_model(folders[1])
    model = onnx.load(copy / "model.onnx")
    model.doc_string = "another"
    onnx.save(model, copy / "model.onnx")
    assert digest_of_model(copy) != digest_of_model(folders[1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("classes", "expected .*: a number for each of the 6 classes of config.json"),
        ("inputs", "takes 'pixels' as tensor.float.; expected input_ids"),
        ("several", "holds several ONNX files .model.onnx, other.onnx."),
        ("damaged", "cannot be used: no ONNX model"),
        ("layer", "no usable last linear layer"),
    ],
)
def test_what_does_not_fit_is_said(
    folders: tuple[Path, Path], tmp_path: Path, change: str, message: str
) -> None:
    folder = tmp_path / "ner"
    shutil.copytree(folders[1], folder)
    file = folder / "model.onnx"
    model = onnx.load(file)
    if change == "classes":
        config = json.loads((folder / "config.json").read_text())
        config["id2label"].pop("6")
        config["label2id"].pop("I-MISC")
        (folder / "config.json").write_text(json.dumps(config))
    elif change == "inputs":
        kind = onnx.TensorProto.FLOAT
        model.graph.input.append(onnx.helper.make_tensor_value_info("pixels", kind, [1]))
        onnx.save(model, file)
    elif change == "several":
        shutil.copy(file, folder / "other.onnx")
    elif change == "damaged":
        file.write_bytes(file.read_bytes()[:200])
    else:
        model.graph.node.append(onnx.helper.make_node("Exp", ["logits"], ["strange"]))
        del model.graph.output[:]
        kind = onnx.TensorProto.FLOAT
        made = onnx.helper.make_tensor_value_info("strange", kind, ["batch", "tokens", 7])
        model.graph.output.append(made)
        onnx.save(model, file)
    with pytest.raises(SettingsError, match=message):
        embedder_of(folder, tmp_path)
