"""A training on a real Ray of this machine: what is sent and comes back, its end in all cases."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.errors import EngineError, TrainingError, WorkerStoppingError
from active_learn_backend.learning.engines.command import Output, training_environment
from active_learn_backend.learning.engines.configured import configured_engine
from active_learn_backend.learning.engines.ray import engine
from active_learn_backend.learning.engines.ray.driver import ray_driver
from active_learn_backend.settings import load_settings

pytest.importorskip("ray", reason="needs Ray (the extra [ray])")

PATIENCE = 60.0
START = """
import os, pathlib, sys, time
data, start, output, checkpoints = (
    pathlib.Path(os.environ["TRAIN_" + name]) for name in ("DATA", "FROM", "OUTPUT", "CHECKPOINT")
)
print("pid", os.getpid(), flush=True)
"""


class Training:
    """The folders of a training on this machine, and the runs of programs in it."""

    def __init__(self, base: Path, folder: Path) -> None:
        self.base, self.folder = base, folder
        for name in ("data", "start", "model", "checkpoints"):
            (folder / name).mkdir()
        (folder / "data" / "tasks.jsonl").write_text("labels\n")
        (folder / "start" / "weights").write_text("weights")
        (folder / "start" / "link").symlink_to("weights")  # as the cache of the hub has them
        self.stopping = threading.Event()
        self.progress: list[float] = []
        self.output = Output(folder / "output.log", self.progress.append)

    def run(self, program: str, seconds: float = PATIENCE, **values: object) -> None:
        settings = load_settings(model_dir=self.base, engine="ray", **values)
        names = {"DATA": "data", "FROM": "start", "OUTPUT": "model", "CHECKPOINT": "checkpoints"}
        folders = {f"TRAIN_{name}": str(self.folder / one) for name, one in names.items()}
        configured_engine(settings).train(
            [sys.executable, "-c", START + program],
            training_environment({**folders, "TRAIN_PROJECT": "7"}),
            self.output,
            seconds,
            self.stopping,
            folder=self.folder,
        )

    @property
    def lines(self) -> list[str]:
        path = self.folder / "output.log"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def pid(self) -> int:
        found = wait_until(
            lambda: [one for one in self.lines if one.startswith("pid ")],
            timeout=PATIENCE,
            what="the training",
        )
        return int(found[-1].split()[1])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder for the module, whose one driver all its tests share."""
    folder = tmp_path_factory.mktemp("ray-training")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABEL_STUDIO_API_KEY", "secret")
        yield folder
        ray_driver("", folder.resolve() / "ray.log").stop()


@pytest.fixture
def training(base: Path, tmp_path: Path) -> Training:
    return Training(base, tmp_path)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def in_background(run: Callable[[], None]) -> tuple[threading.Thread, list[BaseException]]:
    """Run something in a thread, and keep what it raises."""
    raised: list[BaseException] = []

    def target() -> None:
        try:
            run()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    return thread, raised


def test_a_training_runs_on_the_cluster_and_its_model_comes_back(training: Training) -> None:
    training.run(
        """
assert not (data.parent / "output.log").exists(), "this machine's folders are read"
assert (start / "link").read_text() == "weights"
assert "LABEL_STUDIO_API_KEY" not in os.environ
print("project", os.environ["TRAIN_PROJECT"])
print("progress: 0.5", flush=True)
(output / "deep").mkdir()
(output / "deep" / "model.bin").write_bytes((data / "tasks.jsonl").read_bytes() * 10)
"""
    )
    assert (training.folder / "model" / "deep" / "model.bin").read_text() == "labels\n" * 10
    assert training.progress == [0.5]
    assert "project 7" in training.lines
    assert sorted(path.name for path in training.folder.iterdir()) == [
        "checkpoints", "data", "model", "output.log", "start",
    ]  # fmt: skip


def test_a_training_that_takes_too_long_or_finds_no_room_says_so(
    training: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TrainingError, match=r"longer than TRAIN_TIMEOUT \(1 s\)"):
        training.run("time.sleep(600)", seconds=1.0)
    assert is_gone(training.pid)
    monkeypatch.setattr(engine, "LEAST_WAIT", 0.0)
    with pytest.raises(TrainingError, match=r"no room .* needs 1 CPUs and 7 GPUs"):
        training.run("", seconds=1.0, ray_train_gpus=7)


@pytest.mark.soak
def test_a_training_that_is_stopped_or_lost_goes_on_from_its_checkpoint(training: Training) -> None:
    program = """
count = checkpoints / "count"
done = int(count.read_text()) if count.exists() else 0
print("begins at", done, flush=True)
if done < 2:
    count.write_text(str(done + 1))
    time.sleep(600)
(output / "model.bin").write_text(str(done))
"""
    count = training.folder / "checkpoints" / "count"
    thread, raised = in_background(lambda: training.run(program))
    wait_until(lambda: count.exists() and count.read_text() == "1", timeout=PATIENCE, what="one")
    training.stopping.set()
    thread.join(PATIENCE)
    assert [type(one) for one in raised] == [WorkerStoppingError], raised
    assert is_gone(training.pid)

    training.stopping.clear()
    thread, raised = in_background(lambda: training.run(program))
    wait_until(lambda: count.read_text() == "2", timeout=PATIENCE, what="two")
    guard = int(Path(f"/proc/{training.pid}/stat").read_text().rpartition(")")[2].split()[1])
    trainer = int(Path(f"/proc/{guard}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(trainer, signal.SIGKILL)  # as where its machine runs out of memory
    thread.join(PATIENCE)
    assert [type(one) for one in raised] == [EngineError]
    wait_until(lambda: is_gone(training.pid), timeout=PATIENCE, what="the end of the training")

    training.run(program)
    assert (training.folder / "model" / "model.bin").read_text() == "2"
