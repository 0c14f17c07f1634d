"""Tasks as pages that Ray Data reads: of Label Studio, or of files.

Light to import: a worker of the cluster that reads needs neither models nor the sampler.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import pyarrow as pa
from active_learn.errors import ActiveLearnError
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from ....labelstudio.client import LabelStudioClient
from ....labelstudio.task_filters import Filter
from ....settings import Settings
from ..task_files import read_pages
from .source import Source

__all__ = ["Pages", "read_range"]

PAGES = pa.schema([("page", pa.large_string()), ("error", pa.string())])


class Pages(Datasource):
    """Tasks of Label Studio or of files: a row is a page, the JSON of a list of their data."""

    def __init__(self, source: Source, settings: Settings) -> None:
        super().__init__()
        reads = [partial(read_pages, file) for file in source.files] or [
            partial(read_range, settings, source.project_id, *ids) for ids in source.ranges
        ]
        self._tasks = [ReadTask(partial(_as_rows, read), _unknown()) for read in reads]

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *args: Any, **kwargs: Any) -> list[ReadTask]:
        return self._tasks


def _unknown() -> BlockMetadata:
    return BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)


def read_range(
    settings: Settings, project_id: int, first: int, last: int
) -> Iterator[list[Mapping[str, Any]]]:
    client = LabelStudioClient(settings)
    try:
        between = [
            Filter("id", "greater_or_equal", "Number", first),
            Filter("id", "less_or_equal", "Number", last),
        ]
        for page in client.task_pages(project_id, include="id,data", filters=between):
            yield [task["data"] for task in page]
    finally:
        client.close()


def _as_rows(read: Callable[[], Iterator[list[Mapping[str, Any]]]]) -> Iterator[pa.Table]:
    """Yield a row a page; an error of ours takes the place of the rest."""
    try:
        for page in read():
            yield pa.Table.from_pylist([{"page": json.dumps(page), "error": ""}], PAGES)
    except ActiveLearnError as error:
        yield pa.Table.from_pylist([{"page": "[]", "error": str(error)}], PAGES)
