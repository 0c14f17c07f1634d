"""The published queue: publish under a new version, flip to it, retire the old ones gently.

Label Studio serves the tasks that hold a prediction of the project's current version by ascending
score, so score = rank / n orders the stream, and one PATCH of the version is an atomic switch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import LabelStudioError
from .client import LabelStudioClient

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
        self, number: int, task_ids: Sequence[int], results: Sequence[list[dict[str, Any]]]
    ) -> str:
        """Store the rows of a round; annotators do not see them before the flip.

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
        created = self._client.import_predictions(self._project_id, rows)
        if created != len(rows):
            raise LabelStudioError(
                f"Label Studio stored {created} of {len(rows)} queue rows of project "
                f"{self._project_id}; the labeling config and the answers do not fit each other",
                200,
            )
        return version

    def flip(self, version: str) -> None:
        """Make a published version the one that is served."""
        self._client.patch_project(self._project_id, model_version=version)

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
