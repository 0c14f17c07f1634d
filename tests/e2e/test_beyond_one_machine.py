"""A project on Ray: embedded through deaths, ranked in partitions, and safe when Ray is away."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from active_learn import LinearHead
from active_learn.partitioned import rank_partitioned
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerProcess, free_port, wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.selection.queue_builder import sampler_for
from active_learn_backend.settings import load_settings
from harness import TEXT_CONFIG, Harness

pytest.importorskip("ray", reason="needs Ray (the extra [ray])")

MakeText = Callable[..., tuple[int, list[int]]]
N_TASKS = 2300
# A model that notes what it embedded, and takes its time.
FACTORY = """
import os, time
import numpy as np
import torch


def make(labels):
    torch.manual_seed(0)
    layers = torch.nn.Linear(26, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2)
    return torch.nn.Sequential(*layers), prepare


def prepare(contents):
    texts = [content["text"] for content in contents]
    with open(os.environ["NOTES"], "a") as file:
        file.write("".join(f"{os.getpid()} {text}\\n" for text in texts))
    time.sleep(0.004 * len(texts))
    return np.array([[t.count(chr(97 + i)) for i in range(26)] for t in texts], np.float32)
"""


def some_texts(count: int = N_TASKS) -> list[str]:
    rng = np.random.default_rng(3)
    return [f"{n} " + "".join(rng.choice(list("aabcdeefgh"), 12)) for n in range(count)]


def environment(tmp_path: Path, **changes: str) -> dict[str, str]:
    (tmp_path / "noted_letters.py").write_text(FACTORY)
    (tmp_path / "notes").touch()
    return {
        "ENGINE": "ray",
        "MODEL": "noted_letters:make",
        "MODEL_USE": "encoder",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]),
        "NOTES": str(tmp_path / "notes"),
        "PARTITION_ROWS": "1000",
        "BUDGET": "10",
        "RESERVE": "5",
        "RETRAIN_EVERY": "5",
        "AUDIT": "0",
        "POLL_INTERVAL": "1",
        **changes,
    }


def noted(tmp_path: Path) -> list[str]:
    """Who embedded what, but for the probe of each that loads the model."""
    lines = (tmp_path / "notes").read_text().splitlines()
    return [line for line in lines if not line.endswith(" text")]


def expected_order(
    tmp_path: Path, server: BackendServer, project: int, ids: list[int]
) -> list[int]:
    """Rank the project apart, by the library, before any label."""
    patch = pytest.MonkeyPatch()
    patch.syspath_prepend(tmp_path)
    patch.setenv("NOTES", str(tmp_path / "nobody"))
    settings = load_settings(
        model_dir=server.model_dir, model="noted_letters:make", model_use="encoder", budget=10
    )
    task = parse_label_config(TEXT_CONFIG)
    embedder = TaskEmbedder(settings, project, task, lambda _: b"")
    keys = [task.content_key({"text": text}) for text in some_texts()]
    vectors = embedder.cache.vectors(keys)[np.arange(len(keys))].astype(np.float16)
    patch.undo()
    head = LinearHead.untrained(2, embedder.n_features)
    sampler = sampler_for("classification", head, settings, vectors[:0], 10)
    return [ids[at] for at in rank_partitioned(sampler, vectors, 15, partitions=3).indices]


@pytest.mark.soak  # tests/integration/test_ray_engine.py kills each of them, too
def test_a_project_is_embedded_through_deaths_and_ranked_in_partitions(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    tmp_path: Path,
) -> None:
    """An encoder is killed, then the worker with its driver: nothing done is done again."""
    texts = some_texts()
    project, ids = make_text_project(texts)
    server = backend(**environment(tmp_path))
    harness = Harness(label_studio, server)
    server.run("connect", "--project", str(project))
    wait_until(lambda: len(noted(tmp_path)) > 200, timeout=180, what="the first embeddings")
    os.kill(int(noted(tmp_path)[-1].split()[0]), signal.SIGKILL)
    wait_until(lambda: "embed " in harness.state(project).activity, timeout=90, what="the progress")
    wait_until(lambda: len(noted(tmp_path)) > 900, timeout=180, what="further embeddings")
    os.kill(harness.workers()[-1], signal.SIGKILL)  # whose child the driver is
    version = harness.wait_queue(project, timeout=300)

    counts = Counter(line.partition(" ")[2] for line in noted(tmp_path))
    assert set(counts) == set(texts)
    # A chunk of the encoder that was killed, and one of each of two that lost their driver.
    assert sum(counts[text] > 1 for text in texts) <= 3 * 64
    assert harness.queue(project) == expected_order(tmp_path, server, project, ids)

    for task in harness.queue(project)[:5]:
        positive = texts[ids.index(task)].count("a") > 2
        harness.annotate(task, choice("positive" if positive else "negative", "label", "text"))
    later = harness.wait_queue(project, after=int(version[3:]))
    assert len(harness.rows(project, later)) == 15
    wait_until(  # it is recorded once the queue is served
        lambda: harness.rounds(project)[-1].labeled == 5, timeout=30, what="the round's report"
    )
    assert Counter(line.partition(" ")[2] for line in noted(tmp_path)) == counts  # nothing anew
    assert re.search(rf"project {project}, round \d+: embedding .*/{N_TASKS}", harness.log())
    assert "Traceback" not in harness.log()


def test_files_are_embedded_ahead_and_never_again(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    tmp_path: Path,
) -> None:
    texts = some_texts(150)
    project, _ = make_text_project(texts[:1])
    server = backend(**environment(tmp_path), start=False)
    file = tmp_path / "ahead.jsonl"
    file.write_text("".join(json.dumps({"data": {"text": text}}) + "\n" for text in texts))
    told = server.run("embed", "--project", str(project), str(file))
    assert "150 embedded by model-" in told
    # The other engine finds them as well, and does not need to start Ray.
    local = backend(
        **environment(tmp_path, ENGINE="local"), model_dir=server.model_dir, start=False
    )
    assert "150 embedded" not in local.run("embed", "--project", str(project), str(file))
    rest = [{"text": text} for text in texts[1:]]
    label_studio.api("POST", f"/api/projects/{project}/import", rest)
    local.server("worker").start()
    harness = Harness(label_studio, local)
    harness.connect(project, "--pull")
    counts = Counter(line.partition(" ")[2] for line in noted(tmp_path))
    assert counts == dict.fromkeys(texts, 1)


def test_a_cluster_that_is_away_leaves_the_old_queue(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: MakeText,
    make_digits_project: Callable[..., int],
    tmp_path: Path,
) -> None:
    """And with a cluster that is there, images are loaded by its workers."""
    project, _ = make_text_project(some_texts())
    settings = environment(tmp_path, MODEL="")

    def worker(**changes: str) -> ServerProcess:
        server = backend(model_dir=folder, start=False, **{**settings, **changes})
        return server.server("worker").start()

    folder = tmp_path / "state"
    harness = Harness(label_studio, backend(model_dir=folder, start=False, **settings))
    local = worker(ENGINE="local")
    version = harness.connect(project, "--pull")
    queue = harness.queue(project)
    local.stop()

    address = f"127.0.0.1:{free_port()}"
    away = worker(RAY_ADDRESS=address)
    for task in queue[:5]:
        harness.annotate(task, choice("positive", "label", "text"))
    told = wait_until(
        lambda: harness.state(project).last_error, timeout=60, what="the error in words"
    )
    assert str(told).startswith(f"Ray does not answer at {address}")
    assert "\n" not in str(told)
    assert harness.version(project) == version
    assert harness.queue(project) == queue  # annotators go on with it
    away.stop()

    worker()
    harness.wait_queue(project, after=int(version[3:]), timeout=120)
    wait_until(lambda: not harness.state(project).last_error, timeout=30, what="no error left")

    digits = make_digits_project(130)
    harness.connect(digits, "--pull")
    assert harness.rounds(digits)[-1].unlabeled == 130  # of all of which there is an embedding
    assert "left out" not in harness.log("worker")
