"""Containers of h5py and polars themselves, and what else libraries hand over."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import polars as pl
import pytest
from active_learn import ActiveSampler, DataError, LinearHead, rank_partitioned

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(3, 4)), RNG.normal(size=3))
TEXTS = ["a b", "c", "aa bb cc", "c c", "b"] * 3


def sampler(model: Any = HEAD, budget: int | float = 7) -> ActiveSampler:
    return ActiveSampler("classification", model, budget, random_state=0)


EXPECTED = sampler().select(X, return_indices=True)[1]


def test_a_dataset_of_h5py(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        stored = file.create_dataset("x", data=X, chunks=(7, 4), compression="gzip")
        chosen, indices = sampler().select(stored, return_indices=True)
        assert np.array_equal(indices, EXPECTED)
        assert np.array_equal(chosen, X[EXPECTED])
        one, other = sampler().rank(stored), sampler().rank(X)
        assert np.array_equal(one.indices, other.indices)
        aopt = ActiveSampler("classification", HEAD, 7, strategy="aopt", random_state=0)
        in_parts = rank_partitioned(aopt, stored, 7, partitions=3)
        assert np.array_equal(in_parts.indices, rank_partitioned(aopt, X, 7, partitions=3).indices)
        with pytest.raises(DataError, match="type File with parts 'x'; give one of its parts"):
            sampler().select(file)


@pytest.mark.parametrize(
    "make",
    [pl.DataFrame, lambda x: pl.Series(x.tolist()), lambda x: pl.Series("e", x)],
    ids=["table", "lists", "arrays"],
)
def test_numbers_of_polars(make: Any) -> None:
    pool = make(X)
    chosen, indices = sampler().select(pool, return_indices=True)
    assert np.array_equal(indices, EXPECTED)
    assert type(chosen) is type(pool)
    assert len(chosen) == 7


def on_texts(batch: list[str]) -> tuple[np.ndarray, np.ndarray]:
    h = np.array([[text.count(letter) for letter in "abc"] for text in batch], np.float32)
    return h @ np.eye(3, 2, dtype=np.float32), h


def test_texts_of_polars() -> None:
    column = pl.Series("text", TEXTS)
    chosen = sampler(on_texts, 4).select(column)
    assert isinstance(chosen, pl.Series)
    assert chosen.to_list() == sampler(on_texts, 4).select(TEXTS)


class HubColumn(UserList):
    """A column of a Dataset of Hugging Face: reading one value takes as long as reading many."""

    column_name = "text"
    reads = 0

    def __getitem__(self, at: Any) -> Any:
        self.reads += 1
        return [self.data[i] for i in at] if isinstance(at, list) else self.data[at]


def test_a_column_of_hugging_face_is_read_in_parts() -> None:
    column = HubColumn(TEXTS)
    chosen = sampler(on_texts, 4).select(column)
    assert chosen == sampler(on_texts, 4).select(TEXTS)
    assert column.reads <= 3


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (pl.DataFrame({"text": TEXTS, "y": 0}), r"columns 'text', 'y'; .* table\['text'\]"),
        (pl.LazyFrame({"text": TEXTS}), r"run its collect\(\) first"),
        (pl.Series(["a", None]), "row 1 of candidates is empty"),
    ],
    ids=["texts", "lazy", "empty row"],
)
@pytest.mark.parametrize("budget", [2, 0.5])
def test_what_is_not_clear_is_refused(samples: Any, message: str, budget: float) -> None:
    with pytest.raises(DataError, match=message):
        sampler(HEAD, budget).select(samples)
