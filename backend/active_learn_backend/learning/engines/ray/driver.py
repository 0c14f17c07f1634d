"""Ray's driver, in a process of its own.

Ray ends the process that drives it when its head stays away, and waits for minutes for a head that
never comes up. Neither may happen to the worker: it lets this process go, and the round fails with
a line that says so.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from active_learn.errors import ActiveLearnError

from ....errors import EngineError
from ....wording import shortened

if TYPE_CHECKING:
    from active_learn.partitioned import PartSelection

    from ..command import Output
    from .jobs import Embedded, EmbeddingJob, PartSelectionJob, TrainingJob
    from .training import Relay

__all__ = ["RayDriver", "check_reachable", "ray_driver"]

log = logging.getLogger(__name__)

LOOK = 0.5  # seconds between two looks at what is done
CONNECT_SECONDS = 5.0  # seconds that a head has to take a connection
COME_UP = 90.0  # seconds that Ray has to come up
GOODBYE = 3.0  # seconds that Ray has to end: `serve` kills a worker that has not ended after 5
PARENT = 1.0  # seconds between two looks whether the worker lives
LONGEST_REASON = 300


class Driver:
    """Lives in the driver's process: connects to Ray, and does what the worker asks.

    Parameters
    ----------
    address : str
        Of the head; empty: Ray is started on this machine, and ends with this process.
    log_file : Path
        Ray's own output, which bypasses Python's logging, apart from our log.
    """

    def __init__(self, address: str, log_file: Path) -> None:
        with log_file.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        logging.basicConfig()
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
        too_late = threading.Timer(COME_UP, os._exit, (1,))
        too_late.daemon = True
        too_late.start()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is sent to anybody
        if not address:
            # Ray listens on all interfaces: only who has this token is listened to.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        # The kernel ends Ray's processes with the thread that started them, so that one lasts;
        # those that our calls come in on do not.
        self._trainings: dict[str, Relay] = {}
        self._home = ThreadPoolExecutor(1, "ray-home")
        self._home.submit(_connect, address).result()
        too_late.cancel()

    def embed(self, job: EmbeddingJob) -> Embedded:
        from .embedding import embed_all

        return self._told(embed_all, job)

    def select_parts(self, job: PartSelectionJob) -> list[PartSelection]:
        from .selection import select_parts

        return self._told(select_parts, job)

    def train(self, job: TrainingJob) -> None:
        from .training import Relay, train_on_cluster

        relay = self._trainings.setdefault(job.name, Relay())
        self._told(lambda one: train_on_cluster(one, relay), job)

    def training_output(self, name: str) -> bytes:
        """Return what a training wrote since the last call."""
        relay = self._trainings.get(name)
        return b"" if relay is None else relay.take()

    def stop_training(self, name: str) -> None:
        """Have a training ended."""
        relay = self._trainings.get(name)
        if relay is not None:
            relay.stop.set()

    def end(self) -> None:
        """End this process, which takes Ray on this machine with it."""
        threading.Timer(GOODBYE, os._exit, (0,)).start()
        self._home.submit(_disconnect).result()
        os._exit(0)

    def _told(self, do: Callable[[Any], Any], job: Any) -> Any:
        """Do a job; raise an error of a worker in one line, and ours as it was."""
        try:
            return do(job)
        except Exception as error:
            # Ray raises the error of a failed task as the cause of its own.
            cause = getattr(error, "cause", None) or error
            if isinstance(cause, ActiveLearnError):
                raise cause from None
            log.exception("a job on Ray failed")
            raise EngineError(f"Ray could not do it: {_line(error)}") from None


def _connect(address: str) -> None:
    import ray
    import ray.data

    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=None if address else False,
        )
    except Exception as error:
        raise EngineError(f"Ray does not take us in: {_line(error)}") from None
    ray.data.DataContext.get_current().enable_progress_bars = False


def _disconnect() -> None:
    import ray

    ray.shutdown()


def _line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else type(error).__name__
    return shortened(text, LONGEST_REASON)


def _end_with(parent: int) -> None:
    """End when the worker has: a killed one cannot do so itself."""
    while os.getppid() == parent:
        time.sleep(PARENT)
    os._exit(1)


class _Manager(BaseManager):
    """Starts the process, and hands calls on, each of our threads' side by side."""


_Manager.register("Driver", Driver)


