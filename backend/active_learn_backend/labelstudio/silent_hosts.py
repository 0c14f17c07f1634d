"""Which hosts do not answer: they are not waited for again and again."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from ..errors import ContentError

__all__ = ["SilentHosts"]

# Seconds that a host may be silent: little at first, as others wait meanwhile.
SHORTEST_PATIENCE, LONGEST_PATIENCE = 5.0, 30.0
SHORTEST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0
ENOUGH = 3  # failures one after the other of a host that answered before


@dataclass
class _Host:
    answers: bool = False
    failures: int = 0
    pauses: int = 0
    silent_until: float = 0.0
    reason: str = ""


@dataclass
class SilentHosts:
    """Remembers hosts that did not answer, and refuses them for a while: longer each time."""

    _hosts: dict[str, _Host] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, host: str) -> None:
        """Check that a host may be asked.

        Raises
        ------
        ContentError
            When it did not answer a short while ago.
        """
        with self._lock:
            known = self._hosts.get(host)
            if known is not None and time.monotonic() < known.silent_until:
                raise ContentError(known.reason, source=host)

    def patience(self, host: str) -> float:
        """Return how many seconds to wait for a host to say anything."""
        with self._lock:
            known = self._hosts.get(host, _Host())
            if known.answers:
                return LONGEST_PATIENCE
            return min(SHORTEST_PATIENCE * 2.0 ** min(known.pauses, 10), LONGEST_PATIENCE)

    def record_answer(self, host: str) -> None:
        """Record that a host answers, whatever it said."""
        with self._lock:
            self._hosts[host] = _Host(answers=True)

    def record_failure(self, host: str, reason: str) -> ContentError:
        """Record that a host did not answer, and return the error for its content."""
        with self._lock:
            known = self._hosts.setdefault(host, _Host())
            known.failures += 1
            now = time.monotonic()
            if now >= known.silent_until and known.failures >= (ENOUGH if known.answers else 1):
                pause = SHORTEST_PAUSE * 2.0 ** min(known.pauses, 10)
                known.silent_until = now + min(pause, LONGEST_PAUSE)
                known.pauses += 1
                known.answers = False
            known.reason = reason
            return ContentError(reason, source=host)
