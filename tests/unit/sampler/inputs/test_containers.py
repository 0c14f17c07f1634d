"""Candidates in containers of other libraries: read where that is clear, refused by name elsewhere.

Libraries that are installed for the tests have test_container_libraries.py. TensorFlow and xarray
are too large for that; what matters of each is in a class of a few lines here.
"""

from __future__ import annotations

from collections import UserList, deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from active_learn import ActiveSampler, DataError, LinearHead, rank_partitioned
from torch import nn
from torch.utils.data import Dataset, IterableDataset

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4)).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(3, 4)), RNG.normal(size=3))
TEXTS = [" ".join("abc"[j] for j in RNG.integers(3, size=length)) for length in range(1, 31)]


def on_texts(batch: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Count letters: a model that takes a list of texts only."""
    assert isinstance(batch, list)
    h = np.array([[text.count(letter) for letter in "abc"] for text in batch], dtype=np.float32)
    return h @ np.eye(3, 2, dtype=np.float32), h


def sampler(model: Any = HEAD, **arguments: Any) -> ActiveSampler:
    return ActiveSampler("classification", model, 7, **{"random_state": 0, **arguments})


EXPECTED = sampler().select(X, return_indices=True)[1].tolist()
EXPECTED_TEXTS = sampler(on_texts).select(TEXTS, return_indices=True)[1].tolist()


class Stored:
    """An array of h5py: no negative or repeated positions, in ascending order only."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.largest_read = 0

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, at: Any) -> np.ndarray:
        if isinstance(at, np.ndarray) and not (np.diff(at) > 0).all():
            raise TypeError("Indexing elements must be in increasing order")
        rows = self.array[at]
        self.largest_read = max(self.largest_read, len(rows))
        return rows


class Unsized(Stored):
    """An array that has a shape and no length, as those of zarr 2."""

    __len__ = None  # type: ignore[assignment]

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array)


class OneByOne(Stored):
    """An array of TensorFlow, which reads one position or a slice, and no list of positions."""

    def __getitem__(self, at: Any) -> np.ndarray:
        if isinstance(at, np.ndarray):
            raise TypeError("Only integers and slices are valid indices")
        return self.array[at]


class Labelled(Stored):
    """An array of xarray, which has to_numpy and no take."""

    def to_numpy(self) -> np.ndarray:
        return self.array

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.array


# Embeddings


def arrow_table(array: np.ndarray) -> pa.Table:
    return pa.table({f"c{j}": array[:, j] for j in range(array.shape[1])})


def with_grad(array: np.ndarray) -> list[torch.Tensor]:
    return [torch.tensor(row, requires_grad=True) for row in array]


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (lambda x: pd.DataFrame(x, index=np.arange(len(x))[::-1]), lambda t: t.to_numpy()),
        (lambda x: pd.DataFrame(x).astype("Float32"), lambda t: t.to_numpy(np.float32)),
        (arrow_table, lambda t: np.stack([c.to_numpy() for c in t.columns], axis=1)),
        (lambda x: arrow_table(x).to_batches()[0], lambda t: np.stack(t.columns, axis=1)),
        (lambda x: pd.Series(list(x)), lambda s: np.stack(s.to_list())),
        (lambda x: pa.array(x.tolist(), pa.list_(pa.float32())), lambda s: np.stack(s.to_pylist())),
        (sp.csr_array, lambda m: m.toarray()),
        (sp.coo_matrix, lambda m: m.toarray()),
        (Stored, np.asarray),
        (Unsized, np.asarray),
        (OneByOne, np.asarray),
        (Labelled, np.asarray),
        (lambda x: deque(x), np.stack),
        (lambda x: UserList(list(x)), np.stack),
        (with_grad, lambda t: torch.stack(t).detach().numpy()),
        (lambda x: x.tolist(), np.asarray),
        (lambda x: x[::-1].copy()[::-1], np.asarray),
        (lambda x: x.astype(">f4"), np.asarray),
        (lambda x: x.astype(np.longdouble), np.asarray),
        (lambda x: torch.tensor(x, requires_grad=True), lambda t: t.detach().numpy()),
        (lambda x: x.astype(">f8")[:, ::-1].copy()[:, ::-1], np.asarray),
        (lambda x: np.ma.MaskedArray(x), np.asarray),
    ],
    ids=[
        "pandas", "pandas nullable", "pyarrow table", "pyarrow batch", "pandas series of arrays",
        "pyarrow lists", "csr", "coo", "h5py", "zarr", "TensorFlow", "xarray", "deque", "sequence",
        "tensors with grad", "lists", "negative strides", "big-endian", "longdouble",
        "tensor with grad", "big-endian, negative strides", "masked array",
    ],
)  # fmt: skip
def test_embeddings_in_any_container(
    make: Callable[[np.ndarray], Any], rows: Callable[[Any], np.ndarray]
) -> None:
    pool = make(X)
    chosen, indices = sampler().select(pool, return_indices=True)
    assert indices.tolist() == EXPECTED
    np.testing.assert_array_equal(np.asarray(rows(chosen), dtype=np.float32), X[EXPECTED])
    # As labeled data, by parts, and as a ranking.
    labeled = sampler(labeled_data=make(X[:9])).problem.labeled
    np.testing.assert_array_equal(labeled.embedding, X[:9])
    in_parts = rank_partitioned(sampler(strategy="margin"), pool, partitions=3)
    assert np.array_equal(in_parts.indices, sampler(strategy="margin").rank(X).indices)


