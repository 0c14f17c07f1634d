"""What Ray costs and gains on one machine, and what that predicts for many.

Selection of 100,000 x 384 and embedding of real texts by MiniLM, with one worker and with two, each
beside the engine of this machine; pages read from a real Label Studio; what the backend's own
machine has to do and hold for each task. The cost model takes these figures and says what follows
for more tasks and more machines: a prediction.

    python tests/benchmarks/beyond_one_machine.py [--only select embed read hold] [--tasks 10000000]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from active_learn import LinearHead
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import free_port, wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.engines.configured import configured_engine
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.engines.ray.driver import ray_driver
from active_learn_backend.learning.engines.ray.pages import read_range
from active_learn_backend.learning.selection.queue_builder import sampler_for
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.task_table import read_task_table
from active_learn_backend.state.tasks import apply_changes
from cost_model import Measured, predict
from real_data import Missing, read_rows
from report import measured_by

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
POOL, FEATURES, CLASSES, LABELED = 100_000, 384, 77, 300
REPEATS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = {"select": select, "embed": embed, "read": read, "hold": hold}
    parser.add_argument("--only", nargs="+", choices=parts, default=list(parts))
    parser.add_argument("--tasks", type=int, default=10_000_000, help="of the prediction")
    arguments = parser.parse_args()
    print(f"{measured_by()}\n")
    found = Measured()
    for name in arguments.only:
        try:
            parts[name](found)
        except Missing as missing:
            print(f"skipped: {missing}")
        print(flush=True)
    if {"read", "hold"} <= set(arguments.only):
        print(predict(found, arguments.tasks))


@contextmanager
def cluster(workers: int) -> Iterator[Settings]:
    """Start a Ray cluster of so many CPUs on this machine, as `ray start` does."""
    home, port = tempfile.mkdtemp(prefix="ray-"), free_port()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
    log = Path(home) / "head.log"
    with log.open("w") as file:
        head = subprocess.Popen(
            [
                *command,
                *(f"--num-cpus={workers}", f"--port={port}", "--include-dashboard=false"),
                f"--temp-dir={home}",
            ],
            stdout=file,
            stderr=file,
        )
    settings = load_settings(
        engine="ray", ray_address=f"127.0.0.1:{port}", model_dir=Path(home) / "state"
    )
    settings.model_dir.mkdir()
    try:
        wait_until(lambda: "runtime started" in log.read_text(), timeout=60, what="a cluster")
        yield settings
    finally:
        ray_driver(settings.ray_address, settings.model_dir.resolve() / "ray.log").stop()
        head.terminate()
        head.wait()
        shutil.rmtree(home, ignore_errors=True)


def median_seconds(run: Callable[[], object]) -> float:
    """Return the median of a few runs after one that warms up."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


# -- selection --------------------------------------------------------------------------------


