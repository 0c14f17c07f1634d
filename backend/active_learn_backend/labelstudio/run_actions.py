"""Label Studio's bulk actions on one labeling run, repeated until they are done and counted.

Label Studio stores what an action does first, and counts after it. If its database is busy then
(SQLite, while people submit), it begins anew, finds nothing to do, and never counts: it would go on
to serve annotated tasks, and never serve those whose annotations are gone.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

from ..errors import LabelStudioError
from ..labeling.annotations import is_touched, version_of_run
from ..state.tasks import chunks
from .client import LabelStudioClient
from .publication import ATTEMPTS
from .task_filters import Filter
from .written_run import WrittenRun, read_annotations

__all__ = ["ANNOTATED", "PASSES", "UNANNOTATED", "Progress", "RunActions"]

log = logging.getLogger(__name__)

CONVERTED_AT_ONCE = 500  # annotations; a submit waits 0.3 s
# Annotations, or predictions. A submit waits 0.4 s; and on SQLite Label Studio begins anew when
# somebody submits while it looks for what it deletes, which takes longer the more it is.
DELETED_AT_ONCE = 100
BUSY_PAUSE = 1.0  # seconds before the second attempt of an action; doubled before the third
PASSES = 6  # over what people changed meanwhile, and what was not counted

UNANNOTATED = Filter("annotations_ids", "empty", "Number", "true")
ANNOTATED = Filter("annotations_ids", "greater", "Number", 0)
UNCOUNTED = [
    ANNOTATED,
    Filter("total_annotations", "equal", "Number", 0),
    Filter("cancelled_annotations", "equal", "Number", 0),
]
EMPTIED = [UNANNOTATED, Filter("total_annotations", "greater", "Number", 0)]

Progress = Callable[[int, int], None]


class RunActions:
    """The actions on one run of a project."""

    def __init__(self, client: LabelStudioClient, project_id: int, number: int) -> None:
        self._client, self._project_id = client, project_id
        self._number, self._version = number, version_of_run(number)

    def annotate(self, task_ids: Sequence[int], progress: Progress = lambda *_: None) -> int:
        """Let Label Studio turn predictions into annotations; return how many it says it made.

        A task that somebody labels between the statement that picks the tasks and the one that
        stores their annotations, milliseconds later, gets both; the person's label counts.
        """
        created = 0
        for done, some in _counted(chunks(task_ids, CONVERTED_AT_ONCE)):
            answer = self._act(
                "predictions_to_annotations", some, [UNANNOTATED], model_version=self._version
            )
            created += int(re.sub(r"\D", "", answer["detail"]) or 0)  # "Created 12 annotations"
            progress(done, len(task_ids))
        return created

    def annotate_uncounted(self) -> int:
        """Annotate the tasks anew that Label Studio counts as open; return how many there were.

        Raises
        ------
        LabelStudioError
            When it goes on to count wrongly.
        """
        total = 0
        for _ in range(PASSES):
            found = read_annotations(
                self._client, self._project_id, self._number, self._ids(UNCOUNTED)
            )
            if not found.alone:
                return total
            for author, task_ids in found.alone.items():
                total += len(task_ids)
                for some in chunks(task_ids, DELETED_AT_ONCE):
                    self._act("delete_tasks_annotations", some, UNCOUNTED, annotator=author)
                    self.annotate(some)
        raise LabelStudioError(
            f"Label Studio counts {len(found.untouched)} tasks of run {self._number} as open that "
            "are annotated, because its database is busy; call again when fewer people submit",
            500,
        )

    def annotate_emptied(self) -> None:
        """Annotate the tasks again that Label Studio counts as annotated and that are not."""
        self.annotate(self._ids(EMPTIED))

    def delete_annotations(self, found: WrittenRun) -> None:
        """Delete the untouched annotations.

        Label Studio deletes all annotations of a person on some tasks at once. So this is for tasks
        without others, and only while no task of them changed after it was read.
        """
        unchanged = [
            Filter("updated_at", "less_or_equal", "Datetime", found.read_until),
            Filter("total_annotations", "equal", "Number", 1),
        ]
        for author, task_ids in found.alone.items():
            for some in chunks(task_ids, DELETED_AT_ONCE):
                self._act("delete_tasks_annotations", some, unchanged, annotator=author)
        self.delete_one_by_one(found.beside_others)

    def delete_one_by_one(self, annotation_ids: Iterable[int]) -> None:
        """Delete those annotations of a run that nobody touched meanwhile, whatever is counted."""
        for annotation_id in annotation_ids:
            annotation = self._client.annotation(annotation_id)
            if annotation is not None and not is_touched(annotation):
                self._client.delete_annotation(annotation_id)

    def delete_predictions(self, found: WrittenRun) -> int:
        """Delete the version; return how many predictions it had.

        At once, Label Studio would delete 10,000 in one transaction of half a minute that blocks
        every submit. So most go in parts: those of tasks that have no other prediction.
        """
        count = self._client.model_versions(self._project_id).get(self._version, 0)
        if not count:
            return 0
        log.info("run %d: %d predictions are being removed", self._number, count)
        only_one = Filter("total_predictions", "equal", "Number", 1)
        for some in chunks(found.with_no_other_prediction, DELETED_AT_ONCE):
            self._act("delete_tasks_predictions", some, [only_one])
        self._client.delete_version(self._project_id, self._version, rows=count)
        return count

    def _ids(self, filters: Sequence[Filter]) -> list[int]:
        """Return the tasks of the run that pass filters; those of label-30 are among label-3's."""
        of_run = Filter("predictions_model_versions", "contains", "List", [self._version])
        return sorted(self._client.task_ids(self._project_id, of_run, *filters))

    def _act(
        self, action: str, task_ids: Sequence[int], filters: Sequence[Filter], **values: Any
    ) -> dict[str, Any]:
        """Let Label Studio act; again where its database was busy, for nothing is done twice."""
        attempts = Retrying(
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(BUSY_PAUSE),
            retry=retry_if_exception(
                lambda error: isinstance(error, LabelStudioError) and error.status >= 500
            ),
            reraise=True,
        )
        return attempts(self._client.act, self._project_id, action, task_ids, filters, **values)


def _counted(parts: Iterator[Sequence[Any]]) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yield parts with the number of values up to the end of each."""
    done = 0
    for part in parts:
        done += len(part)
        yield done, part
