"""What a round of a project whose regions are labeled costs, stage by stage, without Label Studio.

Texts of 30 words, or images of 14 x 14 cells, whose parts are in the cache: random features as many
as the embedded encoders have, around one center for each tag. The second round is measured, after
20 more labels, in a process of its own, so that nothing of the first is in memory.

    python tests/benchmarks/region_rounds.py [--kinds texts images] [--sizes 10000] [--threads 2]
    python tests/benchmarks/region_rounds.py --report backend/docs/regions.md
    python tests/benchmarks/region_rounds.py --label-studio    # what it does with many regions

Memory is what the process needs itself, everything that it imports included; pages of the mapped
cache, which the system may drop, are told apart.
"""

from __future__ import annotations

import argparse
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
from active_learn_backend.learning.regions.embedder import open_embedder
from active_learn_backend.learning.regions.parts import TaskParts
from active_learn_backend.learning.selection.project_params import learned_task
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from active_learn_backend.worker.round import Round
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

LABELED, MORE = 200, 20
WORDS, GRID = 30, 14
CHUNK = 2000
REPEATS = 3
SIZES = {"texts": (10_000, 100_000), "images": (1000,)}
CONFIGS = {
    "texts": '<View><Text name="text" value="$text"/><Labels name="label" toName="text">'
    '<Label value="a"/><Label value="b"/><Label value="c"/></Labels></View>',
    "images": '<View><Image name="image" value="$image"/><RectangleLabels name="label" '
    'toName="image"><Label value="a"/><Label value="b"/></RectangleLabels></View>',
}
STAGES = ("embed", "fit", "rank", "answer", "evaluate")


class NoLabelStudio:
    """Takes a queue, and publishes it nowhere."""

    def versions(self) -> dict[int, int]:
        return {}

    def publish(self, number: int, *_: Any, **__: Any) -> str:
        return f"al-{number}"

    def flip(self, *_: Any) -> None:
        """Leave the current version as it is."""


class Memory:
    """The most memory of this process while it is open: private, and with what it has mapped."""

    def __enter__(self) -> Memory:
        self.private = self.resident = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        page = resource.getpagesize()
        while not self._done.wait(0.005):
            resident, shared = map(int, Path("/proc/self/statm").read_text().split()[1:3])
            self.private = max(self.private, (resident - shared) * page)
            self.resident = max(self.resident, resident * page)


def fill(folder: Path, kind: str, n_tasks: int) -> None:
    """Make a project state, and a cache of parts."""
    settings = load_settings(model_dir=folder)
    store = Store(settings.store_url)
    store.register(1, CONFIGS[kind])
    task = learned_task(CONFIGS[kind], settings)
    parts = open_embedder(settings, 1, task, lambda _: b"").parts["label"]
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(4, parts.n_features)) / 4
    for start in range(0, n_tasks, CHUNK):
        numbers = range(start, min(start + CHUNK, n_tasks))
        found = [_content(kind, rng) for _ in numbers]
        rows = [
            _task(kind, at, regions if at < LABELED else None)
            for at, (_, _, regions) in zip(numbers, found, strict=True)
        ]
        apply_changes(store, 1, rows)
        noise = rng.normal(size=(WORDS if kind == "texts" else GRID**2, parts.n_features))
        parts.cache.add(
            [row.content_key for row in rows],
            [
                TaskParts((centers[tags] + rng.permutation(noise)).astype(np.float32), places)
                for tags, places, _ in found
            ],
        )
    store.close()


def _content(kind: str, rng: Any) -> tuple[Any, Any, list[list[Any]]]:
    """Return the tags and places of the parts of a random task, and its regions."""
    if kind == "texts":
        starts = 6 * np.arange(WORDS)
        first, size, tag = rng.integers(0, WORDS - 4), rng.integers(1, 4), rng.integers(1, 4)
        tags = np.zeros(WORDS, np.int64)
        tags[first : first + size] = tag
        regions = [[int(starts[first]), int(starts[first + size - 1]) + 5, "abc"[tag - 1]]]
        return tags, np.stack([starts, starts + 5], axis=1), regions
    (x, y), (width, height), tag = rng.integers(0, 8, 2), rng.integers(2, 6, 2), rng.integers(1, 3)
    grid = np.zeros((GRID, GRID), np.int64)
    grid[y : y + height, x : x + width] = tag
    corners = [
        [100 * x / GRID, 100 * y / GRID],
        [100 * (x + width) / GRID, 100 * (y + height) / GRID],
    ]
    places = np.stack(np.divmod(np.arange(GRID**2), GRID), axis=1)
    return grid.ravel(), places, [[*corners, "ab"[tag - 1]]]


def _task(kind: str, at: int, regions: list[list[Any]] | None) -> TaskRow:
    key = hashlib.blake2b(str(at).encode(), digest_size=16).hexdigest()
    data = {"text": " ".join(["words"] * WORDS)} if kind == "texts" else {"image": f"/{at}.png"}
    labels = None if regions is None else {"label": regions}
    return TaskRow(at + 1, data, key, labels, False, annotations=int(regions is not None))


