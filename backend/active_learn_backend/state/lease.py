"""The right to work on one project: one worker or command at a time has it."""

from __future__ import annotations

import logging
import math
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ..errors import LeaseLostError, StoreError
from ..logs import context
from .schema import projects as _projects
from .store import Store, update_project

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
    """The right to work on one project, renewed in the background until it is released.

    A process that is stopped for a while cannot know that another one took the project over. So
    there are two guards. `check` compares a deadline of this process's own clock; call it right
    before each write to Label Studio. And what is written through `store` counts only while the
    lease's number is the project's latest.
    """

    def __init__(self, store: Store, project_id: int, owner: str) -> None:
        self._store, self._project_id = store, project_id
        self._owner = owner
        self._number = 0
        self._deadline = -math.inf
        self._lost = threading.Event()
        self._done = threading.Event()
        #: Whether it was taken from an owner that had not released it.
        self.taken_over = False

    @property
    def store(self) -> Store:
        """The project state, which takes no writes once another worker has the project."""
        return self._store.fenced(self._project_id, self._number)

    @property
    def stands(self) -> bool:
        """Whether nobody else can have the project, by this process's own clock."""
        return not self._lost.is_set() and time.monotonic() < self._deadline

    def check(self) -> None:
        """Check that the lease still stands.

        Raises
        ------
        LeaseLostError
            When another worker has taken the project over, or may have by now.
        """
        if not self.stands:
            raise LeaseLostError(self._project_id)

    def acquire(self) -> bool:
        """Acquire the lease; return False while another living worker has it."""
        started, now = time.monotonic(), time.time()
        query = sa.select(
            _projects.c.lease_owner, _projects.c.lease_until, _projects.c.lease_number
        ).where(_projects.c.id == self._project_id)
        with self._store.write() as connection:
            row = connection.execute(query.with_for_update()).first()
            if row is None:
                return False
            # One that runs much longer than any lease was taken before the clock jumped back.
            stands = now <= row.lease_until <= now + 10 * LEASE_SECONDS
            others = row.lease_owner not in (None, self._owner)
            if others and stands and not _is_dead(row.lease_owner):
                return False
            values = {"lease_owner": self._owner, "lease_until": now + LEASE_SECONDS}
            number = row.lease_number + 1
            update_project(connection, self._project_id, **values, lease_number=number)
        self._number, self._deadline, self.taken_over = number, started + LEASE_SECONDS, others
        return True

    def renew(self) -> bool:
        """Renew the lease; return False when another worker has, or had, it meanwhile."""
        started = time.monotonic()
        if not self._update_ours(lease_until=time.time() + LEASE_SECONDS):
            return False
        self._deadline = started + LEASE_SECONDS
        return True

    def release(self) -> None:
        """Release the lease, if it is still ours."""
        self._update_ours(lease_owner=None, lease_until=0.0, activity="")

    def _update_ours(self, **values: Any) -> bool:
        ours = (_projects.c.lease_owner == self._owner, _projects.c.lease_number == self._number)
        with self._store.write() as connection:
            done = connection.execute(
                _projects.update().where(_projects.c.id == self._project_id, *ours).values(values)
            )
            return bool(done.rowcount)

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
                if not self.renew():
                    self._lost.set()
                    return
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
