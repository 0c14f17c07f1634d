"""A project state as rounds leave it, for the tests of the status page."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from active_learn.heads import fit_head
from active_learn_backend.learning.embedding.cache import EmbeddingCache
from active_learn_backend.state.queue import set_queue
from active_learn_backend.state.round_report import (
    AutomaticShare,
    Automation,
    ControlReport,
    Estimate,
    Evaluation,
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import QueueRow, Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from active_learn_backend.state.worker_heartbeats import record_heartbeat
from active_learn_backend.web.ml_backend import Runtime
from PIL import Image

TEXT_CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="apple"/><Choice value="car"/><Choice value="dog"/></Choices></View>'
)
IMAGE_CONFIG = TEXT_CONFIG.replace("Text name", "Image name")
LABELS = ("apple", "car", "dog")
ENCODER = "test-encoder"
N_FEATURES = 8


def picture(size: tuple[int, int] = (400, 300), color: str = "navy") -> str:
    """An image as an address of data."""
    file = io.BytesIO()
    Image.new("RGB", size, color).save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def audit(value: float, n: int, half: float = 0.1, metric: str = "accuracy") -> Estimate:
    """Return an audit estimate as a round's report holds it."""
    low, high = max(value - half, 0.0), min(value + half, 1.0)
    return Estimate("audit", metric, value, low, high, n, float(n))


def report(labeled: int, estimate: Estimate | None, round: int = 1, **more: Any) -> RoundReport:
    """Return a round's report."""
    return RoundReport(
        round, labeled, 100 - labeled, 3, "al-1", "head-1", {"fit": 0.1},
        (ControlReport("c", labeled, 3, Evaluation(estimate), **more),),
    )  # fmt: skip


def automation(labels: int, share: float, unlabeled: int = 2000) -> Automation:
    """Return what a round planned: a share of the rest at 90 %, less at higher accuracies."""
    planned = [
        AutomaticShare(accuracy, round(unlabeled * max(share - less, 0)), 40 + int(400 * less))
        for accuracy, less in ((0.9, 0.0), (0.95, 0.1), (0.98, 0.3), (0.99, 0.55))
    ]
    return Automation(labels, unlabeled, tuple(planned))


def fill(
    runtime: Runtime,
    *,
    number: int = 3,
    config: str = TEXT_CONFIG,
    contents: Sequence[str] = (),
    title: str = "Fruit, vehicles and animals",
    labeled: int = 24,
) -> Store:
    """Connect a project of 60 tasks, the first of them labeled, with two heads and a queue."""
    store = runtime.store
    store.register(number, config)
    field = "image" if "$image" in config else "text"
    contents = contents or [f"An example of number {n}" for n in range(60)]
    keys = [f"{n:032x}" for n in range(len(contents))]
    rows = [
        TaskRow(
            100 + n, {field: content}, keys[n],
            {"c": LABELS[n % 3]} if n < labeled else None, False,
            labeled_at=time.time() - 60 * (labeled - n) if n < labeled else None,
        )
        for n, content in enumerate(contents)
    ]  # fmt: skip
    apply_changes(store, number, rows)
    vectors = np.random.default_rng(0).normal(size=(len(rows), N_FEATURES)).astype(np.float32)
    vectors[np.arange(len(rows)), np.arange(len(rows)) % 3] += 2
    folder = runtime.settings.model_dir / "projects" / str(number)
    EmbeddingCache(folder / "embeddings" / ENCODER, N_FEATURES).add(keys, vectors)
    for round_ in (1, 2):
        head = fit_head(
            "classification", LABELS, vectors[:24], [LABELS[n % 3] for n in range(24)],
            round=round_, encoder=ENCODER,
        )  # fmt: skip
        assert head is not None
        head.save(folder / "heads")
        estimate = audit(0.5 + 0.2 * round_, 10 * round_)
        finish_round(store, number, report(12 * round_, estimate, round_), labels=99, tasks=99)
    queue = [
        QueueRow(
            100 + n,
            rank,
            rank < 10,
            0.9 - rank / 50,
            0.4,
            audit=rank == 2,
            selection_probability=0.95,
        )
        for rank, n in enumerate(range(labeled, len(rows)))
    ]
    set_queue(store, number, "al-2", queue)
    store.update(number, title=title, head_round=2, round=2, polled_at=time.time())
    record_heartbeat(store, "here/1/abc")
    return store
