"""What every kind of own model that finds regions promises; one class a kind."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import RaggedArray
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.embedder import RegionEmbedder, open_embedder
from active_learn_backend.learning.user_models import load_model_of_project
from active_learn_backend.settings import Settings
from onnx_detectors import save_yolo
from PIL import Image
from tiny_models import save_detector, save_token_classifier

SPANS = (
    '<View><Labels name="r" toName="o"><Label value="PER"/><Label value="LOC"/></Labels>'
    '<Text name="o" value="$o"/></View>'
)
BOXES = (
    '<View><RectangleLabels name="r" toName="o"><Label value="cat"/><Label value="dog"/>'
    '</RectangleLabels><Image name="o" value="$o"/></View>'
)


class Contract:
    """A subclass says how a model is saved, and what it is used for."""

    config: str
    contents: list[str]

    def save(self, folder: Path) -> Path:
        raise NotImplementedError

    @pytest.fixture
    def model(self, tmp_path: Path) -> Path:
        return self.save(tmp_path / "models" / "model")

    def opened(self, model: Path, folder: Path, **values: Any) -> RegionEmbedder:
        settings = Settings(model_dir=folder, model=str(model), **values)
        found = open_embedder(settings, 1, parse_label_config(self.config), picture)
        assert isinstance(found, RegionEmbedder)
        return found

    def parts(self, embedder: RegionEmbedder) -> Any:
        keys = [f"{at:032x}" for at in range(len(self.contents))]
        tasks, _, failed = embedder.embed([{"o": one} for one in self.contents], keys)
        assert not failed
        return tasks.parts["r"]

    def test_its_probabilities_sum_to_one(self, model: Path, tmp_path: Path) -> None:
        embedder = self.opened(model, tmp_path)
        parts = self.parts(embedder)[np.arange(len(self.contents))]
        flat = embedder.fixed_heads["r"].flat_probabilities(RaggedArray(parts.rows, parts.offsets))
        assert flat.shape == (len(parts.rows), 3)
        assert (flat >= 0).all()
        assert np.allclose(flat.sum(axis=1), 1, atol=1e-5)

    def test_it_answers_the_same_whatever_it_is_asked_with(
        self, model: Path, tmp_path: Path
    ) -> None:
        embedder, other = self.opened(model, tmp_path / "a"), self.opened(model, tmp_path / "b")
        together = self.answers(embedder, self.parts(embedder))
        for at, content in enumerate(self.contents):
            tasks, *_ = other.embed([{"o": content}], [f"{at:032x}"])
            (alone,) = self.answers(other, tasks.parts["r"])
            assert [one[:3] for one in alone] == [one[:3] for one in together[at]]
        assert any(together)

    def answers(self, embedder: RegionEmbedder, tasks: Any) -> list[Any]:
        head, kind = embedder.fixed_heads["r"], embedder.parts["r"].kind
        return [one.regions for one in find_regions(head, kind, tasks)]

    def test_as_an_encoder_it_makes_other_parts_without_a_head(
        self, model: Path, tmp_path: Path
    ) -> None:
        as_is = self.opened(model, tmp_path)
        encoder = self.opened(model, tmp_path, model_use="encoder")
        assert encoder.fixed_heads == {}
        assert as_is.fingerprint != encoder.fingerprint
        assert encoder.parts["r"].n_features < as_is.parts["r"].n_features
        assert as_is.fixed_heads["r"].n_features == as_is.parts["r"].n_features
        assert np.isfinite(self.parts(encoder)[np.array([0])].rows).all()

    def test_what_it_finds_in_a_task_is_what_an_annotation_would_be(
        self, model: Path, tmp_path: Path
    ) -> None:
        embedder = self.opened(model, tmp_path)
        control = parse_label_config(self.config).regions[0]
        for found in self.answers(embedder, self.parts(embedder)):
            regions = control.read(control.write_regions(found))
            assert regions is not None
            assert len(regions) == len(found)

    def test_the_same_config_fits_doctor_and_rounds(self, model: Path, tmp_path: Path) -> None:
        settings = Settings(model_dir=tmp_path, model=str(model))
        task = parse_label_config(self.config)
        bound = load_model_of_project(settings, task, picture)
        assert self.opened(model, tmp_path).fixed_heads["r"].version == f"model-{bound.digest[:8]}"

    def test_a_project_without_regions_refuses_it(self, model: Path, tmp_path: Path) -> None:
        config = (
            '<View><Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/></Choices>'
            '<Text name="t" value="$t"/></View>'
        )
        settings = Settings(model_dir=tmp_path, model=str(model))
        with pytest.raises(
            SettingsError, match=r"finds (regions|boxes) of .*, and the project labels none"
        ):
            load_model_of_project(settings, parse_label_config(config), picture)


def picture(*_: Any) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "#ff0000").save(file, "PNG")
    return file.getvalue()


class TestTokenClassifier(Contract):
    config, contents = SPANS, ["my card is lost, why?", "top up failed", "rate"]

    def save(self, folder: Path) -> Path:
        return save_token_classifier(folder)


class TestTransformerDetector(Contract):
    config, contents = BOXES, ["/a", "/b"]

    def save(self, folder: Path) -> Path:
        return save_detector(folder, "Yolos")


class TestOnnxDetector(Contract):
    config, contents = BOXES, ["/a", "/b"]

    def save(self, folder: Path) -> Path:
        return save_yolo(folder)
