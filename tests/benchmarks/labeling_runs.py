"""How long it takes to write and to take back automatic labels in a real Label Studio.

Compares the two ways to make annotations of existing tasks: predictions that Label Studio's own
bulk action turns into annotations, and one request for each (of which some are measured). Then a
labeling run is written and taken back, while a person submits about once a second.

    python tests/benchmarks/labeling_runs.py [--tasks 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.labelstudio.automatic_labels import AutomaticLabels
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.run_actions import UNANNOTATED
from active_learn_backend.settings import load_settings
from active_learn_backend.state.answer_files import Answer
from active_learn_backend.state.store import Store
from report import measured_by

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="positive"/><Choice value="negative"/></Choices></View>'
)
POSITIVE = choice("positive", "label", "text")
POSTED = 100  # requests of one annotation each
AT_ONCE = 500  # tasks of an action
THINK = 1.0  # seconds of a person before each submit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=10_000)
    count = parser.parse_args().tasks
    print(f"{measured_by()}\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioServer(Path(folder) / "label-studio") as studio,
    ):
        settings = load_settings(
            label_studio_url=studio.url,
            label_studio_api_key=studio.token,
            model_dir=Path(folder) / "backend",
        )
        client = LabelStudioClient(settings)
        _compare_ways(studio, client, count)
        store = Store("sqlite://")
        project, tasks = _project(studio, count)
        others = _project(studio, 2000)[1]
        labels = AutomaticLabels(client, store, settings, project)
        answers = [Answer(task, {"label": "positive"}, 0.97) for task in tasks]
        for kind in ("predictions", "annotations"):
            run = labels.begin(kind, answers, accuracy=0.98, confidence=0.95)
            with _submits(studio, others, f"a run of {count:,} {kind} is written"):
                labels.write(run)
            with _submits(studio, others, "... and taken back"):
                print(" ", labels.remove(run.run))


def _project(studio: LabelStudioServer, count: int) -> tuple[int, list[int]]:
    body = {"title": "Automatic labels", "label_config": CONFIG}
    project = studio.api("POST", "/api/projects/", body)["id"]
    texts = [{"text": f"text number {n}"} for n in range(count)]
    path = f"/api/projects/{project}/import?return_task_ids=true"
    return project, studio.api("POST", path, texts)["task_ids"]


def _compare_ways(studio: LabelStudioServer, client: LabelStudioClient, count: int) -> None:
    project, tasks = _project(studio, count)
    posted = _seconds(
        lambda: [
            studio.api("POST", f"/api/tasks/{task}/annotations/", {"result": POSITIVE})
            for task in tasks[:POSTED]
        ]
    )
    rows = [
        {"task": task, "result": POSITIVE, "score": 0.9, "model_version": "label-1"}
        for task in tasks
    ]
    imported = _seconds(lambda: client.import_predictions(project, rows, timeout=600))
    converted = _seconds(
        lambda: [
            client.act(
                project,
                "predictions_to_annotations",
                tasks[at : at + AT_ONCE],
                [UNANNOTATED],
                model_version="label-1",
            )
            for at in range(0, count, AT_ONCE)
        ]
    )
    each = posted / POSTED * count
    print(f"one request each: {posted:.1f} s for {POSTED}, so {each:.0f} s for {count:,}")
    print(
        f"import of predictions {imported:.1f} s, bulk action in parts of {AT_ONCE} "
        f"{converted:.1f} s: {each / (imported + converted):.0f} times as fast"
    )
    assert client.project(project)["total_annotations_number"] == count


def _seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@contextmanager
def _submits(studio: LabelStudioServer, tasks: list[int], what: str) -> Iterator[None]:
    """Print how long something took, and how long a person's submits took meanwhile."""
    ended, waits = threading.Event(), []

    def submit() -> None:
        with studio.client(studio.token) as person:
            while not ended.wait(THINK):
                start = time.perf_counter()
                person.post(f"/api/tasks/{tasks.pop()}/annotations/", json={"result": POSITIVE})
                waits.append(time.perf_counter() - start)

    thread = threading.Thread(target=submit)
    start = time.perf_counter()
    thread.start()
    try:
        yield
    finally:
        took = time.perf_counter() - start
        ended.set()
        thread.join()
    waits.sort()
    print(
        f"{what}: {took:.1f} s; {len(waits)} submits meanwhile: median "
        f"{waits[len(waits) // 2]:.2f} s, longest {waits[-1]:.2f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
