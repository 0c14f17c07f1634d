"""The cache of columns that are computed several at a time."""

from __future__ import annotations

import torch
from active_learn.posterior.columns import ColumnCache


def cache(keep: int) -> tuple[ColumnCache[int], list[list[int]]]:
    asked: list[list[int]] = []

    def compute(indices: torch.Tensor) -> list[int]:
        asked.append(indices.tolist())
        return [10 * index + len(asked) for index in indices.tolist()]

    return ColumnCache(compute, keep), asked


def test_columns_are_computed_once_and_dropped_when_used() -> None:
    columns, asked = cache(keep=8)
    columns.fetch(torch.tensor([3, 5]))
    assert 3 in columns
    assert columns.pop(3) == 31
    assert 3 not in columns
    assert list(columns) == [5]
    assert asked == [[3, 5]]


def test_the_oldest_are_dropped_and_the_latest_always_stay() -> None:
    columns, _ = cache(keep=1)
    columns.fetch(torch.tensor([1, 2, 3]))
    columns.fetch(torch.tensor([4, 5]))
    assert list(columns) == [3, 4, 5]


def test_a_column_that_is_computed_again_replaces_the_earlier_one() -> None:
    columns, _ = cache(keep=0)
    columns.fetch(torch.tensor([1, 2]))
    columns.fetch(torch.tensor([2, 1]))
    assert list(columns) == [2, 1]
    assert columns.pop(1) == 12
