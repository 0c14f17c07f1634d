"""What a round costs the backend itself at 100,000 and a million tasks, without Label Studio.

A filled project state and embedding cache, 1,000 labels. What is measured: the tasks are read from
the state, their embeddings looked up in the cache, the audit set drawn, the pool and the queue made
of them. Not Label Studio, not the ranking, and not the vectors that it reads. Each measurement has
a process of its own; the first round of a process and the second one, after 20 more labels.

    python tests/benchmarks/large_round.py [--tasks 100000 1000000] [--against FOLDER]

``--against`` names another checkout, which is measured in the same run.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import LinearHead, Ranking
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.selection.project_params import learned_task
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.queue_size import QueueSize
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from active_learn_backend.worker.round import Round
from report import measured_by

LABELED, MORE = 1000, 20
CHUNK = 50_000
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)
HERE = Path(__file__).resolve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--against", type=Path, help="root of another checkout")
    parser.add_argument("--fill", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.fill:
        fill(arguments.fill, arguments.tasks[0])
        return
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    print(f"{measured_by()}\n")
    print("| tasks | code | round | read and look up | queue | both | CPU of both | most memory |")
    print("|---|---|---|---|---|---|---|---|")
    codes = {"this": HERE.parents[2]}
    if arguments.against:
        codes = {"former": arguments.against.resolve()} | codes
    for n_tasks in arguments.tasks:
        for name, root in codes.items():
            with tempfile.TemporaryDirectory() as folder:
                # Each code makes a state of its own: their schemas may differ.
                _in_a_process(root, "--fill", folder, "--tasks", str(n_tasks))
                for told in json.loads(_in_a_process(root, "--measure", folder)):
                    row = (
                        "{round} | {read:.2f} s | {queue:.2f} s | {both:.2f} s | {cpu:.2f} s | "
                        "{mib:.0f} MiB"
                    )
                    both = told["read"] + told["queue"]
                    line = row.format(**told, both=both)
                    print(f"| {n_tasks:,} | {name} | {line} |", flush=True)


def fill(folder: Path, n_tasks: int) -> None:
    """Make a project state and an embedding cache."""
    settings = load_settings(model_dir=folder)
    store = Store(settings.store_url)
    store.register(1, CONFIG)
    embedder = TaskEmbedder(settings, 1, learned_task(CONFIG, settings), lambda _: b"")
    for start in range(0, n_tasks, CHUNK):
        rows = [_task(at) for at in range(start, min(start + CHUNK, n_tasks))]
        apply_changes(store, 1, rows)
        zeros = np.zeros((len(rows), embedder.n_features), np.float32)
        embedder.cache.add([row.content_key for row in rows], zeros)
    apply_changes(store, 1, [_task(at, label="ab"[at % 2]) for at in range(LABELED)])
    store.close()


def _task(at: int, label: str | None = None) -> TaskRow:
    key = hashlib.blake2b(str(at).encode(), digest_size=16).hexdigest()
    labels = None if label is None else {"label": label}
    text = {"text": f"a text of some fifty characters, number {at}"}
    return TaskRow(at + 1, text, key, labels, False, annotations=int(label is not None))


def _in_a_process(root: Path, *arguments: str) -> bytes:
    paths = os.pathsep.join([str(root / "sampler"), str(root / "backend")])
    command = [sys.executable, str(HERE), *arguments]
    environment = os.environ | {"PYTHONPATH": paths}
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout


def measure(folder: Path) -> list[dict[str, Any]]:
    """Return seconds and memory of two rounds on a filled state."""
    settings = load_settings(model_dir=folder)
    store = Store(settings.store_url)
    task = learned_task(CONFIG, settings)
    own: Any = None  # no Label Studio
    told = []
    for seconds_of in ("first", "next"):
        gc.collect()
        # Only of the process itself: pages of mapped files are the system's to drop.
        with Peak() as peak:
            start, used = time.perf_counter(), time.process_time()
            embedder = TaskEmbedder(settings, 1, task, lambda _: b"")
            current = Round(
                store.known_project(1), task, store, own, settings, own, own, lambda: None
            )
            snapshot = current._embed(embedder)
            read = time.perf_counter() - start
            head = LinearHead.untrained(2, embedder.n_features)
            start = time.perf_counter()
            _, rows = choose(
                snapshot, "classification", head, settings, _first, QueueSize(30, 80), ["label"]
            )
            controls = snapshot.of("label")
            labeled = int(controls.labeled.sum())
            assert controls.population
            assert len(rows) == 80
            queue, cpu = time.perf_counter() - start, time.process_time() - used
        told.append(
            {"round": seconds_of, "read": read, "queue": queue, "cpu": cpu, "mib": peak.mib}
        )
        del snapshot, controls
        more = range(labeled, labeled + MORE)
        apply_changes(store, 1, [_task(at, label="a") for at in more])
    return told


def _first(_sampler: Any, _vectors: Any, pool: Any, n: int) -> Ranking:
    """Stand for the ranking."""
    none = np.zeros(n, np.float32)
    return Ranking(np.arange(n), none, none, none)


class Peak:
    """The most private memory of this process while it is open, above that at the start."""

    def __enter__(self) -> Peak:
        self._before = self._most = _private()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    @property
    def mib(self) -> float:
        return (self._most - self._before) / 2**20

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self._most = max(self._most, _private())


def _private() -> int:
    resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
    return (resident - shared) * resource.getpagesize()


if __name__ == "__main__":
    main()
