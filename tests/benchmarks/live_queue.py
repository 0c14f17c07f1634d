"""How long annotators wait: a real Label Studio with 1,400 images, and the backend beside it.

Prints, from one run:
- the time from the label that makes a round due to the re-ordered queue, and the round's stages;
- the time that submits take while old queues are being retired, next to submits in quiet;
- the time that /webhook takes with 20 clients at once while rounds run.

    python tests/benchmarks/live_queue.py [--images 1400] [--rounds 12] [--requests 2000]
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from active_learn_backend.demo import digits
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from report import measured_by

RETRAIN_EVERY = 5
CLIENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--requests", type=int, default=2000)
    arguments = parser.parse_args()
    print(f"{measured_by()}\n")
    data = digits.load()
    with tempfile.TemporaryDirectory() as folder, _servers(Path(folder)) as (studio, backend):
        project = digits.create_project(studio, "Live queue")
        digits.upload(studio, project, data.png, data.pool[: arguments.images].tolist())
        backend.run("connect", "--project", str(project))
        _wait_version(studio, project, after=0)
        with studio.client(studio.token) as http_client:
            annotator = Annotator(
                http_client, project, lambda task: choice(data.truth[digits.digit_index(task)])
            )
            _label_to_queue(studio, project, annotator, arguments.rounds)
            _print_stages(backend)
            _submits(studio, project, annotator, arguments.images)
            _webhooks(studio, backend, project, arguments.requests)


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[LabelStudioServer, BackendServer]]:
    settings = {"RETRAIN_EVERY": str(RETRAIN_EVERY)}
    with (
        LabelStudioServer(folder / "label-studio") as studio,
        BackendServer(studio, folder / "backend", env=settings) as backend,
    ):
        yield studio, backend


def _version(studio: LabelStudioServer, project: int) -> int:
    version = studio.api("GET", f"/api/projects/{project}/")["model_version"] or ""
    return int(version[3:]) if version.startswith("al-") else 0


def _wait_version(studio: LabelStudioServer, project: int, after: int) -> None:
    wait_until(
        lambda: _version(studio, project) > after, timeout=180, what="a queue", interval=0.02
    )


def _old_rows(studio: LabelStudioServer, project: int) -> int:
    versions = studio.api("GET", f"/api/projects/{project}/model-versions/")
    current = f"al-{_version(studio, project)}"
    return sum(count for version, count in versions.items() if version != current)


def _label_to_queue(
    studio: LabelStudioServer, project: int, annotator: Annotator, rounds: int
) -> None:
    times = []
    for _ in range(rounds):
        wait_until(lambda: not _old_rows(studio, project), timeout=180, what="a quiet backend")
        before = _version(studio, project)
        list(annotator.label(RETRAIN_EVERY))
        submitted = time.monotonic()
        _wait_version(studio, project, after=before)
        times.append(time.monotonic() - submitted)
    _row("label to re-ordered queue", times, "target: median under 3 s at 1,400 tasks, 2 cores")


def _print_stages(backend: BackendServer) -> None:
    log = backend.model_dir.with_name(f"{backend.model_dir.name}.serve.log").read_text()
    rounds = re.findall(r"serving al-\d+ \((.*)\)", log)[1:]
    stages: dict[str, list[float]] = {}
    for line in rounds:
        for stage, seconds in re.findall(r"(\w+) ([\d.]+) s", line):
            stages.setdefault(stage, []).append(float(seconds))
    for stage, seconds_of in stages.items():
        _row(f"  of it: {stage}", seconds_of)


def _submits(studio: LabelStudioServer, project: int, annotator: Annotator, images: int) -> None:
    """Submit in a project beside it, which starts no rounds, while old rows are being deleted."""
    data = digits.load()
    beside = digits.create_project(studio, "Beside")
    digits.upload(studio, beside, data.png, data.pool[: min(images, 400)].tolist())
    page = studio.api("GET", f"/api/tasks/?project={beside}&page_size=500&include=id")
    tasks = iter([task["id"] for task in page["tasks"]])
    retiring: list[float] = []
    while len(retiring) < 60:
        before = _version(studio, project)
        list(annotator.label(RETRAIN_EVERY))
        _wait_version(studio, project, after=before)
        while _old_rows(studio, project):
            retiring.append(_submit(studio, next(tasks)))
    quiet = [_submit(studio, next(tasks)) for _ in range(60)]
    _row("submit while retiring", retiring, "target: none over 0.3 s")
    _row("submit in quiet", quiet)


def _submit(studio: LabelStudioServer, task: int) -> float:
    started = time.monotonic()
    studio.api("POST", f"/api/tasks/{task}/annotations/", {"result": choice("3")})
    return time.monotonic() - started


def _webhooks(
    studio: LabelStudioServer, backend: BackendServer, project: int, requests: int
) -> None:
    """Twenty clients post events while "Start training" keeps the worker in rounds."""
    body = json.dumps({"action": "ANNOTATION_CREATED", "project": {"id": project}}).encode()
    training = body.replace(b"ANNOTATION_CREATED", b"START_TRAINING")
    before = _version(studio, project)
    times: list[float] = []
    address = urlsplit(backend.url)

    def post(connection: http.client.HTTPConnection, data: bytes) -> None:
        connection.request("POST", "/webhook", data, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise RuntimeError(f"/webhook answered {answer.status}")

    def client(number: int) -> None:
        for count in range(requests // CLIENTS):
            # Label Studio opens a connection for each event.
            connection = http.client.HTTPConnection(address.hostname or "", address.port)
            started = time.perf_counter()
            post(connection, training if number == 0 and count % 10 == 0 else body)
            times.append(time.perf_counter() - started)
            connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _wait_version(studio, project, after=before)
    _row(f"/webhook, {CLIENTS} clients, rounds running", times, "target: p99 under 0.05 s")


def _row(name: str, times: Sequence[float], note: str = "") -> None:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    print(
        f"{name:38} n={len(ordered):5}  median {statistics.median(ordered):7.3f} s  "
        f"p99 {p99:7.3f} s  max {ordered[-1]:7.3f} s  {note}",
        flush=True,
    )


if __name__ == "__main__":
    main()
