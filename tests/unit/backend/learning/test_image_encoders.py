"""Folders of vision models as encoders of images."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn_backend.labeling.config import Field
from active_learn_backend.learning.encoders import (
    TaskEncoder,
    configured,
    configured_encoders,
)
from active_learn_backend.learning.encoders import hub as hub_module
from active_learn_backend.settings import Settings
from PIL import Image
from tiny_models import save_processor, save_tokenizer, save_vit


def settings_of(folder: Path, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", **values)


def png(seed: int, size: tuple[int, int] = (20, 30)) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_told", set())
    monkeypatch.setattr(hub_module, "_folders", {})
    monkeypatch.setattr(hub_module, "_ask_again", {})


# -- images ---------------------------------------------------------------------------------------


def image_encoder(folder: Path) -> Any:
    return configured_encoders(settings_of(folder, encoder=str(folder)), {"image"})["image"]


def pixel_values(folder: Path, files: list[bytes]) -> torch.Tensor:
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    images = [Image.open(io.BytesIO(file)).convert("RGB") for file in files]
    return processor(images=images, return_tensors="pt")["pixel_values"]


def unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors.flatten(1), dim=1).numpy()


def test_the_pooled_output_of_a_vision_model(tmp_path: Path) -> None:
    files = [png(0), png(1, (9, 9)), png(2)]
    vectors = image_encoder(save_vit(tmp_path)).encode(files)
    model = transformers.ViTModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        expected = model(pixel_values=pixel_values(tmp_path, files)).pooler_output
    np.testing.assert_allclose(vectors, unit(expected), atol=2e-6)


def test_a_random_pooler_is_not_used(tmp_path: Path) -> None:
    """A classifier's folder lacks the pooler's weights: the library would make up others."""
    files = [png(0), png(1)]
    vectors = image_encoder(save_vit(tmp_path, "ViTForImageClassification")).encode(files)
    model = transformers.ViTForImageClassification.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        hidden = model.vit(pixel_values=pixel_values(tmp_path, files)).last_hidden_state
    np.testing.assert_allclose(vectors, unit(hidden[:, 0]), atol=2e-6)


def test_the_image_features_of_clip(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision = {**sizes, "intermediate_size": 16, "image_size": 16, "patch_size": 8}
    config = transformers.CLIPConfig(
        text_config={**sizes, "vocab_size": 20}, vision_config=vision, projection_dim=12
    )
    transformers.CLIPModel(config).save_pretrained(tmp_path)
    save_processor(tmp_path)
    save_tokenizer(tmp_path)
    encoder = image_encoder(tmp_path)
    assert encoder.encode([png(0)]).shape == (1, 12)
    assert encoder.fingerprint.startswith("image-")


def test_a_convolutional_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1], layer_type="basic"
    )
    transformers.ResNetModel(config).save_pretrained(tmp_path)
    save_processor(tmp_path)
    assert image_encoder(tmp_path).encode([png(0), png(1)]).shape == (2, 12)


def test_a_damaged_image_does_not_cost_the_others(tmp_path: Path) -> None:
    encoders = {"image": image_encoder(save_vit(tmp_path))}
    encoder = TaskEncoder([Field("image", "image")], lambda address: address.encode(), encoders)
    good = TaskEncoder([Field("image", "image")], lambda _: png(3), encoders)
    vectors, failed = encoder.encode([{"image": "no image"}, {"image": None}])
    assert sorted(failed) == [0, 1]
    assert not vectors.any()
    vectors, failed = good.encode([{"image": "a"}, {"image": None}])
    assert sorted(failed) == [1]
    assert np.linalg.norm(vectors[0]) == pytest.approx(1, abs=1e-5)