def select(found: Measured) -> None:
    """Rank 100,000 candidates, 50 of them, with 300 labeled."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(200, FEATURES))
    X = centers[rng.integers(0, 200, POOL + LABELED)] + rng.normal(size=(POOL + LABELED, FEATURES))
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)
    head = LinearHead(4 * rng.normal(size=(CLASSES, FEATURES)))
    pool = np.arange(LABELED, POOL + LABELED)
    keys = [f"{at:032x}" for at in range(len(X))]
    print("Selection of 50 among 100,000 x 384, 300 labeled; seconds, the median of 3\n")
    print("| engine | partitions | workers | seconds |\n|---|---|---|---|")
    sampler = sampler_for("classification", head, load_settings(), X[:LABELED], 20)
    local = median_seconds(lambda: LocalEngine().rank(sampler, X, pool, 50))
    print(f"| local | 1 | 2 threads | {local:.2f} |", flush=True)
    picks = {}
    for partitions in (2, 4, 8):
        for workers in (1, 2):
            with cluster(workers) as given:
                settings = given.model_copy(update={"partition_rows": POOL // partitions})
                embedder = TaskEmbedder(settings, 1, parse_label_config(CONFIG), lambda _: b"")
                embedder.cache.add(keys, X)
                engine = configured_engine(settings)
                vectors = engine.vectors(embedder, keys)
                seconds = median_seconds(lambda: engine.rank(sampler, vectors, pool, 50))  # noqa: B023
                picks[partitions, workers] = engine.rank(sampler, vectors, pool, 50).indices
                print(f"| ray | {partitions} | {workers} | {seconds:.2f} |", flush=True)
                found.select[partitions, workers] = seconds
        same = np.array_equal(picks[partitions, 1], picks[partitions, 2])
        print(f"| | | | {'the same picks' if same else 'OTHER PICKS'} with 1 and 2 workers |")


# -- embedding --------------------------------------------------------------------------------


def embed(found: Measured) -> None:
    """Embed texts of banking77 by MiniLM."""
    rows = read_rows("banking77_train.csv", ",")[:6000]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "tasks.jsonl"
        file.write_text("".join(json.dumps({"data": {"text": r["text"]}}) + "\n" for r in rows))
        print("Embedding of 6,000 texts of banking77 by MiniLM\n")
        print("| engine | workers | seconds | until the first are done | texts/s from then on |")
        print("|---|---|---|---|---|")
        local = load_settings(model_dir=Path(folder), encoder="minilm")
        _embed(local, file, "| local | 2 threads")
        for workers in (1, 2):
            with cluster(workers) as given:
                settings = given.model_copy(update={"encoder": "minilm", "ray_workers": workers})
                found.texts_per_second[workers] = _embed(settings, file, f"| ray | {workers}")


def _embed(settings: Settings, file: Path, name: str) -> float:
    embedder = TaskEmbedder(settings, 1, parse_label_config(CONFIG), lambda _: b"")
    start, seen = time.perf_counter(), [(0.0, 0)]

    def report(done: int, _: int) -> None:
        if done > seen[-1][1]:
            seen.append((time.perf_counter() - start, done))

    failed = configured_engine(settings).fill_from_files(embedder, CONFIG, [file], report)
    seconds = time.perf_counter() - start
    assert not failed, failed
    first, last = seen[1], seen[-1]
    rate = (last[1] - first[1]) / (last[0] - first[0])
    print(f"{name} | {seconds:.1f} | {first[0]:.1f} | {rate:.0f} |", flush=True)
    return rate


# -- pages of Label Studio --------------------------------------------------------------------


def read(found: Measured) -> None:
    """Read tasks by ranges of ids, as the cluster does."""
    n = 20_000
    print(f"Reading {n:,} short texts from Label Studio (SQLite), pages of 500\n")
    print("| readers | tasks/s |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder, LabelStudioServer(Path(folder) / "ls") as studio:
        body = {"title": "Many", "label_config": CONFIG}
        project = studio.api("POST", "/api/projects/", body)["id"]
        ids: list[int] = []
        for _ in range(n // 5000):
            ids += studio.api(
                "POST",
                f"/api/projects/{project}/import?return_task_ids=true",
                [{"text": f"a text of some fifty characters, number {at}"} for at in range(5000)],
                timeout=600,
            )["task_ids"]
        settings = load_settings(label_studio_url=studio.url, label_studio_api_key=studio.token)
        client = LabelStudioClient(settings)
        wait_until(
            lambda: client.project(project)["task_number"] == n, timeout=120, what="the import"
        )
        ranges = [(ids[at], ids[at + 499]) for at in range(0, n, 500)]
        for readers in (1, 2, 4):
            start = time.perf_counter()
            with ThreadPoolExecutor(readers) as threads:
                pages = threads.map(lambda r: list(read_range(settings, project, *r)), ranges)
                total = sum(len(page) for some in pages for page in some)
            assert total == n
            rate = n / (time.perf_counter() - start)
            found.read_per_second[readers] = rate
            print(f"| {readers} | {rate:.0f} |", flush=True)


# -- the backend's own machine ----------------------------------------------------------------


def hold(found: Measured) -> None:
    """Read the rows of a project, find their vectors, draw the audit set."""
    n = 200_000
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(model_dir=Path(folder), engine="ray")
        # Each in a process of its own: memory that was freed hides what is taken.
        for do in (_fill, _list):
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
                told = process.submit(do, settings, n).result()
        found.seconds_per_task, found.bytes_per_task = told
    print(
        f"The backend's machine, each round, per task of {n:,}: "
        f"{1e6 * found.seconds_per_task:.1f} µs, {found.bytes_per_task:.0f} bytes"
    )


def _fill(settings: Settings, n: int) -> tuple[float, float]:
    store = Store(settings.store_url)
    store.register(1, CONFIG)
    rows = [TaskRow(at, {"text": f"text number {at}"}, _key(at), None, False) for at in range(n)]
    apply_changes(store, 1, rows, replace=True)
    embedder = TaskEmbedder(settings, 1, parse_label_config(CONFIG), lambda _: b"")
    zeros = np.zeros((n, embedder.n_features), np.float32)
    embedder.cache.add([row.content_key for row in rows], zeros)
    store.close()
    return 0.0, 0.0


def _list(settings: Settings, n: int) -> tuple[float, float]:
    store = Store(settings.store_url)
    project = store.known_project(1)
    embedder = TaskEmbedder(settings, 1, parse_label_config(CONFIG), lambda _: b"")
    engine = configured_engine(settings)
    before, start = _resident(), time.perf_counter()
    tasks = read_task_table(store, 1)
    missing = embedder.cache.missing(tasks.keys)
    vectors = engine.vectors(embedder, tasks.keys)
    snapshot = Snapshot.take(project, tasks, vectors, settings)
    assert not missing
    assert not snapshot.labeled.any()
    return (time.perf_counter() - start) / n, (_resident() - before) / n


def _key(at: int) -> str:
    return hashlib.blake2b(str(at).encode(), digest_size=16).hexdigest()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
