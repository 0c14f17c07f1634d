"""How long annotators wait: a real Label Studio with 1,400 images, and the backend beside it.

Prints, from one run:
- the time from the label that makes a round due to the re-ordered queue, and the round's stages;
- the time that submits take while rounds run, in pairs with submits in a Label Studio that has no
  backend (in the same one they would wait for the rounds too);
- the time that /webhook takes with 20 clients at once while rounds run.

    python tests/benchmarks/live_queue.py [--images 1400] [--rounds 12] [--pairs 200]

With 0 a part is left out. Label Studio runs on SQLite, or with `--postgresql
postgresql://user@host:port/` on new databases of that server, and with `--quick-imports` with the
feature flag that spares it the count of all tasks at each import (both Label Studios).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from active_learn_backend.demo import digits
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import FIRST_START, LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.doctor.recounts import QUICK_IMPORTS
from events import event_headers
from report import measured_by

RETRAIN_EVERY = 5
CLIENTS = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1400)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument(
        "--think", type=float, default=1.0, help="seconds before a submit, half to one and a half"
    )
    parser.add_argument("--retrain-every", type=int, default=RETRAIN_EVERY)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--pull", action="store_true", help="connect without a webhook")
    parser.add_argument("--postgresql", help="address of a server that may create databases")
    parser.add_argument("--quick-imports", action="store_true", help="set Label Studio's flag")
    arguments = parser.parse_args()
    print(f"{measured_by()}\n")
    data = digits.load()
    with (
        tempfile.TemporaryDirectory() as folder,
        _servers(Path(folder), arguments) as (studio, backend),
    ):
        project = digits.create_project(studio, "Live queue")
        digits.upload(studio, project, data.png, data.pool[: arguments.images].tolist())
        pull = ["--pull"] if arguments.pull else []
        backend.run("connect", "--project", str(project), *pull)
        _wait_version(studio, project, after=0)
        with studio.client(studio.token) as http_client:
            annotator = Annotator(
                http_client, project, lambda task: choice(data.truth[digits.digit_index(task)])
            )
            if arguments.rounds:
                _label_to_queue(
                    studio, project, annotator, arguments.rounds, arguments.retrain_every
                )
                _print_stages(backend)
            if arguments.pairs:
                env = _environment(arguments)
                with LabelStudioServer(Path(folder) / "plain", env=env) as plain:
                    _submits(annotator, plain, arguments)
                print(f"rows of former queues left: {_old_rows(studio, project)}")
            if arguments.requests:
                _webhooks(studio, backend, project, arguments.requests)


@contextmanager
def _servers(
    folder: Path, arguments: argparse.Namespace
) -> Iterator[tuple[LabelStudioServer, BackendServer]]:
    settings = {"RETRAIN_EVERY": str(arguments.retrain_every)}
    env = _environment(arguments)
    with (
        LabelStudioServer(folder / "label-studio", env=env) as studio,
        BackendServer(studio, folder / "backend", env=settings) as backend,
    ):
        yield studio, backend


def _environment(arguments: argparse.Namespace) -> dict[str, str]:
    """Return Label Studio's settings, those of a new database among them."""
    flags = {QUICK_IMPORTS: "true"} if arguments.quick_imports else {}
    return {**_database(arguments.postgresql), **flags}


def _database(server: str | None) -> dict[str, str]:
    """Return Label Studio's settings for a new database of a PostgreSQL; none without a server."""
    if server is None:
        return {}
    import psycopg

    name = f"live_queue_{os.urandom(6).hex()}"
    with psycopg.connect(server, dbname="postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
        info = connection.info
        address = {"USER": info.user, "PASSWORD": info.password, "HOST": info.host}
        address |= {"PORT": str(info.port), "NAME": name}
    settings = {f"POSTGRE_{key}": value for key, value in address.items()}
    return {"DJANGO_DB": "default", **FIRST_START, **settings}


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
    studio: LabelStudioServer,
    project: int,
    annotator: Annotator,
    rounds: int,
    retrain_every: int,
) -> None:
    times = []
    for _ in range(rounds):
        before = _version(studio, project)
        list(annotator.label(retrain_every))
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


def _submits(live: Annotator, studio: LabelStudioServer, arguments: argparse.Namespace) -> None:
    """Submit in turns where rounds run and where no backend is, each in its own Label Studio."""
    data = digits.load()

    def answer(task: dict[str, object]) -> list[dict[str, object]]:
        return choice(data.truth[digits.digit_index(task)])

    project = digits.create_project(studio, "Plain")
    digits.upload(studio, project, data.png, data.pool[: arguments.images].tolist())
    times: dict[str, list[float]] = {"plain": [], "live": []}
    with studio.client(studio.token) as http_client:
        people = {"plain": Annotator(http_client, project, answer), "live": live}
        for _ in range(arguments.pairs):
            for name, annotator in people.items():
                task = annotator.next_task()
                if task is None:
                    raise RuntimeError(f"the {name} project has no task left")
                # The person at work. Of one length, it would always meet the same stage of a round.
                time.sleep(arguments.think * random.uniform(0.5, 1.5))
                started = time.monotonic()
                annotator.submit(task, answer(task))
                times[name].append(time.monotonic() - started)
    _row("submit, no backend", times["plain"])
    _row("submit, rounds running", times["live"], "target: p99 at most 1.2 times that")
    _print_ratios(times["plain"], times["live"])


def _print_ratios(plain: Sequence[float], live: Sequence[float]) -> None:
    """Print how much longer submits take, with the 95 % interval of a bootstrap over the pairs.

    Label Studio stops now and then to collect garbage, for longer than a submit takes, with the
    backend or without: the 99th percentile of few pairs says how often that happened in them.
    """
    pairs = np.array([plain, live])
    drawn = np.random.default_rng(0).integers(pairs.shape[1], size=(2000, pairs.shape[1]))
    for name, percent in (("median", 50), ("90 %", 90), ("p99", 99)):
        ratio = np.divide(*np.percentile(pairs[::-1], percent, axis=1))
        low, high = np.percentile(
            np.divide(*np.percentile(pairs[::-1, drawn], percent, axis=2)), (2.5, 97.5)
        )
        print(f"  {name:6} {ratio:.2f} times as long (95 %: {low:.2f} to {high:.2f})", flush=True)


def _webhooks(
    studio: LabelStudioServer, backend: BackendServer, project: int, requests: int
) -> None:
    """Twenty clients post events while "Start training" keeps the worker in rounds."""
    body = json.dumps({"action": "ANNOTATION_CREATED", "project": {"id": project}}).encode()
    training = body.replace(b"ANNOTATION_CREATED", b"START_TRAINING")
    before = _version(studio, project)
    times: list[float] = []
    address = urlsplit(backend.url)
    headers = event_headers(backend.model_dir, project)

    def post(connection: http.client.HTTPConnection, data: bytes) -> None:
        connection.request("POST", "/webhook", data, headers)
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