def measure(folder: Path, kind: str, threads: int) -> dict[str, float]:
    """Run a round on a filled state; return the seconds of its stages, and the most memory."""
    settings = load_settings(model_dir=folder)
    store = Store(settings.store_url)
    own: Any = NoLabelStudio()
    task = learned_task(CONFIGS[kind], settings)
    current = Round(
        store.known_project(1), task, store, own, settings, lambda *_: b"", dict, lambda: None
    )
    with threadpool_limits(threads), Memory() as memory:
        start, before = time.perf_counter(), time.process_time()
        current.run()
        whole, spent = time.perf_counter() - start, time.process_time() - before
    rng = np.random.default_rng(1)
    apply_changes(
        store, 1, [_task(kind, at, _content(kind, rng)[2]) for at in range(LABELED, LABELED + MORE)]
    )
    store.close()
    told = {stage: current.seconds.get(stage, 0.0) for stage in STAGES}
    told["answer"] = whole - sum(current.seconds.values())
    told |= {"all": whole, "spent": spent}
    return told | {"private": memory.private, "resident": memory.resident}


def in_a_process(folder: Path, kind: str, threads: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(folder), "--kinds", kind]
    command += ["--threads", str(threads)]
    done = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": str(threads)}, check=True, stdout=-1
    )
    told: dict[str, float] = json.loads(done.stdout)
    return told


def rows_in_label_studio(n_rows: int, n_regions: int) -> None:
    """Print how long a real Label Studio takes to store and serve rows with many regions."""
    from active_learn_backend.demo.entities import LABEL_CONFIG, marks
    from active_learn_backend.demo.label_studio import LabelStudioServer
    from active_learn_backend.labelstudio.client import LabelStudioClient
    from active_learn_backend.labelstudio.published_queue import Queue

    text = " ".join(["words"] * n_regions)
    regions = marks(text, [(6 * at, 6 * at + 5, "PER") for at in range(n_regions)])
    print("| rows | regions of each | seconds to store | seconds to draw a task of them |")
    print("|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioServer(Path(folder) / "label-studio") as studio,
    ):
        settings = load_settings(label_studio_url=studio.url, label_studio_api_key=studio.token)
        client = LabelStudioClient(settings)
        for number, result in enumerate([[], regions] * REPEATS, 1):
            body = {"title": f"Rows {number}", "label_config": LABEL_CONFIG}
            project = studio.api("POST", "/api/projects/", body)["id"]
            made = studio.api(
                "POST",
                f"/api/projects/{project}/import?return_task_ids=true",
                [{"text": text} for _ in range(4 * n_rows)],
            )
            queue = Queue(client, project)
            start = time.perf_counter()
            version = queue.publish(1, made["task_ids"][:n_rows], [result] * n_rows)
            stored = time.perf_counter() - start
            queue.flip(version, lambda: None)
            studio.api("PATCH", f"/api/projects/{project}/", {"sampling": "Uncertainty sampling"})
            start = time.perf_counter()
            task = studio.api("GET", f"/api/projects/{project}/next")
            drawn = time.perf_counter() - start
            assert len(task["predictions"][0]["result"]) == len(result)
            print(f"| {n_rows} | {len(result)} | {stored:.2f} | {drawn:.2f} |", flush=True)
        client.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("--sizes", type=int, nargs="+", help="tasks; else those of the aims")
    parser.add_argument("--threads", type=int, default=2, help="of linear algebra")
    parser.add_argument(
        "--label-studio", action="store_true", help="store 50 rows of 100 regions in a real one"
    )
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    add_report_option(parser)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.kinds[0], arguments.threads)))
        return
    if arguments.label_studio:
        print(f"{measured_by()}\n")
        rows_in_label_studio(50, 100)
        return
    lines = []
    for kind in arguments.kinds:
        for n_tasks in arguments.sizes or SIZES[kind]:
            with tempfile.TemporaryDirectory() as folder:
                fill(Path(folder), kind, n_tasks)
                in_a_process(Path(folder), kind, arguments.threads)
                told = in_a_process(Path(folder), kind, arguments.threads)
            seconds = " | ".join(f"{told[stage]:.2f}" for stage in (*STAGES, "all", "spent"))
            memory = " | ".join(f"{told[one] / 1e6:.0f} MB" for one in ("private", "resident"))
            lines.append(f"| {n_tasks:,} {kind} | {seconds} | {memory} |")
            print(lines[-1], flush=True)
    text = (
        f"{measured_by()}: seconds of the second round, with {LABELED + MORE} labels; "
        "memory of the process alone, and with the pages of the cache that it has mapped.\n\n"
        f"| Tasks | {' | '.join(map(str.capitalize, STAGES))} | All | CPU | Memory | With pages |\n"
        f"|---|{'---|' * (len(STAGES) + 4)}\n" + "\n".join(lines)
    )
    publish("region rounds", text, arguments.report)


if __name__ == "__main__":
    main()
