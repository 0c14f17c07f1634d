"""Encoders of the Hugging Face hub: downloaded once, and what happens without it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.encoders import (
    TextEncoder,
    configured,
    configured_encoders,
)
from active_learn_backend.learning.encoders import hub as hub_module
from active_learn_backend.learning.encoders.transformer_text import TransformerTextEncoder
from active_learn_backend.settings import Settings
from tiny_models import save_bert

CPU = torch.device("cpu")


def settings_of(folder: Path, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", **values)


@pytest.fixture(autouse=True)
def _nothing_told_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configured, "_told", set())
    monkeypatch.setattr(hub_module, "_folders", {})
    monkeypatch.setattr(hub_module, "_ask_again", {})


@pytest.mark.parametrize("name", ["a/b/c", "owner/na me", "a--b", "x..y"])
def test_a_name_that_the_hub_cannot_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(SettingsError, match="no name of the Hugging Face hub"):
        configured_encoders(settings_of(tmp_path, encoder=name), {"text"})


# -- the hub --------------------------------------------------------------------------------------


class Hub(ThreadingHTTPServer):
    """A hub of one model, or of none."""

    daemon_threads = True
    folder: Path | None = None
    asked = 0
    served: list[str]


class HubHandler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        self.server.asked += 1
        folder = self.server.folder
        if folder is None:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        if self.path.startswith("/api/models/"):
            names = [path.name for path in folder.iterdir()]
            info = {"id": "team/bert", "sha": "1" * 40}
            info["siblings"] = [{"rfilename": name} for name in names]  # type: ignore[assignment]
            return self._send(200, json.dumps(info).encode(), {})
        name = self.path.rpartition("/")[2]
        if not (folder / name).exists():  # statistics that the client wants to leave
            return self._send(404, b"{}", {})
        self.server.served.append(name)
        headers = {"ETag": f'"{name}"', "X-Repo-Commit": "1" * 40}
        return self._send(200, (folder / name).read_bytes(), headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), HubHandler)
    server.served = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    point_hub_at(monkeypatch, server.server_address[1], tmp_path)
    yield server
    server.shutdown()
    server.server_close()


def point_hub_at(monkeypatch: pytest.MonkeyPatch, port: int, folder: Path) -> None:
    address = f"http://127.0.0.1:{port}"
    constants = "huggingface_hub.constants."
    monkeypatch.setattr(constants + "ENDPOINT", address)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants + "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants + "HF_HUB_CACHE", str(folder / "hub"))
    monkeypatch.setattr(constants + "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub_module, "TIMEOUT", 0.5)


def test_an_encoder_is_downloaded_from_the_hub(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_of(tmp_path, encoder="team/bert")
    hub.folder = save_bert(tmp_path / "source")
    torch.save({}, hub.folder / "pytorch_model.bin")
    found = configured_encoders(settings, {"text"})["text"]
    assert found.fingerprint == TransformerTextEncoder(hub.folder, CPU).fingerprint
    assert "model.safetensors" in hub.served
    assert "pytorch_model.bin" not in hub.served
    asked = hub.asked
    assert configured_encoders(settings, {"text"})["text"] is found
    assert hub.asked == asked
    # Another process finds it on disk, whether the hub answers or not.
    hub_module._folders.clear()
    hub.folder = None
    assert configured_encoders(settings, {"text"})["text"] is found
    assert not caplog.records


def test_an_unknown_name_falls_back_with_one_notice_until_it_is_asked_for_again(
    hub: Hub, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, encoder="team/bert")
    for _ in range(3):
        assert isinstance(configured_encoders(settings, {"text"})["text"], TextEncoder)
    asked = hub.asked
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "'team/bert' cannot be had from the Hugging Face hub" in caplog.records[0].message
    hub.folder = save_bert(tmp_path / "source")
    assert isinstance(configured_encoders(settings, {"text"})["text"], TextEncoder)
    assert hub.asked == asked
    (name,) = hub_module._ask_again
    hub_module._ask_again[name] -= hub_module.RETRY_AFTER
    assert configured_encoders(settings, {"text"})["text"].n_features == 16


def test_a_hub_that_never_answers_costs_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_hub_at(monkeypatch, silent.getsockname()[1], tmp_path)
        began = time.monotonic()
        found = configured_encoders(settings_of(tmp_path, encoder="team/bert"), {"text"})
        took = time.monotonic() - began
    assert isinstance(found["text"], TextEncoder)
    assert took < 10
    assert len(caplog.records) == 1


def test_offline_by_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hub: Hub
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found = configured_encoders(settings_of(tmp_path, encoder="team/bert"), {"text"})
    assert isinstance(found["text"], TextEncoder)
    assert hub.asked == 0