class RayDriver:
    """Handle of the worker to the driver's process, which is started when it is needed.

    Parameters
    ----------
    address, log_file
        See `Driver`.
    """

    def __init__(self, address: str, log_file: Path) -> None:
        self._address, self._log_file = address, log_file
        self._lock = threading.Lock()
        self._manager: _Manager | None = None
        self._driver: Any = None

    def embed(self, job: EmbeddingJob, meanwhile: Callable[[], None]) -> Embedded:
        """Embed into shards; see `_call`."""
        return self._call("embed", job, meanwhile)

    def select_parts(
        self, job: PartSelectionJob, meanwhile: Callable[[], None]
    ) -> list[PartSelection]:
        """Return the selections of all partitions; see `_call`."""
        return self._call("select_parts", job, meanwhile)

    def train(self, job: TrainingJob, output: Output, stopping: threading.Event) -> None:
        """Train on the cluster, while others embed there.

        Raises
        ------
        EngineError
            When Ray is not there, or goes away.
        TrainingError
            When the training fails.
        WorkerStoppingError
            When it was ended because the worker stops.
        """
        with ThreadPoolExecutor(1, "ray-training") as threads:
            future = threads.submit(self._ask, "train", job)
            try:
                while not wait([future], LOOK).done:
                    if stopping.is_set():
                        self._ask_running("stop_training", job.name)
                    output.add(self._ask_running("training_output", job.name) or b"")
                    output.save()
                output.add(self._ask_running("training_output", job.name) or b"")
            finally:
                output.close()
                output.save()
            future.result()

    def _ask_running(self, method: str, name: str) -> Any:
        """Ask the driver's process if there is one; None: there is none."""
        driver = self._driver
        with suppress(EOFError, OSError):
            return None if driver is None else getattr(driver, method)(name)
        return None

    def _call(self, method: str, job: Any, meanwhile: Callable[[], None]) -> Any:
        """Have a job done.

        Parameters
        ----------
        meanwhile : callable
            Called now and then until it is; what it raises ends the job, and the driver with it.

        Raises
        ------
        EngineError
            When Ray is not there, or goes away.
        """
        with ThreadPoolExecutor(1, "ray") as threads:
            future = threads.submit(self._ask, method, job)
            try:
                while not wait([future], LOOK).done:
                    meanwhile()
            except BaseException:
                self.stop()
                raise
            return future.result()

    def _ask(self, method: str, job: Any) -> Any:
        driver = self._started()
        try:
            return getattr(driver, method)(job)
        except (EOFError, OSError) as error:  # all else was made an error of ours over there
            self.stop()
            raise EngineError(
                f"Ray went away{self._where}, see {self._log_file}; the queue stays as it is, and "
                "the work is tried again"
            ) from error

    def _started(self) -> Any:
        with self._lock:
            if self._driver is None:
                check_reachable(self._address)
                manager = _Manager(ctx=multiprocessing.get_context("spawn"))
                manager.start()
                try:
                    self._driver = manager.Driver(self._address, self._log_file)  # type: ignore[attr-defined]
                except (EOFError, OSError) as error:
                    manager.shutdown()
                    raise EngineError(
                        f"Ray did not come up{self._where} within {COME_UP:.0f} s, see "
                        f"{self._log_file}; the queue stays as it is"
                    ) from error
                except BaseException:
                    manager.shutdown()
                    raise
                self._manager = manager
            return self._driver

    @property
    def _where(self) -> str:
        return f" at {self._address}" if self._address else " on this machine"

    def stop(self) -> None:
        """End the driver's process, and Ray with it where we started it."""
        with self._lock:
            manager, driver = self._manager, self._driver
            self._manager = self._driver = None
        if manager is not None:
            with suppress(EOFError, OSError):
                driver.end()
            manager.shutdown()


def check_reachable(address: str) -> None:
    """Check whether a head takes connections: Ray itself would try for minutes.

    Raises
    ------
    EngineError
    """
    target = urlsplit(address if "://" in address else f"//{address}")
    try:
        if target.hostname and target.port:
            socket.create_connection((target.hostname, target.port), CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise EngineError(
            f"Ray does not answer at {address} ({error}); is the cluster up, and is RAY_ADDRESS "
            "right? The queue stays as it is"
        ) from error


@lru_cache(maxsize=4)
def ray_driver(address: str, log_file: Path) -> RayDriver:
    """Return the one driver of this process for a cluster."""
    driver = RayDriver(address, log_file)
    atexit.register(driver.stop)
    return driver
