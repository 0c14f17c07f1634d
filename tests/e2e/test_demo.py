"""The demo in small: it ends by itself, shows what it found, and leaves no process behind."""

from __future__ import annotations

import csv
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from active_learn_backend.demo.process import wait_until
from PIL import Image

pytestmark = pytest.mark.usefixtures("label_studio_installed")

SMALL = ("--images=110", "--labels=12", "--plain-labels=20", "--think=0")


class Demo:
    """A demo run as a user starts it, in a process group of its own like a shell's job."""

    def __init__(self, out: Path, *options: str) -> None:
        self.out = out
        self.output = out.with_suffix(".txt")
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "active_learn_backend.demo", f"--out={out}", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        return self.output.read_text()

    def wait_for(self, line: str, timeout: float = 240) -> None:
        def shown() -> bool:
            assert self.process.poll() is None, self.text()
            return line in self.text()

        wait_until(shown, timeout=timeout, what=f"{line!r} in the demo's output")

    def end(self, timeout: float = 240) -> int:
        return self.process.wait(timeout)

    def servers(self) -> list[int]:
        """Process ids of whatever was started with a folder of this demo in its environment."""
        return [
            int(environment.parent.name)
            for environment in Path("/proc").glob("[0-9]*/environ")
            if f"{self.out}/servers" in _read(environment)
        ]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode(errors="replace")
    except OSError:  # it ended, or is someone else's
        return ""


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[type[Demo]]:
    """``demo(*options)`` -> a running demo, ended with the test whatever happens."""
    started: list[Demo] = []

    def start(*options: str) -> Demo:
        started.append(Demo(tmp_path / f"demo-{len(started)}", *SMALL, *options))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
            one.process.wait(60)


def test_it_writes_what_it_found_and_serves_beside_taken_ports_until_interrupted(demo):
    """That it ends by itself without ``--keep`` is seen with entities, and where it fails."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = demo("--keep", f"--label-studio-port={port}", f"--backend-port={port}")
        run.wait_for("Ctrl-C stops both servers.")
    check_what_was_found(run)
    check_what_is_served(run, port)
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0, run.text()
    assert run.servers() == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(address_of(run, "Backend"), trust_env=False)


def check_what_was_found(run):
    with (run.out / "learning_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["labels"]) for row in rows] == [10, 12, 20]
    assert [bool(row["active_accuracy"]) for row in rows] == [True, True, False]
    assert [bool(row["plain_accuracy"]) for row in rows] == [True, False, True]
    assert all(0 <= float(row["active_accuracy"] or 0) <= 1 for row in rows)
    with Image.open(run.out / "learning_curve.png") as picture:
        assert picture.format == "PNG"
    said = re.search(r"([\d.]+)% was first reached with (\d+) labels from the active", run.text())
    assert said, run.text()
    reached = {int(row["labels"]): float(row["active_accuracy"]) for row in rows[:2]}
    goal = min(0.95, reached[12])  # with all labels, be it more or less than with ten
    assert float(said[1]) == pytest.approx(100 * goal, abs=0.06)  # both are rounded
    assert int(said[2]) == min(labels for labels, share in reached.items() if share >= goal)
    # One that is served in the moment in which the queue is renewed may show no version.
    assert re.search(r"(11|12) of 12 tasks came from the ordered queue", run.text())
    # Twelve labels are too few to leave anything to the head, and it says so.
    assert re.search(r"With 12 labels, no answers are granted at 95%: \S", run.text()), run.text()


def check_what_is_served(run, port):
    text = run.text()
    assert f"Port {port} is in use: Label Studio takes port" in text
    assert f"Port {port} is in use: the backend takes port" in text
    email, password = re.search(r"Login +(\S+), password (\S+)", text).groups()
    assert httpx.get(address_of(run, "Backend"), trust_env=False).json()["status"] == "UP"
    label_studio = address_of(run, "Label Studio")
    with httpx.Client(base_url=label_studio, trust_env=False) as browser:
        browser.get("/user/login/")
        form = {"email": email, "password": password}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        referer = {"Referer": label_studio + "/user/login/"}
        assert browser.post("/user/login/", data=form, headers=referer).status_code == 302
        assert browser.get("/api/projects/").json()["count"] == 2
    assert run.servers() != []


def address_of(run, server):
    return re.search(rf"{server} +(http://\S+)", run.text())[1]


@pytest.mark.soak
def test_entities_are_marked_to_the_end_and_the_proposals_held_against_the_truth(demo):
    run = demo("--ner")
    assert run.end() == 0, run.text()
    with (run.out / "learning_curve.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["labels"]) for row in rows] == [10, 12, 20]
    assert all(0 < float(row["active_f1"]) < 1 for row in rows[:2])
    with Image.open(run.out / "learning_curve.png") as picture:
        assert picture.format == "PNG"
    assert re.search(r"F1 [\d.]+% was first reached with 1\d labels from the active", run.text())
    assert re.search(r"the active queue was on average [\d.]+ points (above|below)", run.text())
    assert re.search(r"(11|12) of 12 tasks came from the ordered queue", run.text())
    assert re.search(r"(The queue|No regions were) proposed", run.text()), run.text()
    assert re.search(r"With 12 labels, no answers are granted at 55%: \S", run.text()), run.text()
    assert run.servers() == []


@pytest.mark.parametrize(
    ("number", "stage", "status"),
    [
        (signal.SIGTERM, "Starting Label Studio", 128 + signal.SIGTERM),
        # While it annotates; what `--keep` leaves is interrupted above.
        pytest.param(signal.SIGINT, "Annotating 110 tasks", 130, marks=pytest.mark.soak),
    ],
)
def test_an_interrupted_run_leaves_nothing_behind(demo, number, stage, status):
    run = demo("--labels=110", "--think=1")
    run.wait_for(stage)
    wait_until(run.servers, timeout=60, what="a server to run")
    run.process.send_signal(number)
    assert run.end() == status, run.text()
    assert run.servers() == []
    assert "Traceback" not in run.text()


def test_a_failing_run_says_why_and_leaves_nothing_behind(demo):
    """The backend dies while it starts, beside a Label Studio that runs."""
    run = demo()
    run.wait_for("Running: Label Studio")

    def backend() -> int | None:
        return next((pid for pid in run.servers() if _is_backend(pid)), None)

    os.kill(wait_until(backend, timeout=60, what="the backend"), signal.SIGKILL)
    assert run.end() == 1, run.text()
    assert re.search(r"The demo failed: .+\nLogs: ", run.text(), re.DOTALL)
    assert "Traceback" not in run.text()
    assert run.servers() == []


def _is_backend(pid: int) -> bool:
    return "active-learn\0serve" in _read(Path(f"/proc/{pid}/cmdline"))