@pytest.mark.parametrize("dtype", ["float64", "float16", "int64", "uint8", "bool", "uint16"])
def test_tables_of_any_numbers(dtype: str) -> None:
    x = np.round(40 * np.abs(X)).astype(dtype)
    assert sampler().select(pd.DataFrame(x), return_indices=True)[1].tolist() == (
        sampler().select(x, return_indices=True)[1].tolist()
    )


def test_a_table_of_different_numbers() -> None:
    table = pd.DataFrame({"a": X[:, 0], "b": X[:, 1].astype(int), "c": X[:, 2] > 0, "d": X[:, 3]})
    table["b"] = table["b"].astype("Int64")
    expected = table.to_numpy(np.float32)
    assert np.array_equal(sampler().rank(table).indices, sampler().rank(expected).indices)


def test_a_missing_number_is_named_by_its_row() -> None:
    table = pd.DataFrame(X).astype("Float32")
    table.iloc[17, 2] = pd.NA
    with pytest.raises(DataError, match="candidate 17 holds NaN"):
        sampler().select(table)


def test_a_stored_array_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_learn.inputs.pool.EMBEDDING_ROWS", 16)
    stored = Stored(X)
    chosen = sampler(strategy="margin").select(stored)
    assert isinstance(chosen, np.ndarray)
    assert np.array_equal(chosen, sampler(strategy="margin").select(X))
    assert stored.largest_read < len(X)


def test_a_fraction_of_a_stored_array() -> None:
    assert len(ActiveSampler("classification", HEAD, 0.1).select(Unsized(X))) == 6


# Texts


@pytest.mark.parametrize(
    ("make", "items"),
    [
        (pd.Series, list),
        (lambda t: pd.Series(t, dtype=object, index=range(50, 50 + len(t))), list),
        (lambda t: pd.Series(t, dtype="category"), list),
        (pd.Index, list),
        (pa.array, pa.Array.to_pylist),
        (lambda t: pa.chunked_array([t[:9], t[9:]]), pa.ChunkedArray.to_pylist),
        (tuple, list),
        (deque, list),
        (UserList, list),
    ],
    ids=["series", "objects", "categories", "index", "arrow", "chunked", "tuple", "deque", "list"],
)
def test_texts_in_any_container(
    make: Callable[[list[str]], Any], items: Callable[[Any], list[str]]
) -> None:
    pool = make(TEXTS)
    chosen, indices = sampler(on_texts).select(pool, return_indices=True)
    assert indices.tolist() == EXPECTED_TEXTS
    assert isinstance(chosen, list if isinstance(pool, UserList) else type(pool))
    assert items(chosen) == [TEXTS[i] for i in EXPECTED_TEXTS]


def test_a_fraction_of_a_column_of_a_table() -> None:
    table = pd.DataFrame({"text": TEXTS, "label": 0})
    chosen = ActiveSampler("classification", on_texts, 0.1, random_state=0).select(table["text"])
    assert len(chosen) == 3
    assert set(chosen) <= set(TEXTS)


def test_a_range_is_a_pool() -> None:
    def on_numbers(batch: list[int]) -> tuple[np.ndarray, np.ndarray]:
        return HEAD(X[batch]).logits, X[batch]

    assert sampler(on_numbers).select(range(len(X))) == EXPECTED


