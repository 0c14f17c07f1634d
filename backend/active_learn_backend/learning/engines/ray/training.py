"""A training on the cluster: its folders are sent there, its output and its model come back."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from active_learn.errors import ActiveLearnError

from ....errors import EngineError, TrainingError, WorkerStoppingError
from ..archives import pack, unpack
from ..command import Output, run_command, training_environment

if TYPE_CHECKING:  # its module loads PyTorch, which a worker that trains need not wait for
    from .jobs import TrainingJob

__all__ = ["Relay", "train_on_cluster"]

PIECE = 32 << 20  # bytes of a folder that are sent at once
LOOK = 0.5  # seconds between two looks at a training
PREFIX = "active-learn-training-"
OUTPUT, CHECKPOINTS = "TRAIN_OUTPUT", "TRAIN_CHECKPOINT"


@dataclass
class Relay:
    """What a training and those who wait for it tell each other, in the driver's process."""

    stop: threading.Event = field(default_factory=threading.Event)
    _output: bytearray = field(default_factory=bytearray)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, data: bytes) -> None:
        """Keep what the training wrote until it is taken."""
        with self._lock:
            self._output += data

    def take(self) -> bytes:
        """Return what the training wrote since the last call."""
        with self._lock:
            data = bytes(self._output)
            self._output.clear()
            return data


class _RelayedOutput(Output):
    """Takes the output of the command as it is: the worker reads and keeps it."""

    def __init__(self, relay: Relay) -> None:
        super().__init__(Path())
        self._relay = relay

    def add(self, data: bytes) -> None:
        self._relay.add(data)

    def close(self) -> None:
        """Do nothing: no line was begun here."""

    def save(self) -> None:
        """Do nothing: the output is kept elsewhere."""


@dataclass(frozen=True)
class Look:
    """How far a training is: its new output, whether and why it ended, its checkpoints' state."""

    output: bytes
    is_over: bool
    error: ActiveLearnError | None
    checkpoints: Sequence[Any]


