"""Filters of Label Studio's Data Manager, and the query that lists tasks by them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

__all__ = ["Filter", "filter_rules", "stamp", "task_query"]


@dataclass(frozen=True)
class Filter:
    """One filter.

    A Datetime's value must have a fraction and a Z (``2026-11-22T07:05:43.492877Z``), see `stamp`;
    otherwise Label Studio answers 500. Versions of predictions must be given as a list: of a text
    Label Studio looks for each letter.
    """

    column: str
    operator: str
    type: str
    value: str | int | list[str]


def stamp(when: datetime) -> str:
    """Return a time as Label Studio's filters need it: with a fraction and a Z."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def filter_rules(filters: Sequence[Filter]) -> dict[str, Any]:
    """Return the filters as Label Studio takes them; all of them have to hold."""
    items = [
        {
            "filter": f"filter:tasks:{one.column}",
            "operator": one.operator,
            "type": one.type,
            "value": one.value,
        }
        for one in filters
    ]
    return {"conjunction": "and", "items": items}


def task_query(
    project_id: int,
    include: str | None = None,
    filters: Sequence[Filter] = (),
    ordering: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the query parameters that list tasks.

    Parameters
    ----------
    include : str, optional
        Comma-separated fields; all of them when omitted.
    filters : sequence of Filter
        All of them have to hold.
    ordering : sequence of str
        Columns; used only with filters.
    """
    params: dict[str, Any] = {"project": project_id}
    params |= {"include": include} if include else {"fields": "all"}
    if filters:
        query: dict[str, Any] = {"filters": filter_rules(filters)}
        params["query"] = json.dumps(query | ({"ordering": list(ordering)} if ordering else {}))
    return params
