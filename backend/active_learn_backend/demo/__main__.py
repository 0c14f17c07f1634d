"""Run the demo: ``python -m active_learn_backend.demo`` (or ``make demo``)."""

from __future__ import annotations

import argparse
import fcntl
import io
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from types import FrameType
from typing import NoReturn

import httpx
from active_learn.errors import ActiveLearnError
from tqdm import tqdm

from . import report
from .annotator import Annotator, Submission
from .backend import BackendServer
from .finishing import Finish, finish
from .label_studio import LabelStudioServer
from .options import parse
from .process import ServerError, wait_until
from .subjects import DigitImages, EntityTexts, Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status: 0 done, 1 failed, 130 interrupted."""
    options = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a log file shows each line as it comes
    # Asked to end, unwind as after Ctrl-C: every `with` below stops what it started.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        with claimed(options.out):
            run(options)
    except KeyboardInterrupt:
        print("\nInterrupted; Label Studio and the backend are stopped.", file=sys.stderr)
        return 130
    except (ActiveLearnError, ServerError, TimeoutError, OSError, httpx.HTTPError) as error:
        print(f"\nThe demo failed: {error}\nLogs: {options.out / 'servers'}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold the output folder for one run at a time."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServerError(f"another demo is using {out}; end it or pass --out") from None
        yield


def run(options: argparse.Namespace) -> None:
    """Set up both servers and projects, label, compare."""
    began = time.monotonic()
    servers = options.out / "servers"
    shutil.rmtree(servers, ignore_errors=True)
    servers.mkdir()
    subject: Subject = DigitImages(options.pool, options.seed)
    if options.ner:
        subject = EntityTexts(options.pool, options.seed, options.encoder)

    with ExitStack() as stack:
        say("Starting Label Studio (the very first start takes a minute)")
        label_studio = stack.enter_context(
            LabelStudioServer(servers / "label-studio", port=options.label_studio_port)
        )
        say_port("Label Studio", options.label_studio_port, label_studio.port)
        backend = BackendServer(
            label_studio,
            servers / "backend",
            port=options.backend_port,
            env={"ENCODER": options.encoder, "AUDIT": f"{options.audit:g}"},
        )
        stack.enter_context(backend)
        say_port("the backend", options.backend_port, backend.port)

        active, plain = create_projects(label_studio, subject)
        say(f"Connecting project {active} to the backend: active-learn connect --project {active}")
        print(indent(backend.run("connect", "--project", str(active))))
        wait_until(
            lambda: ordered(label_studio, active), timeout=120, what="the first ordered queue"
        )

        deadline = began + options.active_share * options.time_limit
        taught = annotate(
            label_studio, subject, active, "active queue", options.labels, deadline, options.think
        )
        # Nothing learns from the plain project, so nothing is gained by thinking there.
        deadline = began + options.plain_share * options.time_limit
        baseline = annotate(
            label_studio, subject, plain, "plain queue", options.plain_labels, deadline
        )
        compare(options, subject, taught, baseline)
        say(f"Asking what the head may label of the rest at {options.accuracy:.0%}")
        deadline = began + options.time_limit
        given = len(taught)
        rest = finish_rest(options, label_studio, backend, subject, active, given, deadline)
        print(f"\n{rest}\n")
        say(f"Done in {time.monotonic() - began:.0f} s")
        if options.keep:
            keep(label_studio, backend, active, plain)


def create_projects(label_studio: LabelStudioServer, subject: Subject) -> tuple[int, int]:
    """Create the active and the plain project, with the same content in the same order."""
    created = []
    for title in ("active queue", "plain queue"):
        say(f"Uploading {len(subject.pool)} {subject.things} to a project, '{title}'")
        created.append(subject.create_project(label_studio, title))
    return created[0], created[1]


def ordered(label_studio: LabelStudioServer, project: int) -> bool:
    """Check whether the project's current queue is one of ours."""
    current = label_studio.api("GET", f"/api/projects/{project}/")["model_version"]
    return bool(current) and current.startswith("al-")