@ray.remote(max_restarts=0, max_task_retries=0)
class Trainer:
    """Runs a training in a worker of the cluster, in a folder that goes with this worker."""

    def __init__(self) -> None:
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        self._relay = Relay()
        self._error: ActiveLearnError | None = None
        self._thread: threading.Thread | None = None

    def receive(self, name: str, piece: bytes) -> None:
        """Take a piece of a folder."""
        with (self._folder / f"{name}.tar").open("ab") as file:
            file.write(piece)

    def start(self, names: Sequence[str], job: Mapping[str, Any]) -> None:
        """Unpack the folders, and begin."""
        for name in names:
            archive = self._folder / f"{name}.tar"
            unpack(archive, self._folder / name)
            archive.unlink()
        folders = {name: str(self._folder / name) for name in (*names, OUTPUT, CHECKPOINTS)}
        for name in folders.values():
            Path(name).mkdir(exist_ok=True)
        environment = training_environment({**job["variables"], **folders})
        arguments = [sys.executable, *job["arguments"]]
        self._thread = threading.Thread(
            target=self._run, args=(arguments, environment, job["seconds"]), daemon=True
        )
        self._thread.start()

    def _run(self, arguments: Sequence[str], environment: Mapping[str, str], limit: float) -> None:
        try:
            run_command(
                arguments,
                environment,
                _RelayedOutput(self._relay),
                limit,
                self._relay.stop,
                folder=self._folder,
            )
        except ActiveLearnError as error:
            self._error = error
        except OSError as error:
            self._error = TrainingError(f"it cannot be run on the cluster: {error}")

    def look(self) -> Look:
        """Return how far it is."""
        over = self._thread is not None and not self._thread.is_alive()
        return Look(self._relay.take(), over, self._error, _state_of(self._folder / CHECKPOINTS))

    def stop(self) -> None:
        """End the training; `look` tells when it has ended."""
        self._relay.stop.set()

    def pack(self, name: str) -> None:
        """Make a folder ready to be sent."""
        pack(self._folder / name, self._folder / f"{name}.tar")

    def piece(self, name: str, start: int) -> bytes:
        """Return a piece of a folder that was packed; empty: that was all."""
        archive = self._folder / f"{name}.tar"
        with archive.open("rb") as file:
            file.seek(start)
            return file.read(PIECE)

    def clear(self) -> None:
        """Remove all files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def train_on_cluster(job: TrainingJob, relay: Relay) -> None:
    """Run a training on the cluster, and take its model and its checkpoints.

    Raises
    ------
    TrainingError
        When it fails or takes too long, or when the cluster has no room for it all that time.
    WorkerStoppingError
        When it was told to stop.
    EngineError
        When one of its folders is too large.
    """
    trainer = Trainer.options(num_cpus=job.cpus, num_gpus=job.gpus).remote()  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory(prefix=PREFIX, dir=job.output.parent) as here:
        try:
            _wait_for_room(trainer, job, relay)
            folders = {**job.folders, CHECKPOINTS: job.checkpoints}
            for name, folder in folders.items():
                _send(trainer, name, folder, Path(here))
            of_job = {
                "variables": dict(job.variables),
                "arguments": list(job.arguments),
                "seconds": job.seconds,
            }
            ray.get(trainer.start.remote(list(folders), of_job))
            _follow(trainer, job, relay, Path(here))
            _fetch(trainer, OUTPUT, job.output, Path(here))
        finally:
            # The end of its process takes the training with it.
            _clear(trainer)
            ray.kill(trainer)


def _wait_for_room(trainer: Any, job: TrainingJob, relay: Relay) -> None:
    ready, waited = trainer.look.remote(), 0.0
    while not ray.wait([ready], timeout=LOOK)[0]:
        if relay.stop.is_set():
            raise WorkerStoppingError
        if not waited:
            relay.add(b"waits for room on the cluster\n")
        waited += LOOK
        if waited >= job.room_seconds:
            raise TrainingError(
                f"the cluster had no room for it within {job.room_seconds:g} s; it "
                f"needs {job.cpus:g} CPUs and {job.gpus:g} GPUs of one machine, see RAY_TRAIN_CPUS "
                "and RAY_TRAIN_GPUS"
            )
    ray.get(ready)


def _follow(trainer: Any, job: TrainingJob, relay: Relay, here: Path) -> None:
    """Hand on the output until the training ends, and take its checkpoints as they come."""
    taken = former = ray.get(trainer.look.remote()).checkpoints
    stopped = False
    while True:
        if relay.stop.is_set() and not stopped:
            ray.get(trainer.stop.remote())
            stopped = True
        look: Look = ray.get(trainer.look.remote())
        relay.add(look.output)
        # While they are written they are left alone.
        at_rest = look.checkpoints == former or look.is_over
        former = look.checkpoints
        if look.is_over and look.error is None:
            return
        if at_rest and look.checkpoints != taken and _take_checkpoints(trainer, job, here):
            taken = look.checkpoints
        if look.error is not None:
            raise look.error
        time.sleep(LOOK)


def _take_checkpoints(trainer: Any, job: TrainingJob, here: Path) -> bool:
    """Put the checkpoints in place of the former ones; return False where they changed just now."""
    new = here / "new"
    shutil.rmtree(new, ignore_errors=True)
    try:
        _fetch(trainer, CHECKPOINTS, new, here)
    except (ray.exceptions.RayTaskError, EngineError):
        return False  # the training goes on without
    shutil.rmtree(job.checkpoints, ignore_errors=True)
    new.rename(job.checkpoints)
    return True


def _send(trainer: Any, name: str, folder: Path, here: Path) -> None:
    archive = here / "sent.tar"
    pack(folder, archive)
    with archive.open("rb") as file:
        while piece := file.read(PIECE):
            ray.get(trainer.receive.remote(name, piece))
    archive.unlink()


def _fetch(trainer: Any, name: str, folder: Path, here: Path) -> None:
    archive = here / "fetched.tar"
    ray.get(trainer.pack.remote(name))
    with archive.open("wb") as file:
        while piece := ray.get(trainer.piece.remote(name, file.tell())):
            file.write(piece)
    unpack(archive, folder)
    archive.unlink()


def _clear(trainer: Any) -> None:
    try:
        ray.get(trainer.clear.remote(), timeout=10 * LOOK)
    except ray.exceptions.RayError:
        return  # it is gone, or never began


def _state_of(folder: Path) -> list[tuple[str, int, int]]:
    """Return names, sizes and times of all files of a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue  # it was just removed
        if path.is_file():
            found.append((str(path.relative_to(folder)), status.st_size, status.st_mtime_ns))
    return found


def _sweep() -> None:
    """Remove the folders of workers that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        pid = folder.name.removeprefix(PREFIX).partition("-")[0]
        if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc").is_dir():
            shutil.rmtree(folder, ignore_errors=True)
