"""The right to work on one project: one worker or command at a time has it."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import StoreError
from ..logs import context
from .store import Store

__all__ = ["LEASE_SECONDS", "Lease", "exclusively", "owner_name"]

log = logging.getLogger(__name__)

# A lease is renewed four times in that time; a worker that died on this host is known to be dead
# at once, so only another host or a worker that hangs makes anybody wait for it.
LEASE_SECONDS = 30.0
LONGEST_ROUND = 300.0  # seconds that a command waits for a worker's round


def owner_name() -> str:
    """Give a new name for an owner of leases; it says the host and the process."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


class Lease:
    """Right to work on one project, renewed in the background until it is given back."""

    def __init__(self, store: Store, project_id: int, owner: str) -> None:
        self._store, self._project_id = store, project_id
        self._owner = owner
        self._lost = threading.Event()
        self._done = threading.Event()

    def check(self) -> None:
        """Stop the work when another worker has taken the project over."""
        if self._lost.is_set():
            raise StoreError(
                f"another worker took project {self._project_id} over; this round is dropped"
            )

    def take(self) -> bool:
        """Take the lease; False while another worker holds it."""
        return self._store.take_lease(self._project_id, self._owner, LEASE_SECONDS)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Renew it as long as the block runs."""
        renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        renewer.start()
        try:
            yield
        finally:
            self._done.set()
            renewer.join()
            self._store.release_lease(self._project_id, self._owner)

    def _renew(self) -> None:
        while not self._done.wait(LEASE_SECONDS / 4):
            try:
                if not self.take():
                    self._lost.set()
            except StoreError as error:
                with context(project=self._project_id):  # a thread starts without one
                    log.warning("lease not renewed: %s", error)


@contextmanager
def exclusively(store: Store, project_id: int) -> Iterator[None]:
    """Hold a project's lease, after waiting for a worker that is at work on it.

    Raises
    ------
    StoreError
        When the worker does not come to an end.
    """
    lease = Lease(store, project_id, owner_name())
    deadline = time.monotonic() + LONGEST_ROUND
    while not lease.take():
        if time.monotonic() > deadline:
            raise StoreError(
                f"a worker has been at work on project {project_id} for {LONGEST_ROUND:g} s; "
                "stop it, or try again later"
            )
        time.sleep(0.1)
    with lease.held():
        yield
