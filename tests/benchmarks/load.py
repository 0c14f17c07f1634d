"""Fifty annotators at once: a real Label Studio with the backend, then our routes alone.

Prints, from one run:
- how long 50 annotators wait for a task and for their submit, in a project with the backend and in
  one without it, in turns (on a small machine Label Studio itself is the bottleneck);
- with ``--crowd 200``: how many of as many people at once are left without a task, after 50 others
  opened a task and left, in a project of 1,000 tasks;
- p50 and p99 of /webhook and /predict with 50 clients while rounds run;
- the memory of web process and worker over 10,000 events.

    python tests/benchmarks/load.py [--tasks 2000] [--labels 400] [--events 10000]
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from active_learn_backend.demo.annotator import Annotator, Submission, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from events import JSON, event_headers
from report import measured_by

PEOPLE = 50
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="even"/><Choice value="odd"/></Choices></View>'
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--labels", type=int, default=400, help="of each project")
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--crowd", type=int, default=0, help="people who come at once")
    arguments = parser.parse_args()
    print(f"{measured_by()}\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        LabelStudioServer(Path(folder) / "label-studio") as studio,
        BackendServer(studio, Path(folder) / "backend") as backend,
    ):
        if arguments.crowd:
            crowd(studio, backend, arguments.crowd)
            return
        with_backend = create_project(studio, "With the backend", arguments.tasks)
        plain = create_project(studio, "Plain", arguments.tasks)
        backend.run("connect", "--project", str(with_backend))
        wait_version(studio, with_backend, "al-")
        keys = [studio.create_user(f"person{n}@example.com").token for n in range(PEOPLE)]
        waits: dict[str, list[float]] = {"plain": [], "with the backend": []}
        for _ in range(2):  # in turns, so that both see the same machine
            for name, project in (("plain", plain), ("with the backend", with_backend)):
                waits[name] += label(studio, project, keys, arguments.labels // 2)
        for name, times in waits.items():
            row(f"task and submit, {PEOPLE} people, {name}", times)
        routes(backend, with_backend, arguments.events)


def create_project(studio: LabelStudioServer, title: str, n_tasks: int) -> int:
    project = studio.api("POST", "/api/projects/", {"title": title, "label_config": CONFIG})["id"]
    texts = [{"text": f"the number {n * 37 % 1009} of {n % 11}"} for n in range(n_tasks)]
    studio.api("POST", f"/api/projects/{project}/import", texts, timeout=300)
    return int(project)


def wait_version(studio: LabelStudioServer, project: int, start: str) -> None:
    def served() -> bool:
        version = studio.api("GET", f"/api/projects/{project}/")["model_version"] or ""
        return str(version).startswith(start)

    wait_until(served, timeout=180, what="a queue")


def crowd(studio: LabelStudioServer, backend: BackendServer, people: int) -> None:
    """Let 50 people open a task and leave, and then many draw a task and label it, all at once."""
    keys = [studio.create_user(f"crowd{n}@example.com").token for n in range(people + PEOPLE)]
    project = create_project(studio, "A crowd", 1000)
    backend.run("connect", "--project", str(project))
    wait_version(studio, project, "al-")
    found: list[bool] = []

    def work(key: str, submits: bool) -> None:
        with studio.client(key) as client:
            client.timeout = 600  # everybody waits for Label Studio
            person = Annotator(client, project, lambda task: choice("odd", "label", "text"))
            task = person.next_task()
            found.append(task is not None)
            if task is not None and submits:
                person.submit(task, choice("odd", "label", "text"))

    together([lambda key=key: work(key, False) for key in keys[:PEOPLE]])
    together([lambda key=key: work(key, True) for key in keys[PEOPLE:]])
    print(
        f"{PEOPLE} people left with an open task, {people} came at once: of {len(found)} "
        f"requests for a task {found.count(False)} found none"
    )


def label(studio: LabelStudioServer, project: int, keys: Sequence[str], total: int) -> list[float]:
    """Let everybody label at once; gives how long each submission was waited for."""
    done: list[Submission] = []

    def answer(task: dict[str, object]) -> list[dict[str, object]]:
        even = int(str(task["id"])) % 2 == 0
        return choice("even" if even else "odd", "label", "text")

    def work(key: str) -> None:
        with studio.client(key) as client:
            done.extend(Annotator(client, project, answer).label(max(1, total // PEOPLE)))

    together([lambda key=key: work(key) for key in keys])
    return [submission.waited for submission in done]


def routes(backend: BackendServer, project: int, events: int) -> None:
    """Ask our routes alone, and look at the memory of web process and worker."""
    event = {"action": "ANNOTATION_CREATED", "project": {"id": project}}
    task = {"id": 1, "data": {"text": "the number 12 of 7"}}
    question = {"tasks": [task], "project": str(project), "label_config": CONFIG}
    processes = children(backend)
    headers = event_headers(backend.model_dir, project)
    ask(backend, "/webhook", event, events // 10, headers)  # warm
    ask(backend, "/predict", question, 100)
    before = {name: memory(pid) for name, pid in processes.items()}
    half: dict[str, float] = {}
    times: list[float] = []
    for part in range(2):
        times += ask(backend, "/webhook", event, events // 2, headers)
        if part == 0:
            half = {name: memory(pid) for name, pid in processes.items()}
    after = {name: memory(pid) for name, pid in processes.items()}
    row(f"/webhook, {PEOPLE} clients", times)
    row(f"/predict of one task, {PEOPLE} clients", ask(backend, "/predict", question, 1000))
    for name in processes:
        print(
            f"memory of the {name}: {before[name]:.0f} MiB, after {events // 2:,} events "
            f"{half[name]:.0f}, after {events:,} {after[name]:.0f}"
        )


def ask(
    backend: BackendServer,
    path: str,
    body: dict[str, object],
    count: int,
    headers: Mapping[str, str] = JSON,
) -> list[float]:
    """Send one request again and again from 50 clients; gives the seconds of each."""
    address = urlsplit(backend.url)
    data = json.dumps(body).encode()
    times: list[float] = []

    def work() -> None:
        for _ in range(max(1, count // PEOPLE)):
            # Label Studio opens a connection for each event.
            connection = http.client.HTTPConnection(address.hostname or "", address.port)
            started = time.perf_counter()
            connection.request("POST", path, data, dict(headers))
            answer = connection.getresponse()
            answer.read()
            times.append(time.perf_counter() - started)
            connection.close()
            if answer.status != 200:
                raise RuntimeError(f"{path} answered {answer.status}")

    together([work] * PEOPLE)
    return times


def together(jobs: Sequence[Callable[[], None]]) -> None:
    """Run jobs at once; the first error of one is raised."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    with ExitStack() as stack:
        for job in jobs:
            thread = threading.Thread(target=guarded, args=(job,))
            thread.start()
            stack.callback(thread.join)
    if errors:
        raise errors[0]


def children(backend: BackendServer) -> dict[str, int]:
    """Process ids of the gunicorn worker and of our worker."""
    found: dict[str, int] = {}
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = status.read_bytes().decode("utf-8", "replace").split("\0")
            environment = (status.parent / "environ").read_bytes().decode("utf-8", "replace")
        except OSError:
            continue
        if f"MODEL_DIR={backend.model_dir}" not in environment.split("\0"):
            continue
        pid = int(status.parent.name)
        if "gunicorn" in words:
            found["web process"] = max(pid, found.get("web process", 0))  # the master is older
        elif words[-2:] == ["worker", ""]:
            found["worker"] = pid
    return found


def memory(pid: int) -> float:
    """Resident memory in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


def row(name: str, times: Sequence[float]) -> None:
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    print(
        f"{name:46} n={len(ordered):6}  median {statistics.median(ordered):7.3f} s  "
        f"p99 {p99:7.3f} s  max {ordered[-1]:7.3f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
