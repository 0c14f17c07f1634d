"""Texts, and a model that counts their letters and notes whom it embedded, for tests of engines."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from active_learn import ActiveSampler, LinearHead
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.settings import Settings, load_settings

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
TASK = parse_label_config(CONFIG)
# A model that notes whom it embedded, in which process, and takes its time if it is told to.
FACTORY = """
import os, time
import numpy as np
import torch

NOTES = os.environ["SLOW_LETTERS"]


def make(labels):
    torch.manual_seed(0)
    return torch.nn.Linear(26, 2), prepare


def prepare(contents):
    texts = [content["text"] for content in contents]
    if any(text.startswith("broken") for text in texts):
        raise ValueError("broken on purpose")
    with open(NOTES, "a") as file:
        file.write("".join(f"{os.getpid()} {text}\\n" for text in texts))
    time.sleep(0.002 * len(texts))
    return np.array([[t.count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)
"""


def configure(base: Path, **changes: object) -> Settings:
    return load_settings(model_dir=base, **{"engine": "ray", "ray_workers": 2, **changes})


def embedder(settings: Settings, project_id: int) -> TaskEmbedder:
    return TaskEmbedder(settings, project_id, TASK, lambda _: b"")


def write_tasks(path: Path, texts: Sequence[str]) -> Path:
    path.write_text("".join(json.dumps({"data": {"text": text}}) + "\n" for text in texts))
    return path


def keys_of(texts: Sequence[str]) -> list[str]:
    return [TASK.content_key({"text": text}) for text in texts]


def some_texts(n: int, of: str) -> list[str]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghij"), rng.integers(2, 9))) for _ in range(200)]
    return [f"{of} {n} " + " ".join(rng.choice(words, rng.integers(1, 12))) for n in range(n)]


def no_report(done: int, of: int) -> None:
    """Nobody wants to know."""


def processes(base: Path, of: str) -> list[int]:
    """Return our processes whose title holds a text, as Ray names what they do."""
    ours = f"SLOW_LETTERS={base}".encode()  # other tests run Ray too
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and of in (entry / "cmdline").read_text()
                and ours in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def kill_later(find: Callable[[], list[int]], killed: list[int], stop: threading.Event) -> None:
    """Kill the first process that is found."""
    while not stop.is_set() and not killed:
        for process in find()[:1]:
            os.kill(process, signal.SIGKILL)
            killed.append(process)
        stop.wait(0.01)


def sampler(labeled: np.ndarray, d: int, **changes: object) -> ActiveSampler:
    head = LinearHead(np.random.default_rng(1).normal(size=(3, d)))
    return ActiveSampler(
        "classification",
        head,
        20,
        seed_fisher=True,
        labeled_data=labeled,
        **{"strategy": "auto", "random_state": 0, **changes},  # type: ignore[arg-type]
    )