# Refused, by name and with the remedy


class Endless(IterableDataset):
    """Says how long it is, and still cannot be indexed."""

    def __len__(self) -> int:
        return len(X)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(X)


def test_an_iterable_dataset_with_a_length_is_a_pipe() -> None:
    chosen = list(sampler(strategy="margin").select(Endless(), total=len(X)))
    assert len(chosen) == 7


class Keyed:
    def keys(self) -> list[str]:
        return ["train", "test"]

    def __len__(self) -> int:
        return 2

    def __getitem__(self, name: str) -> np.ndarray:
        return X


NESTED = torch.nested.nested_tensor([torch.zeros(3)], layout=torch.jagged)


class LazyTable:
    columns = ["a"]

    def collect(self) -> None: ...


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            pd.DataFrame({"text": TEXTS, "label": 0}),
            r"table with columns 'text', 'label'; expected one column, such as table\['text'\]",
        ),
        (pa.table({"text": TEXTS, "label": [0] * 30}), r"such as table\['text'\]"),
        (pd.DataFrame(index=range(5)), "table with columns"),
        (pd.Series(["a", None, "b"]), "row 1 of candidates is empty; remove empty rows first"),
        (pd.Series(["a", pd.NA]), "row 1 of candidates is empty"),
        (pa.array([None, "a"]), "row 0 of candidates is empty"),
        ({"train": TEXTS}, "type dict with parts 'train'; give one of its parts"),
        (Keyed(), "type Keyed with parts 'train', 'test'; give one of its parts"),
        (LazyTable(), r"type LazyTable; expected .*; run its collect\(\) first"),
        ("a text", "type str; expected a tensor, an array, a list"),
        (torch.from_numpy(X).to_sparse(), r"torch.sparse_coo tensor; make it dense by to_dense"),
        (torch.empty(9, 4, device="meta"), "on the meta device, which holds no values"),
        (NESTED, "nested tensor; give a list of tensors"),
        ([{"text": "a", "label": 1}] * 9, "rows with 'text', 'label'; .* give one column"),
        (np.ma.masked_greater(X, 1), "hold masked values; fill them"),
        ([torch.zeros(4), torch.zeros(5)], "different shapes"),
        (np.array([("a", 1.0)], dtype=[("t", "U3"), ("x", "f4")]), "expected real numbers"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "datetime64.* expected real numbers"),
        (pd.Series(X[:, 0]), r"shape \(\d+,\); expected \(n, 4\)"),
        (np.float64(3), "single number"),
        (torch.tensor(1.0), "single number"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)  # fmt: skip
@pytest.mark.parametrize("budget", [1, 0.5])
def test_what_is_not_clear_is_refused(samples: Any, message: str, budget: float) -> None:
    with pytest.raises(DataError, match=message):
        ActiveSampler("classification", HEAD, budget).select(samples)


# Models


def test_weights_that_require_grad_make_a_head() -> None:
    layer = nn.Linear(4, 3)
    torch.testing.assert_close(LinearHead(layer.weight, layer.bias).weight, layer.weight.detach())


class Pictures(Dataset):
    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, at: int) -> tuple[torch.Tensor, int]:
        return torch.tensor(X[at], requires_grad=True), 1


@pytest.mark.parametrize(
    "make",
    [
        lambda x: x[::-1].copy()[::-1],
        lambda x: x.astype(">f4"),
        lambda x: x.astype(np.longdouble),
        lambda x: torch.tensor(x, requires_grad=True),
        lambda x: [torch.tensor(row, requires_grad=True) for row in x],
        lambda x: Pictures(),
        lambda x: torch.tensor(x).double(),
        pd.DataFrame,
        sp.csr_array,
    ],
    ids=["strides", "big", "longdouble", "grad", "list", "dataset", "double", "table", "sparse"],
)
def test_a_module_takes_any_numbers(make: Callable[[np.ndarray], Any]) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    expected = sampler(module).rank(X).indices
    assert np.array_equal(sampler(module).rank(make(X)).indices, expected)


def test_memory_maps_are_read_in_blocks(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X.astype(np.float16))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert np.array_equal(sampler().rank(mapped).indices, sampler().rank(np.array(mapped)).indices)
