"""Folders of encoders: below the models folder, changed, broken, of another kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.encoders import (
    ImageEncoder,
    TextEncoder,
    configured,
    configured_encoders,
)
from active_learn_backend.learning.encoders import hub as hub_module
from active_learn_backend.learning.encoders.devices import pick_device
from active_learn_backend.settings import Settings
from tiny_models import save_bert


def settings_of(folder: Path, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", **values)


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_told", set())
    monkeypatch.setattr(hub_module, "_folders", {})
    monkeypatch.setattr(hub_module, "_ask_again", {})


def test_a_name_below_the_models_folder(tmp_path: Path) -> None:
    save_bert(tmp_path / "data" / "models" / "team" / "bert")
    found = configured_encoders(settings_of(tmp_path, encoder="team/bert"), {"text"})
    assert found["text"].n_features == 16


def test_a_changed_folder_is_loaded_anew(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, encoder=str(save_bert(tmp_path / "bert")))
    first = configured_encoders(settings, {"text"})["text"]
    config = tmp_path / "bert" / "config.json"
    config.write_text(config.read_text() + " ")
    second = configured_encoders(settings, {"text"})["text"]
    assert second.fingerprint != first.fingerprint


def remove(name: str) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).unlink()


def write(name: str, content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(content)


def pickle_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")


def truncate_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-40])


def with_config(**values: Any) -> Callable[[Path], Any]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


def nan_weights(folder: Path) -> None:
    model = transformers.BertModel.from_pretrained(folder)
    with torch.no_grad():
        model.embeddings.LayerNorm.weight.fill_(float("nan"))
    model.save_pretrained(folder)


def run_own_code(folder: Path) -> None:
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(folder)!r}, 'ran').touch()")
    with_config(model_type="own", auto_map={"AutoConfig": "own.C", "AutoModel": "own.M"})(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove("config.json"), "no config.json"),
        (write("config.json", b"{"), r"cannot be loaded|damaged"),
        (pickle_weights, "no safetensors weights"),
        (truncate_weights, "cannot be loaded"),
        (write("model.safetensors", b""), "cannot be loaded"),
        (with_config(num_hidden_layers=3), "lacks weights"),
        (with_config(hidden_size=32), "lacks weights|cannot be loaded"),
        (nan_weights, "NaN or infinity"),
        (run_own_code, "cannot be loaded"),
        (with_config(model_type="unheard-of"), "cannot be loaded"),
        (write("modules.json", b"["), "modules.json of the model 'bert' is damaged"),
    ],
)
def test_a_broken_folder_is_an_error_and_no_fallback(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    folder = save_bert(tmp_path / "bert")
    damage(folder)
    with pytest.raises(SettingsError, match=message) as caught:
        configured_encoders(settings_of(tmp_path, encoder=str(folder)), {"text"})
    assert "\n" not in str(caught.value)
    assert not (folder / "ran").exists()


def test_a_folder_of_neither_kind(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert")
    for path in folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(SettingsError, match="neither a tokenizer, an image processor nor an audio"):
        configured_encoders(settings_of(tmp_path, encoder=str(folder)), {"text"})


@pytest.mark.parametrize("name", ["./not/there", "/not/there", "~/not-there"])
def test_a_path_that_leads_to_nothing(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="correct its path"):
        configured_encoders(settings_of(tmp_path, encoder=name), {"text"})


def test_a_device_that_is_not_there() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(SettingsError, match="DEVICE is cuda"):
        pick_device("cuda")
    assert pick_device("auto").type in ("cpu", "mps")


def test_without_a_setting_one_notice_for_each_kind(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        found = configured_encoders(settings_of(tmp_path), {"text", "image"})
        assert isinstance(found["text"], TextEncoder)
        assert isinstance(found["image"], ImageEncoder)
    notices = [record.message for record in caplog.records]
    assert len(notices) == 2
    assert any("texts: they are embedded without a model" in notice for notice in notices)
