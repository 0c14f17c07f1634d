"""Reads what tasks hold: each field's text or file, several tasks at once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from active_learn.errors import DataError, ModelError

from ...errors import ContentError
from ...labeling.config import Field
from ...labeling.time_series import Series, is_inline, read_channels, read_series

__all__ = ["ContentReader", "Raw", "run_each"]

Prepared = TypeVar("Prepared")
FloatArray = npt.NDArray[np.float32]

# What is read of a field: text, the bytes of a file or of several, the channels of a time series,
# None for what is not there.
Raw: TypeAlias = str | bytes | Iterator[bytes] | npt.NDArray[np.float32] | Series | None

MOST_IMAGES = 32  # of one field that are read
LOADERS = 8  # tasks loaded at once: their way over the network is the slow part

VIDEO_LOADERS = 2  # of tasks with videos: of each the file is held up to three times


class ContentReader:
    """Reads the fields of tasks.

    Parameters
    ----------
    fields : sequence of Field
        What to read of a task's content, in order.
    load : callable
        Gives the bytes of a file, from its address in the task, and ``video=True`` of a video;
        raises ContentError.
    timed : bool
        Whether time series are read with their times, as `Series`.
    """

    def __init__(
        self, fields: Sequence[Field], load: Callable[..., bytes], *, timed: bool = False
    ) -> None:
        self._timed = timed
        self._fields = tuple(fields)
        self._load = load
        names = [f"'{field.name}'" for field in fields]
        self._names = f"its {'field' if len(names) == 1 else 'fields'} {' and '.join(names)}"
        self._loads = any(field.is_address for field in fields)
        self._threads = VIDEO_LOADERS if any(f.kind == "video" for f in fields) else LOADERS

    def map(
        self,
        contents: Sequence[Mapping[str, Any]],
        prepare: Callable[[list[Raw]], Prepared],
    ) -> list[Prepared | ContentError]:
        """Read and prepare tasks; the error stands in place of one that cannot be.

        ``prepare`` is given a task's fields, in order: texts, the bytes of files, and the channels
        of time series; None for one that the task does without (it stands beside what is
        labeled). Of several images it is an iterator, so that only one of them is held.
        """

        def one(content: Mapping[str, Any]) -> Prepared | ContentError:
            try:
                values = [self._read(field, content.get(field.name)) for field in self._fields]
                if all(_is_empty(value) for value in values):
                    raise ContentError(f"the task is empty in {self._names}")
                return prepare(values)
            except ContentError as error:
                return error

        if not self._loads:
            return [one(content) for content in contents]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(one, contents))

    def _read(self, field: Field, value: Any) -> Raw:
        if not value and not field.required:
            return None if field.is_address else ""
        if not isinstance(value, str) or (field.is_address and not value):
            raise ContentError(f"the task has no {field.kind} in its field '{field.name}'")
        if field.kind == "images":
            return (self._load(address) for address in json.loads(value)[:MOST_IMAGES])
        if field.kind == "time series":
            if field.by_url and not is_inline(value):
                value = self._load(value).decode("utf-8", "replace")
            columns, separator = field.columns, field.separator
            if self._timed:
                return read_series(value, columns, separator, field.time_column, field.time_format)
            return read_channels(value, columns, separator)
        if field.kind == "video":
            return self._load(value, video=True)
        if field.kind != "text":
            return self._load(value)
        if field.by_url:
            text = field.plain_text(self._load(value).decode("utf-8", "replace"))
            return text or ""
        return field.shown(value).encode("utf-8", "replace").decode()  # no lone surrogates


def _is_empty(value: Raw) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def run_each(run: Callable[[Sequence[Any]], FloatArray], prepared: Sequence[Any]) -> list[Any]:
    """Run a model over prepared contents; one that it fails on does not cost the others.

    Returns
    -------
    list of array or ContentError
        A row each, in order.

    Raises
    ------
    ModelError, DataError
        When it fails on each of several: then the model is at fault.
    """
    try:
        return list(run(prepared)) if prepared else []
    except (ModelError, DataError) as error:
        first = error
    found: list[Any] = []
    for item in prepared:
        try:
            found.append(run([item])[0])
        except (ModelError, DataError) as error:
            found.append(ContentError(f"the model fails on it: {error}"))
    if len(found) > 1 and all(isinstance(part, ContentError) for part in found):
        raise first
    return found