def annotate(
    label_studio: LabelStudioServer,
    subject: Subject,
    project: int,
    name: str,
    count: int,
    deadline: float,
    think: float = 0.0,
) -> list[Submission]:
    """Let the simulated annotator work on a project, until the deadline at the latest."""
    say(f"Annotating {count} tasks of project {project}, {think:g} s each")
    given: list[Submission] = []
    # Into a file or a log, one line each ten seconds.
    interval = 0.1 if sys.stderr.isatty() else 10.0
    with (
        label_studio.client(label_studio.token) as client,
        tqdm(total=count, desc=name, unit="label", mininterval=interval) as bar,
    ):
        annotator = Annotator(client, project, subject.answer, think=think)
        for submission in annotator.label(count):
            given.append(submission)
            bar.set_postfix_str(submission.version or "", refresh=False)
            bar.update()
            if time.monotonic() > deadline:
                break
    if len(given) < count:
        say(f"Stopped at {len(given)} of {count} labels: the time is up (--time-limit)")
    return given


def finish_rest(
    options: argparse.Namespace,
    label_studio: LabelStudioServer,
    backend: BackendServer,
    subject: Subject,
    project: int,
    labels: int,
    deadline: float,
) -> Finish:
    """Find what may be labeled automatically, and check it against the truth."""

    def check(count: int) -> int:
        return len(annotate(label_studio, subject, project, "sample", count, deadline))

    answers: Path = options.out / "answers.jsonl"
    answers.unlink(missing_ok=True)
    return finish(label_studio, backend, subject, project, labels, options.accuracy, check, answers)


def compare(
    options: argparse.Namespace,
    subject: Subject,
    taught: list[Submission],
    baseline: list[Submission],
) -> None:
    """Test what each queue's labels taught on what is held out; print and write it."""
    say(f"Testing on {len(subject.held_out)} {subject.things} that were never uploaded")
    active, plain = (
        subject.learning_curve([subject.index(s.task) for s in given])
        for given in (taught, baseline)
    )
    versions = [s.version for s in taught if s.version]
    print(
        f"\n{report.table(active, plain)}\n\n{report.summary(active, plain)}\n"
        f"{len(versions)} of {len(taught)} tasks came from the ordered queue, "
        f"which was renewed {max(len(set(versions)) - 1, 0)} times meanwhile.\n"
        f"Label Studio took {median(s.waited for s in taught):.2f} s to serve a task and take its "
        f"label ({median(s.waited for s in baseline):.2f} s in the plain project).\n"
    )
    if proposals := subject.worth_of_proposals(taught):
        print(f"{proposals}\n")
    report.write_csv(options.out / "learning_curve.csv", active, plain)
    report.draw(options.out / "learning_curve.png", active, plain, subject.title)
    say(f"Learning curves: {options.out / 'learning_curve.png'} and .csv")


def keep(label_studio: LabelStudioServer, backend: BackendServer, active: int, plain: int) -> None:
    """Print the addresses, and wait for Ctrl-C."""
    login = label_studio.admin
    print(
        f"""
Label Studio   {label_studio.url}
Login          {login.email}, password {login.password}
Backend        {backend.url}/health

What to click:
  1. {label_studio.url}/projects/{active}/data, "Label All Tasks": the tasks come in the
     backend's order, each with its guess. Answer some; the queue is renewed every few labels.
  2. {label_studio.url}/projects/{active}/settings/ml: the connected backend.
  3. {label_studio.url}/projects/{plain}/data: the plain project, to compare.

Ctrl-C stops both servers."""
    )
    try:
        while label_studio.process.running and backend.process.running:
            time.sleep(1)
    except KeyboardInterrupt:
        print("\nStopping both servers.")
        return
    ended = backend if label_studio.process.running else label_studio
    raise ServerError(f"{ended.process.name} ended; its log is {ended.process.log}")


def say(line: str) -> None:
    """Print a step of the demo, with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def say_port(name: str, wanted: int, taken: int) -> None:
    """Print where a server is, and why it isn't where it was expected."""
    if taken != wanted:
        say(f"Port {wanted} is in use: {name} takes port {taken}")
    say(f"Running: {name}, http://127.0.0.1:{taken}")


def indent(text: str) -> str:
    """Set off the output of another program."""
    return "\n".join(f"    {line}" for line in text.splitlines())


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
