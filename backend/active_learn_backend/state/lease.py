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

import sqlalchemy as sa

from ..errors import StoreError
from ..logs import context
from .schema import projects as _projects
from .store import Store

__all__ = ["LEASE_SECONDS", "Lease", "exclusively", "owner_name"]

log = logging.getLogger(__name__)

# A lease is renewed four times in that time; a worker that died on this host is known to be dead
# at once, so only another host or a worker that hangs makes anybody wait for it.
LEASE_SECONDS = 30.0
LONGEST_ROUND = 300.0  # seconds that a command waits for a worker's round


def owner_name() -> str:
    """Return a new name for an owner of leases; it names the host and the process."""
    return f"{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"


class Lease:
    """The right to work on one project, renewed in the background until it is released."""

    def __init__(self, store: Store, project_id: int, owner: str) -> None:
        self._store, self._project_id = store, project_id
        self._owner = owner
        self._lost = threading.Event()
        self._done = threading.Event()

    def check(self) -> None:
        """Raise `StoreError` when another worker has taken the project over."""
        if self._lost.is_set():
            raise StoreError(
                f"another worker took project {self._project_id} over; this round is dropped"
            )

    def acquire(self) -> bool:
        """Acquire or renew the lease; return False while another living worker has it."""
        now = time.time()
        with self._store.write() as connection:
            holder = connection.scalar(
                sa.select(_projects.c.lease_owner).where(_projects.c.id == self._project_id)
            )
            # One that runs much longer than any lease was taken before the clock jumped back.
            stands = _projects.c.lease_until.between(now, now + 10 * LEASE_SECONDS)
            free = sa.or_(_projects.c.lease_owner == self._owner, ~stands)
            if holder and _is_dead(holder):
                free = sa.or_(free, _projects.c.lease_owner == holder)
            done = connection.execute(
                _projects.update()
                .where(_projects.c.id == self._project_id, free)
                .values(lease_owner=self._owner, lease_until=now + LEASE_SECONDS)
            )
            return bool(done.rowcount)

    def release(self) -> None:
        """Release the lease, if it is still ours."""
        with self._store.write() as connection:
            connection.execute(
                _projects.update()
                .where(_projects.c.id == self._project_id, _projects.c.lease_owner == self._owner)
                .values(lease_owner=None, lease_until=0.0, activity="")
            )

    @contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease as long as the block runs, then release it."""
        renewer = threading.Thread(target=self._renew, name="lease", daemon=True)
        renewer.start()
        try:
            yield
        finally:
            self._done.set()
            renewer.join()
            self.release()

    def _renew(self) -> None:
        while not self._done.wait(LEASE_SECONDS / 4):
            try:
                if not self.acquire():
                    self._lost.set()
            except StoreError as error:
                with context(project=self._project_id):  # a thread starts without one
                    log.warning("lease not renewed: %s", error)


@contextmanager
def exclusively(store: Store, project_id: int) -> Iterator[None]:
    """Hold a project's lease, after waiting for a worker that has it.

    Raises
    ------
    StoreError
        When the worker does not finish in time.
    """
    lease = Lease(store, project_id, owner_name())
    deadline = time.monotonic() + LONGEST_ROUND
    while not lease.acquire():
        if time.monotonic() > deadline:
            raise StoreError(
                f"a worker has been at work on project {project_id} for {LONGEST_ROUND:g} s; "
                "stop it, or try again later"
            )
        time.sleep(0.1)
    with lease.renewed():
        yield


def _is_dead(owner: str) -> bool:
    """Return whether a lease's owner, ``host/pid/...``, is a process of this host that ended."""
    host, _, rest = owner.partition("/")
    pid = rest.partition("/")[0]
    if host != socket.gethostname() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # it runs, under another user
        return False
    return False
