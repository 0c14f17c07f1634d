"""The first answer after a start: of a task that is embedded, without the encoder."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from active_learn.heads import fit_head, save_heads
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.encoders.deferred import DeferredTextEncoder
from active_learn_backend.learning.regions.embedder import open_embedder
from active_learn_backend.settings import load_settings
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.state.store import Store
from tiny_models import save_bert

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
TEXTS = ["card lost", "rate exchange", "lost card card", "exchange rate rate"]
PROGRAM = """
import json, sys
from pathlib import Path
from active_learn_backend.settings import load_settings
from active_learn_backend.web.app import create_app
folder, encoder, texts = sys.argv[1], sys.argv[2], sys.argv[3:]
client = create_app(load_settings(model_dir=Path(folder), encoder=encoder)).test_client()
for text in texts:
    body = {"project": "1.1", "tasks": [{"id": 1, "data": {"text": text}}], "params": {}}
    answer = client.post("/predict", json=body).json["results"][0]
    loaded = "active_learn_backend.learning.encoders.transformer_text" in sys.modules
    print(json.dumps([len(answer["result"]), loaded]))
"""


def ask(folder: Path, encoder: Path, *texts: str) -> list[list[object]]:
    """Return, of each text in a new process, how many answers there are, and whether a model is."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(encoder), *texts]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in found.splitlines()]


def test_an_embedded_task_is_answered_without_the_encoder(tmp_path: Path) -> None:
    encoder = save_bert(tmp_path / "encoder")
    settings = load_settings(model_dir=tmp_path / "state", encoder=str(encoder))
    settings.model_dir.mkdir()
    task = parse_label_config(CONFIG)
    embedder = open_embedder(settings, 1, task, lambda *_: b"")
    contents = [{"text": text} for text in TEXTS]
    vectors, _, _ = embedder.embed(contents, [task.content_key(one) for one in contents])
    read_by = embedder.read_by("c")[0]
    head = fit_head("classification", ["a", "b"], vectors, list("abab"), round=1, encoder=read_by)
    assert head is not None
    save_heads(heads_folder(settings, 1), {"c": head})
    store = Store(settings.store_url)
    store.register(1, CONFIG)
    store.update(1, head_round=1)
    store.close()
    assert ask(settings.model_dir, encoder, *TEXTS[:2]) == [[1, False], [1, False]]

    deferred = open_embedder(settings, 2, task, lambda *_: b"", deferred=True)
    assert isinstance(deferred.encoder.encoders[0], DeferredTextEncoder)
    again, _, _ = deferred.embed(contents, [task.content_key(one) for one in contents])
    np.testing.assert_array_equal(again, vectors)
    # With other files nothing is known, and the encoder is loaded at once.
    (encoder / "config.json").write_text((encoder / "config.json").read_text() + "\n")
    other = open_embedder(settings, 1, task, lambda *_: b"", deferred=True)
    assert other.fingerprint != embedder.fingerprint
    assert not isinstance(other.encoder.encoders[0], DeferredTextEncoder)
