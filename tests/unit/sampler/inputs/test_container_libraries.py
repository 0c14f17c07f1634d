"""Containers of h5py, zarr, dask, polars and Hugging Face's datasets: each the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array as da
import datasets
import h5py
import numpy as np
import polars as pl
import pytest
import zarr
from active_learn import ActiveSampler, DataError, LinearHead, rank_partitioned
from datasets.arrow_dataset import Column

datasets.disable_progress_bars()

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


# zarr and dask


def chunked(x: np.ndarray) -> zarr.Array:
    return zarr.array(x, chunks=(7, 3))


def in_blocks(x: np.ndarray) -> da.Array:
    return da.from_array(x, chunks=(11, 3))


@pytest.mark.parametrize("make", [chunked, in_blocks])
def test_stored_arrays_of_zarr_and_dask(make: Any) -> None:
    pool = make(X)
    chosen, indices = sampler().select(pool, return_indices=True)
    assert np.array_equal(indices, EXPECTED)
    assert np.array_equal(chosen, X[EXPECTED])
    assert isinstance(chosen, np.ndarray)
    assert len(sampler(budget=0.1).select(pool)) == 6
    labeled = ActiveSampler("classification", HEAD, 7, labeled_data=make(X[:9])).problem.labeled
    assert np.array_equal(labeled.embedding, X[:9])
    by_margin = ActiveSampler("classification", HEAD, 7, strategy="margin")
    in_parts = rank_partitioned(by_margin, pool, partitions=3)
    assert np.array_equal(in_parts.indices, by_margin.rank(X).indices)
    # Of no and of one row.
    with pytest.raises(DataError, match="the pool is empty; give at least one candidate"):
        sampler().select(make(X[:0]))
    assert sampler(budget=1).select(make(X[3:4]), return_indices=True)[1].tolist() == [0]


POSITIVE = in_blocks(X)[in_blocks(X)[:, 0] > 0]  # dask does not know how many rows that are


def test_rows_of_a_filtered_dask_array_once_they_are_counted() -> None:
    expected = sampler().select(X[X[:, 0] > 0], return_indices=True)[1]
    counted = POSITIVE.copy().compute_chunk_sizes()
    assert np.array_equal(sampler().select(counted, return_indices=True)[1], expected)


# datasets of Hugging Face


HUB = datasets.Dataset.from_dict({"text": TEXTS, "label": list(range(len(TEXTS)))})
VECTORS = datasets.Dataset.from_dict({"x": X, "y": [0] * len(X)})


def on_rows(batch: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return on_texts([row["text"] for row in batch])


def labels_of(chosen: Any) -> list[int]:
    return chosen.with_format(None)["label"][:]


@pytest.mark.parametrize("form", [None, "numpy", "torch", "pandas", "polars", "arrow"])
def test_a_dataset_in_any_format(form: str | None) -> None:
    chosen = sampler(on_rows, 4).select(HUB.with_format(form))
    assert isinstance(chosen, datasets.Dataset)
    assert chosen.format["type"] == form
    expected = sampler(on_texts, 4).select(TEXTS, return_indices=True)[1]
    assert labels_of(chosen) == expected.tolist()
    column = VECTORS.with_format(form)["x"]
    assert np.array_equal(sampler().select(column, return_indices=True)[1], EXPECTED)


@pytest.mark.parametrize(
    "part",
    [
        lambda d: d.shuffle(seed=1),
        lambda d: d.filter(lambda row: row["label"] % 3 != 1),
        lambda d: d.select([8, 3, 5, 5, 0, 11]),
        lambda d: d.select([6]),
    ],
    ids=["shuffled", "filtered", "selected", "one"],
)
def test_a_part_of_a_dataset(part: Any) -> None:
    """It is the same table, read through a list of row numbers."""
    dataset = part(HUB)
    budget = min(4, len(dataset))
    expected = sampler(on_texts, budget).select(list(dataset["text"]), return_indices=True)[1]
    chosen = sampler(on_rows, budget).select(dataset)
    assert labels_of(chosen) == [dataset[int(i)]["label"] for i in expected]
    of_column = sampler(on_texts, budget).select(dataset["text"], return_indices=True)[1]
    assert np.array_equal(of_column, expected)


def test_an_empty_dataset_is_refused() -> None:
    for pool in (HUB.select([]), HUB.select([])["text"]):
        with pytest.raises(DataError, match="the pool is empty; give at least one candidate"):
            sampler(on_rows).select(pool)


def test_a_column_of_a_dataset_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading one value takes as long as reading many."""
    reads = []
    read = Column.__getitem__
    monkeypatch.setattr(Column, "__getitem__", lambda self, at: reads.append(at) or read(self, at))
    chosen = sampler(on_texts, 4).select(HUB["text"])
    assert chosen == sampler(on_texts, 4).select(TEXTS)
    assert 1 <= len(reads) <= 3


def test_an_iterable_dataset_is_a_stream() -> None:
    model = ActiveSampler("classification", on_rows, 4, strategy="margin", random_state=0)
    stream = list(model.select(HUB.to_iterable_dataset(), total=len(HUB)))
    assert len(stream) == 4
    assert all(row in list(HUB) for row in stream)
    with pytest.raises(DataError, match="type IterableDataset; expected a tensor"):
        sampler(on_rows).rank(HUB.to_iterable_dataset())


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (pl.DataFrame({"text": TEXTS, "y": 0}), r"columns 'text', 'y'; .* table\['text'\]"),
        (pl.LazyFrame({"text": TEXTS}), r"run its collect\(\) first"),
        (pl.Series(["a", None]), "row 1 of candidates is empty"),
        (POSITIVE, r"candidates have an unknown number of rows; run their compute_chunk_sizes\(\)"),
        (zarr.array(np.float32(3)), "candidates are a single number"),
        (zarr.group({}), "type Group with no parts; expected a tensor, an array"),
        (datasets.DatasetDict(train=HUB), "type DatasetDict with parts 'train'; give one of its"),
        (VECTORS, "rows with 'x', 'y'; expected real numbers: give one column"),
    ],
    ids=["texts", "lazy", "empty row", "unknown rows", "number", "group", "parts", "rows"],
)
@pytest.mark.parametrize("budget", [2, 0.5])
def test_what_is_not_clear_is_refused(samples: Any, message: str, budget: float) -> None:
    with pytest.raises(DataError, match=message):
        sampler(HEAD, budget).select(samples)
