"""The published queue: publish under a new version, flip to it, retire the old ones gently.

Label Studio serves the tasks that hold a prediction of the project's current version by ascending
score, so score = rank / n orders the stream, and one PATCH of the version is an atomic switch.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any

from ..errors import LabelStudioError
from .client import LabelStudioClient

__all__ = ["UNCERTAINTY_SAMPLING", "Queue", "round_of"]

log = logging.getLogger(__name__)

UNCERTAINTY_SAMPLING = "Uncertainty sampling"
_VERSION = re.compile(r"al-(\d+)")


def round_of(version: str | None) -> int | None:
    """Round that published a version; None when it is no queue version of ours."""
    match = _VERSION.fullmatch(version or "")
    return int(match[1]) if match else None


class Queue:
    """The queue of one project in Label Studio."""

    def __init__(self, client: LabelStudioClient, project_id: int) -> None:
        self._client = client
        self._project_id = project_id

    def versions(self) -> dict[int, int]:
        """Rounds whose rows are stored in Label Studio, with how many rows each."""
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
            When Label Studio created another number of rows than were sent (it drops what it
            finds invalid without a word).
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

    def rows_of(self, rounds: Sequence[int]) -> list[int]:
        """Ids of the stored rows of some rounds, oldest round first."""
        return [
            row["id"]
            for number in sorted(rounds)
            for row in self._client.predictions(self._project_id, f"al-{number}")
        ]

    def retire(self, row_id: int) -> None:
        """Delete one row.

        One by one on purpose: Label Studio deletes a version in one transaction that blocks every
        submit meanwhile, while a single row takes less than a tenth of a second.
        """
        self._client.delete_prediction(row_id)
