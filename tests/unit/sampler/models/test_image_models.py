"""Image classifiers of transformers, and image modules of one's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn.errors import DataError
from active_learn.models import adapt

transformers = pytest.importorskip("transformers")


def one_by_one(model, encodings):
    with torch.no_grad():
        return torch.cat([model(**encoding).logits for encoding in encodings])


def logits_of(model, samples):
    return adapt(model)(samples).logits


def test_an_image_module_of_ones_own():
    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.head = torch.nn.Linear(3 * 16 * 16, 3)

        def forward(self, images):
            return self.head(images.flatten(1))

    torch.manual_seed(1)
    module, processor = Own(), transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    images = np.random.default_rng(0).integers(256, size=(4, 20, 20, 3), dtype=np.uint8)
    ready = processor(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        expected = module(ready)
    torch.testing.assert_close(logits_of((module, processor), images), expected)
    rows = [{"pixel_values": pixels, "labels": 1} for pixels in ready]
    torch.testing.assert_close(logits_of((module, processor), rows), expected)
    rows = [{"image": image, "label": 1} for image in images]
    torch.testing.assert_close(logits_of((module, processor), rows), expected)
    with pytest.raises(DataError, match=r"'left', 'right' \(give one column\); expected images"):
        logits_of((module, processor), [{"left": images[0], "right": images[1]}])


def test_images_of_several_sizes_and_ready_pixels():
    torch.manual_seed(1)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        image_size=16, patch_size=8, num_labels=3,
    )  # fmt: skip
    model = transformers.ViTForImageClassification(config).eval()
    processor = transformers.ViTImageProcessor(size={"height": 16, "width": 16})
    rng = np.random.default_rng(0)
    pil = pytest.importorskip("PIL.Image")
    images = [pil.fromarray(rng.integers(256, size=(s, 9, 3), dtype=np.uint8)) for s in (8, 20)]
    ready = processor(images=images, return_tensors="pt")
    expected = one_by_one(model, [ready])
    torch.testing.assert_close(logits_of((model, processor), images), expected)
    torch.testing.assert_close(logits_of((model, processor), dict(ready)), expected)
    with pytest.raises(DataError, match="the image processor refuses"):
        logits_of((model, processor), ["no image"])
