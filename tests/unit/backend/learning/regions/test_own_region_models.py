"""Own models that find regions: what they are bound to, and that a text means the same to both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.embedder import RegionEmbedder, open_embedder
from active_learn_backend.learning.user_models.classes import PartClass, part_classes
from active_learn_backend.settings import Settings
from tiny_models import NER_CLASSES, save_bert, save_token_classifier

CONFIG = (
    '<View><Labels name="ner" toName="text"><Label value="Person" alias="PER"/>'
    '<Label value="Place" predicted_values="LOC,GPE"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
TEXTS = [
    "my card is lost, why? top-up failed (exchange rate) again",
    "Cards failing; 2 cards unlost in \U0001f600 rates!",
    "is it topped up",
    "why why why failed lost lost exchange rate rate rate card card text",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_token_classifier(tmp_path_factory.mktemp("models") / "models" / "ner")


@pytest.fixture
def embedder(folder: Path, tmp_path: Path) -> Callable[..., RegionEmbedder]:
    def make(config: str = CONFIG, **values: Any) -> RegionEmbedder:
        settings = Settings(model_dir=tmp_path, model=str(folder), **values)
        found = open_embedder(settings, 1, parse_label_config(config), lambda url: b"")
        assert isinstance(found, RegionEmbedder)
        return found

    return make


def proposals(embedder: RegionEmbedder, texts: list[str]) -> list[list[Any]]:
    """Return what a model proposes in each text, read back from the cache."""
    keys = [f"{at:032x}" for at in range(len(texts))]
    parts, _, failed = embedder.embed([{"text": text} for text in texts], keys)
    assert not failed
    head = embedder.fixed_heads["ner"]
    found = find_regions(head, embedder.parts["ner"].kind, parts.parts["ner"])
    return [[tuple(region) for region in one.regions] for one in found]


class TestTokenClassifier:
    def test_its_spans_are_those_of_the_pipeline_of_transformers(self, folder, embedder):
        pipeline = transformers.pipeline(
            "token-classification", str(folder), aggregation_strategy="first"
        )
        labels = {"PER": "PER", "LOC": "Place"}
        expected = [
            [
                (one["start"], one["end"], labels[one["entity_group"]])
                for one in pipeline(text)
                if one["entity_group"] in labels
            ]
            for text in TEXTS
        ]
        found = proposals(embedder(), TEXTS)
        assert [[one[:3] for one in spans] for spans in found] == expected
        assert {label for spans in expected for *_, label in spans} == {"PER", "Place"}
        assert sum(map(len, expected)) > 8

    def test_its_scores_are_the_probabilities_of_both_prefixes(self, folder, embedder):
        text = "card"
        model = transformers.AutoModelForTokenClassification.from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        with torch.no_grad():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0, 1]
        shares = dict(zip(NER_CLASSES, logits.softmax(-1).tolist(), strict=True))
        parts, *_ = embedder().embed([{"text": text}], ["0" * 32])
        head = embedder().fixed_heads["ner"]
        (found,) = head.probabilities([parts.parts["ner"][np.array([0])].rows])
        expected = [
            shares["O"] + shares["B-MISC"] + shares["I-MISC"],
            shares["B-PER"] + shares["I-PER"],
            shares["B-LOC"] + shares["I-LOC"],
        ]
        assert np.allclose(found[0], expected, atol=2e-3)

    def test_long_texts_are_read_in_windows(self, embedder):
        text = " ".join(["card lost is top up failed my rate"] * 30)
        spans = proposals(embedder(), [text])[0]
        assert max(end for _, end, *_ in spans) > len(text) // 2
        states = embedder()._fields[0]._encoder._states
        places = np.array([[0, 4], [len(text) - 4, len(text)]])
        assert all(row.any() for row in states([text], [places])[0])

    def test_as_an_encoder_it_has_no_head_and_no_classes(self, embedder):
        as_is, encoder = embedder(), embedder(model_use="encoder")
        assert encoder.fixed_heads == {}
        assert as_is.fixed_heads["ner"].version.startswith("model-")
        assert as_is.fingerprint != encoder.fingerprint
        width = as_is.parts["ner"].n_features
        assert encoder.parts["ner"].n_features == width - len(NER_CLASSES)
        texts = [{"text": "my card is lost"}]
        rows = [
            one.embed(texts, ["0" * 32])[0].parts["ner"][np.array([0])].rows
            for one in (as_is, encoder)
        ]
        n = 16  # the hidden size
        assert np.array_equal(rows[0][:, :n], rows[1][:, :n])

    def test_its_classes_weigh_next_to_nothing_among_the_features(self, embedder):
        parts, *_ = embedder().embed([{"text": "my card is lost"}], ["0" * 32])
        rows = parts.parts["ner"][np.array([0])].rows.astype(np.float32)
        scores = rows[:, 16 : 16 + len(NER_CLASSES)]
        assert 0 < np.linalg.norm(scores) < 0.05 * np.linalg.norm(rows)

    def test_other_controls_get_encoders_and_heads(self, embedder):
        config = CONFIG.replace(
            "</View>",
            '<Choices name="topic" toName="text"><Choice value="a"/><Choice value="b"/></Choices>'
            '<Labels name="more" toName="text"><Label value="x"/></Labels></View>',
        )
        found = embedder(config)
        assert list(found.fixed_heads) == ["ner"]
        assert found.parts["more"] is found.parts["ner"]
        assert found.read_by("topic")[1] == found.n_features > 0
        parts, *_ = found.embed([{"text": "my card"}], ["0" * 32])
        assert found.features("topic", parts).shape == (1, found.n_features)


class TestClasses:
    def control(self, labels: str) -> Any:
        config = f'<View><Labels name="l" toName="t">{labels}</Labels>'
        return parse_label_config(f'{config}<Text name="t" value="$t"/></View>').controls[0]

    def test_prefixes_names_and_aliases(self):
        control = self.control(
            '<Label value="Person" alias="PER"/><Label value="work of art"/>'
            '<Label value="S-Bahn" predicted_values="TRAIN,METRO"/>'
        )
        names = ["O", "B-PER", "I-PER", "S-per", "U-WORK_OF_ART", "S-Bahn", "I-METRO", "B-X"]
        assert part_classes("m", names, control) == (
            PartClass(0),
            PartClass(1, True),
            PartClass(1),
            PartClass(1, True),
            PartClass(2, True),
            PartClass(3),
            PartClass(3),
            PartClass(0, unused=True),
        )

    def test_a_label_without_a_class_is_an_error_that_names_both_sides(self):
        control = self.control('<Label value="Person"/><Label value="City"/>')
        with pytest.raises(SettingsError) as error:
            part_classes("ner", ["O", "B-Person", "B-LOC"], control)
        assert "labels without a class: 'City'; classes without a label: 'B-LOC'" in str(
            error.value
        )
        assert "MODEL_USE=encoder" in str(error.value)


class TestRefusals:
    def test_a_project_without_such_regions(self, folder, tmp_path):
        config = (
            '<View><RectangleLabels name="b" toName="i"><Label value="PER"/></RectangleLabels>'
            '<Image name="i" value="$i"/></View>'
        )
        settings = Settings(model_dir=tmp_path, model=str(folder))
        with pytest.raises(SettingsError, match="a token classifier, which finds regions of texts"):
            open_embedder(settings, 1, parse_label_config(config), lambda url: b"")

    def test_a_classifier_where_nothing_else_is_labeled(self, tmp_path):
        path = save_bert(tmp_path / "classifier", "BertForSequenceClassification")
        settings = Settings(model_dir=tmp_path, model=str(path))
        with pytest.raises(SettingsError, match="finds no regions, and the project labels nothing"):
            open_embedder(settings, 1, parse_label_config(CONFIG), lambda url: b"")

    def test_pickled_weights(self, tmp_path):
        path = save_token_classifier(tmp_path / "ner")
        (path / "model.safetensors").rename(path / "pytorch_model.bin")
        settings = Settings(model_dir=tmp_path, model=str(path))
        with pytest.raises(SettingsError, match="no safetensors weights"):
            open_embedder(settings, 1, parse_label_config(CONFIG), lambda url: b"")
