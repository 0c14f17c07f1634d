"""Cells as a vision model sees them: where its patches lie in an image, and what they tell."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.regions.cells import Cells, grid_in, size_in
from active_learn_backend.learning.regions.embedder import RegionEmbedder, open_embedder
from active_learn_backend.learning.user_models import load_model_of_project
from active_learn_backend.settings import Settings
from PIL import Image
from tiny_models import VIT, save_bert, save_vit

NAMES = '<Label value="a"/><Label value="b"/>'
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    f'<RectangleLabels name="box" toName="image">{NAMES}</RectangleLabels>'
    f'<BrushLabels name="mask" toName="image">{NAMES}</BrushLabels></View>'
)
SIZE = 48  # pixels of the side of the model's input: 6 x 6 patches
KINDS = {
    "ViT": ("ViT", {}, 6),
    "DeiT": ("DeiT", {}, 6),  # two tokens before the patches; its processor cuts off the borders
    "Dinov2WithRegisters": ("Bit", {"num_register_tokens": 4}, 6),
    "Beit": ("Beit", {}, 6),
    "ConvNext": ("ConvNext", {"hidden_sizes": [8] * 4, "depths": [1] * 4, "patch_size": 2}, 6),
}


def save(folder: Path, kind: str) -> Path:
    """Save a random vision model of some kind with its image processor."""
    torch.manual_seed(0)
    processor, more, _ = KINDS[kind]
    fixed = {"image_size": SIZE, "initializer_range": 0.02}  # so that little is mixed
    size = {} if kind == "ConvNext" else VIT | fixed
    config = getattr(transformers, f"{kind}Config")(**{**size, **more})
    getattr(transformers, f"{kind}Model")(config).save_pretrained(folder)
    side: Any = {"height": SIZE, "width": SIZE}
    given: dict[str, Any] = {"size": side}
    if processor in ("DeiT", "Bit"):
        resized = {"shortest_edge": 64} if processor == "Bit" else {"height": 64, "width": 64}
        given = {"size": resized, "crop_size": side, "do_center_crop": True}
    if processor == "ConvNext":
        given = {"size": {"shortest_edge": SIZE}, "crop_pct": 0.875}
    getattr(transformers, f"{processor}ImageProcessor")(**given).save_pretrained(folder)
    return folder


def encoded(folder: Path, contents: dict[str, bytes], **values: Any) -> Any:
    settings = Settings(model_dir=folder, **values)
    task = parse_label_config(CONFIG)
    embedder = open_embedder(settings, 1, task, lambda address: contents[address])
    assert isinstance(embedder, RegionEmbedder)
    keys = [f"{at:032x}" for at in range(len(contents))]
    tasks, *_ = embedder.embed([{"image": one} for one in contents], keys)
    return embedder, tasks.parts["box"]


def png(pixels: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", KINDS)
def test_patches_lie_where_the_image_has_them(kind: str, tmp_path: Path) -> None:
    """What differs between two wide pictures is seen by the patches at that place."""
    folder = save(tmp_path / "model", kind)
    plain = np.random.default_rng(0).integers(0, 256, (120, 240, 3)).astype(np.uint8)
    marked = plain.copy()
    marked[80:120, 0:40] = (255, 0, 0)  # the lowest of three rows, the first of six columns
    contents = {"/plain": png(plain), "/marked": png(marked)}
    embedder, tasks = encoded(tmp_path, contents, encoder=str(folder))
    parts = tasks[np.arange(2)]
    n = KINDS[kind][2]
    assert grid_in(parts.places_of(0)) == (n, n)
    assert size_in(parts.places_of(0)) == (240, 120)
    assert isinstance(embedder.parts["mask"].kind, Cells)
    before, after = np.split(np.asarray(parts.rows, np.float32), 2)
    assert np.allclose(np.linalg.norm(before, axis=1), 1, atol=0.01)
    changed = np.linalg.norm(after - before, axis=1).reshape(n, n)
    assert changed.max() > 0.05
    assert np.unravel_index(changed.argmax(), changed.shape) in [(4, 0), (5, 0)]


def test_an_image_is_turned_as_it_is_shown(tmp_path: Path) -> None:
    folder = save(tmp_path / "model", "ViT")
    rng = np.random.default_rng(0)
    stored = rng.integers(0, 256, (60, 120, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = np.ascontiguousarray(np.rot90(stored, -1))
    contents = {"/stored": png(stored, exif=exif), "/upright": png(upright)}
    _, tasks = encoded(tmp_path, contents, encoder=str(folder))
    parts = tasks[np.arange(2)]
    assert np.array_equal(parts.places_of(0), parts.places_of(1))
    assert size_in(parts.places_of(0)) == (60, 120)
    assert np.array_equal(*np.split(parts.rows, 2))


def test_the_patches_of_a_model_that_is_an_encoder_are_those_of_the_encoder(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit", "ViTForImageClassification", num_labels=3)
    contents = {"/a": png(np.random.default_rng(0).integers(0, 256, (50, 70, 3)).astype(np.uint8))}
    _, of_encoder = encoded(tmp_path, contents, encoder=str(folder))
    values = {"model": str(folder), "model_use": "encoder"}
    embedder, of_model = encoded(tmp_path, contents, **values)
    assert embedder.fixed_heads == {}
    assert "model-" in embedder.parts["mask"].fingerprint
    first, second = (one[np.array([0])] for one in (of_encoder, of_model))
    assert np.array_equal(first.rows, second.rows)
    assert len(first.rows) == 4
    settings = Settings(model_dir=tmp_path, **values)
    bound = load_model_of_project(settings, parse_label_config(CONFIG), contents.get)
    assert bound.digest in embedder.parts["box"].fingerprint


def test_what_cannot_encode_cells_is_refused(tmp_path: Path) -> None:
    vit, bert = save_vit(tmp_path / "vit"), save_bert(tmp_path / "bert")
    for model, use in ((vit, "as-is"), (bert, "encoder")):
        with pytest.raises(SettingsError, match=r"finds no regions.*MODEL_USE=encoder"):
            encoded(tmp_path, {}, model=str(model), model_use=use)
