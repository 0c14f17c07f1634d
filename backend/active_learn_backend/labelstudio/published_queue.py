"""The published queue: publish under a new version, flip to it, retire the old ones gently.

Label Studio serves the tasks that hold a prediction of the project's current version by ascending
score, so score = rank / n orders the stream, and one PATCH of the version is an atomic switch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LabelStudioError, LabelStudioUnreachableError
from .client import LabelStudioClient
from .publication import ATTEMPTS, Publication

__all__ = ["UNCERTAINTY_SAMPLING", "Queue", "RetirementStep", "round_of"]

log = logging.getLogger(__name__)

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
AT_ONCE = 10  # rows that Label Studio deletes in about 0.12 s
_VERSION = re.compile(r"al-(\d+)")


def round_of(version: str | None) -> int | None:
    """Return the round that published a version; None when it is no queue version of ours."""
    match = _VERSION.fullmatch(version or "")
    return int(match[1]) if match else None


@dataclass(frozen=True)
class RetirementStep:
    """One short step of retiring a version: one row of it, or all that is left (None)."""

    version: str
    row_id: int | None


class Queue:
    """The queue of one project in Label Studio."""

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id

    def versions(self) -> dict[int, int]:
        """Return the rounds whose rows are stored in Label Studio, with their row counts."""
        stored = self._client.model_versions(self._project_id)
        return {
            number: count
            for version, count in stored.items()
            if (number := round_of(version)) is not None
        }

    def publish(
        self,
        number: int,
        task_ids: Sequence[int],
        results: Sequence[list[dict[str, Any]]],
        *,
        n_tasks: int = 0,
        check: Callable[[], None] = lambda: None,
    ) -> str:
        """Store the rows of a round; annotators do not see them before the flip.

        Parameters
        ----------
        n_tasks : int
            Tasks of the project: Label Studio counts their predictions anew, which takes time.
        check : callable
            Is called right before each write, and while Label Studio is waited for; raises an
            error when nothing may be written any more.

        Returns
        -------
        str
            The version, ``al-<number>``.

        Raises
        ------
        LabelStudioError
            When Label Studio created another number of rows than were sent (it drops
            invalid rows silently).
        """
        version = f"al-{number}"
        rows = [
            {
                "task": task_id,
                "result": result,
                "score": rank / len(task_ids),
                "model_version": version,
            }
            for rank, (task_id, result) in enumerate(zip(task_ids, results, strict=True))
        ]
        publication = Publication(self._client, self._project_id, version, rows, n_tasks)
        publication.complete(check)
        return version

    def flip(self, version: str, check: Callable[[], None] = lambda: None) -> None:
        """Make a published version the one that is served.

        Label Studio may be slow after an import, and to switch twice does no harm.

        Parameters
        ----------
        check : callable
            Is called right before each write; raises an error when none may be made any more.
        """
        for attempt in range(1, ATTEMPTS + 1):
            check()
            try:
                self._client.patch_project(self._project_id, model_version=version)
                return
            except (LabelStudioError, LabelStudioUnreachableError) as error:
                refused = isinstance(error, LabelStudioError) and error.status < 500
                if refused or attempt == ATTEMPTS:
                    raise
                log.warning("%s; switching again", error)

    def retirements(self, rounds: Mapping[int, int]) -> list[RetirementStep]:
        """List the steps that delete the rows of some rounds (given with their counts).

        Label Studio deletes a version in one transaction of 5 ms a row that blocks every submit
        meanwhile, and a single row in 70 ms. So a version goes row by row until it is small
        enough to go at once.
        """
        steps = []
        for number, count in sorted(rounds.items()):
            version = f"al-{number}"
            if count > AT_ONCE:
                rows = self._client.predictions(self._project_id, version)
                steps += [RetirementStep(version, row["id"]) for row in rows[:-AT_ONCE]]
            steps.append(RetirementStep(version, None))
        return steps

    def retire(self, step: RetirementStep) -> None:
        """Delete one row, or what is left of a version."""
        if step.row_id is None:
            self._client.delete_version(self._project_id, step.version)
        else:
            self._client.delete_prediction(step.row_id)
