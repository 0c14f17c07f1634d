"""Tasks in files, as Label Studio imports them: JSON lines, or a JSON list."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from active_learn.errors import DataError

__all__ = ["PAGE", "read_pages"]

PAGE = 512  # tasks that are read at once
LINES = (".jsonl", ".ndjson")
LONGEST_LINE = 64 * 2**20  # characters


def read_pages(path: Path) -> Iterator[list[Mapping[str, Any]]]:
    """Read the data of tasks page by page: of JSON lines in bounded memory, of a list all at once.

    A task is an object with its data in ``data``, or the data itself.

    Raises
    ------
    DataError
        With the file and the line or position of the first task that cannot be read.
    """
    if path.suffix.lower() not in (*LINES, ".json"):
        raise DataError(f"{path}: expected a file that ends with .json, {' or '.join(LINES)}")
    tasks = _lines(path) if path.suffix.lower() in LINES else _list(path)
    while page := list(islice(tasks, PAGE)):
        yield page


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as file:
        number = 0
        while line := file.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:  # its rest would be read as further lines
                raise DataError(f"{path}, line {number}: it has {LONGEST_LINE} characters or more")
            if line.strip():
                yield _data(_parsed(line, f"{path}, line {number}"), f"{path}, line {number}")


def _list(path: Path) -> Iterator[Mapping[str, Any]]:
    with _open(path) as file:
        tasks = _parsed(file.read(), str(path))
    if not isinstance(tasks, list):
        raise DataError(f"{path}: expected a list of tasks; lines of JSON end with {LINES[0]}")
    for at, task in enumerate(tasks):
        yield _data(task, f"{path}, task {at + 1}")


def _open(path: Path) -> Any:
    try:
        return path.open(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error.strerror}") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: it is not JSON ({error})") from error


def _data(task: Any, where: str) -> Mapping[str, Any]:
    data = task.get("data", task) if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise DataError(f'{where}: expected a task, an object such as {{"data": {{...}}}}')
    return data
