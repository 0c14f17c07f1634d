"""Stores the predictions of one version, also where Label Studio takes its time or fails midway.

Label Studio goes on storing rows after we stopped waiting for its answer. So a time-out is no
reason to start again under another version: we look which rows are there, and send what is missing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from ..errors import LabelStudioError, LabelStudioUnreachableError
from .client import LabelStudioClient

__all__ = ["ATTEMPTS", "Publication"]

log = logging.getLogger(__name__)

ATTEMPTS = 3
# Seconds that Label Studio may take, besides those for any answer; ten times what was measured.
PER_ROW, PER_TASK = 0.01, 0.005
LOOK_EVERY = 0.5
SHORT = 2.0  # seconds that rows are waited for after an error that is no time-out
GATEWAY_GAVE_UP = (502, 504)  # a proxy stopped waiting; Label Studio may still be at work


@dataclass
class Publication:
    """The rows of one version on their way into Label Studio.

    Attributes
    ----------
    rows : sequence of mapping
        As `LabelStudioClient.import_predictions` takes them, one for each task.
    n_tasks : int
        Tasks of the project.
    others : int
        Rows of the version that are there already.
    """

    client: LabelStudioClient
    project_id: int
    version: str
    rows: Sequence[Mapping[str, Any]]
    n_tasks: int
    others: int = 0

    @property
    def timeout(self) -> float:
        """Seconds that Label Studio may take for the import."""
        return self.client.timeout + PER_ROW * len(self.rows) + PER_TASK * self.n_tasks

    def complete(self, check: Callable[[], None]) -> None:
        """Store all rows.

        Parameters
        ----------
        check : callable
            Is called right before each write, and while Label Studio is waited for.

        Raises
        ------
        LabelStudioError
            When Label Studio refuses rows, or drops some.
        LabelStudioUnreachableError
        """
        missing = self.rows
        for attempt in range(1, ATTEMPTS + 1):
            check()
            try:
                self._import(missing)
                return
            except (LabelStudioError, LabelStudioUnreachableError) as error:
                if isinstance(error, LabelStudioError) and error.status < 500:
                    raise
                log.warning("%s; looking which rows of %s are there", error, self.version)
                missing = self._missing(self.timeout if _is_late(error) else SHORT, check)
                if not missing:
                    return
                if attempt == ATTEMPTS:
                    raise

    def _import(self, rows: Sequence[Mapping[str, Any]]) -> None:
        created = self.client.import_predictions(self.project_id, rows, timeout=self.timeout)
        if created != len(rows):
            raise LabelStudioError(
                f"Label Studio stored {created} of {len(rows)} rows of {self.version} of project "
                f"{self.project_id}; the labeling config and the answers do not fit each other",
                200,
            )

    def _missing(self, patience: float, check: Callable[[], None]) -> list[Mapping[str, Any]]:
        """Return the rows that are not there, after waiting while more arrive."""
        seen, deadline = 0, time.monotonic() + patience
        while True:
            count = self._count(seen)
            if count >= len(self.rows):
                return []
            if count > seen:
                seen, deadline = count, time.monotonic() + patience
            if time.monotonic() >= deadline:
                break
            time.sleep(LOOK_EVERY)
            check()
        there = {row["task"] for row in self.client.predictions(self.project_id, self.version)}
        return [row for row in self.rows if row["task"] not in there]

    def _count(self, before: int) -> int:
        """Count the rows that are there; as before when Label Studio does not say."""
        try:
            there = self.client.model_versions(self.project_id).get(self.version, 0)
            return max(there - self.others, 0)
        except (LabelStudioError, LabelStudioUnreachableError) as error:
            log.info("%s", error)
            return before


def _is_late(error: LabelStudioError | LabelStudioUnreachableError) -> bool:
    """Return whether Label Studio may still be at work on what was asked."""
    if isinstance(error, LabelStudioError):
        return error.status in GATEWAY_GAVE_UP
    return isinstance(error.__cause__, httpx.ReadTimeout)
