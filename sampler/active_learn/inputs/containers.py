"""Containers of samples, of any library, read by rows.

Known by what they can do, so that no library has to be installed: arrays and what reads like them
(h5py, zarr, dask), sparse matrices, tables and their columns (pandas, polars, pyarrow), and all
that has a length and integer positions (lists, Datasets of PyTorch and of Hugging Face).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset, Subset

from ..errors import DataError
from ..models import ModelOutput, PooledTasks
from ..models.tensors import check_readable
from ..ragged import RaggedArray

__all__ = ["Container", "is_pool", "model_input", "open_container", "refusal", "to_batch"]

EXPECTED = (
    "expected a tensor, an array, a list or a Dataset with a length, a column of a table or a "
    "table of numbers"
)
NUMBERS = "fiub"
TABLE_FORMATS = ("arrow", "pandas", "polars")  # of Hugging Face; their rows are tables of one row


def is_pool(samples: Any) -> bool:
    """Return whether samples have a length and can be indexed; all others are read only once."""
    if isinstance(samples, Dataset):
        return hasattr(samples, "__len__") and not isinstance(samples, IterableDataset)
    if hasattr(samples, "tocsr"):  # sparse; in old releases of scipy some formats have no index
        return True
    if isinstance(samples, str | bytes | bytearray | ModelOutput) or has_names(samples):
        return False
    sized = hasattr(samples, "__len__") or hasattr(samples, "shape")
    return sized and hasattr(samples, "__getitem__")


def has_names(samples: Any) -> bool:
    """Return whether parts of an object are called by names, so that they are no samples."""
    return isinstance(samples, Mapping) or (
        callable(getattr(samples, "keys", None)) and not hasattr(samples, "iloc")  # of pandas
    )


def refusal(samples: Any, what: str) -> DataError:
    """Return the error for what are no samples, with what to give instead."""
    kind = type(samples).__name__
    if has_names(samples):
        names = ", ".join(repr(str(name)) for name in list(samples.keys())[:5])
        if not names:
            return DataError(f"{what} are of type {kind} with no parts; {EXPECTED}")
        return DataError(f"{what} are of type {kind} with parts {names}; give one of its parts")
    lazy = next((name for name in ("collect", "compute") if hasattr(samples, name)), None)
    remedy = f"; run its {lazy}() first" if lazy else ""
    return DataError(f"{what} are of type {kind}; {EXPECTED}{remedy}")


class Container(ABC):
    """Samples that can be read by rows.

    Parameters
    ----------
    samples : object
        As they came.

    Attributes
    ----------
    is_array : bool
        Whether rows are numbers, which are read without running anything.
    """

    is_array = False

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def in_memory(self) -> Any:
        """All rows as a tensor or an array, where they are in memory as that; None elsewhere."""
        return None

    @abstractmethod
    def rows(self, at: slice | np.ndarray) -> Any:
        """Return a batch of model inputs."""

    @abstractmethod
    def choose(self, indices: np.ndarray) -> Any:
        """Return the samples at some indices, in the type they came in."""


class Arrays(Container):
    """A tensor or an array of numpy, perhaps memory-mapped."""

    is_array = True

    @property
    def in_memory(self) -> Any:
        return None if isinstance(self.samples, np.memmap) else self.samples

    def rows(self, at: slice | np.ndarray) -> Any:
        tensor = isinstance(self.samples, torch.Tensor) and not isinstance(at, slice)
        return self.samples[torch.as_tensor(at) if tensor else at]

    def choose(self, indices: np.ndarray) -> Any:
        if isinstance(self.samples, torch.Tensor):
            return self.samples[torch.as_tensor(indices, device=self.samples.device)]
        return self.samples[indices]


class StoredArrays(Container):
    """An array that is read from where it is stored, such as one of h5py, zarr or dask."""

    is_array = True

    def __len__(self) -> int:
        return int(self.samples.shape[0])

    def rows(self, at: slice | np.ndarray) -> Any:
        if isinstance(at, slice):
            return np.asarray(self.samples[at])
        ascending, place = np.unique(at, return_inverse=True)  # h5py reads no other order
        if len(ascending) and ascending[-1] - ascending[0] < len(ascending):
            return np.asarray(self.samples[ascending[0] : ascending[-1] + 1])[place]
        try:
            return np.asarray(self.samples[ascending])[place]
        except (TypeError, IndexError, NotImplementedError, ValueError):  # one position at a time
            return np.stack([np.asarray(self.samples[int(i)]) for i in ascending])[place]

    def choose(self, indices: np.ndarray) -> Any:
        return self.rows(indices)


class SparseRows(Container):
    """A sparse matrix of scipy; its rows are made dense as they are read."""

    is_array = True

    def __init__(self, samples: Any) -> None:
        super().__init__(samples)
        self._by_rows = samples.tocsr()

    def __len__(self) -> int:
        return int(self.samples.shape[0])

    def rows(self, at: slice | np.ndarray) -> Any:
        return np.asarray(self._by_rows[at].toarray())

    def choose(self, indices: np.ndarray) -> Any:
        return self._by_rows[indices].asformat(self.samples.format)


class Items(Container):
    """What gives one sample for each position; items that are tuples are (input, target, ...)."""

    def __init__(self, samples: Any) -> None:
        super().__init__(samples)
        self._read_from = plain_rows(samples)

    def rows(self, at: slice | np.ndarray) -> Any:
        numbers = range(*at.indices(len(self))) if isinstance(at, slice) else at.tolist()
        if isinstance(self.samples, list):
            return to_batch([self.samples[i] for i in numbers])
        return to_batch([model_input(item) for item in self._items(list(numbers))])

    def choose(self, indices: np.ndarray) -> Any:
        at = indices.tolist()
        if isinstance(self.samples, list | tuple | deque):
            return type(self.samples)(self.samples[i] for i in at)
        if isinstance(self.samples, Dataset):
            return Subset(self.samples, at)
        if hasattr(self.samples, "select"):  # a Dataset of Hugging Face
            return self.samples.select(at)
        return list(self._items(at))

    def _items(self, at: list[int]) -> Any:
        """Read the items at some positions, together where the container can do that."""
        if hasattr(self._read_from, "__getitems__"):
            return self._read_from.__getitems__(at)
        if hasattr(self._read_from, "column_name"):  # of Hugging Face: 0.1 ms for each read
            return self._read_from[at]
        return [self._read_from[i] for i in at]


class Parted(Container):
    """Tasks of parts: a RaggedArray, or PooledTasks."""

    def rows(self, at: slice | np.ndarray) -> Any:
        return self.samples.take(at)

    def choose(self, indices: np.ndarray) -> Any:
        return self.samples.take(indices)


class Tables(Container):
    """A column of a table, or a table of numbers, of pandas, polars or pyarrow."""

    def __init__(self, samples: Any, what: str) -> None:
        super().__init__(samples)
        table = hasattr(samples, "columns")
        values = table_values(samples, what) if table else column_values(samples, what)
        self._values = Arrays(values) if isinstance(values, np.ndarray) else Items(values)
        self.is_array = self._values.is_array

    @property
    def in_memory(self) -> Any:
        return self._values.in_memory

    def rows(self, at: slice | np.ndarray) -> Any:
        return self._values.rows(at)

    def choose(self, indices: np.ndarray) -> Any:
        if hasattr(self.samples, "iloc"):
            return self.samples.iloc[indices]
        if hasattr(self.samples, "to_arrow"):  # polars
            return self.samples[indices.tolist()]
        return self.samples.take(indices) if hasattr(self.samples, "take") else self.rows(indices)


def open_container(samples: Any, what: str) -> Container:
    """Return the container of some samples.

    Raises
    ------
    DataError
        When they are of a kind that cannot be read by rows, or have no known length.
    """
    if isinstance(samples, memoryview):
        samples = np.asarray(samples)
    if hasattr(samples, "tocsr"):
        if len(samples.shape) != 2:
            raise DataError(f"{what} are sparse of shape {samples.shape}; expected (n, d)")
        return SparseRows(samples)
    if not is_pool(samples):
        raise refusal(samples, what)
    if isinstance(samples, torch.Tensor):
        check_readable(samples, what)
    shape = getattr(samples, "shape", None)
    if shape is not None and len(shape) == 0:
        raise DataError(f"{what} are a single number; expected an array of shape (n, ...)")
    if isinstance(samples, torch.Tensor | np.ndarray):
        return Arrays(samples)
    if isinstance(samples, RaggedArray | PooledTasks):
        return Parted(samples)
    if isinstance(samples, Dataset | Sequence | deque):
        return Items(samples)
    if hasattr(samples, "divisions"):  # tables of dask, which do not know where a row is
        raise refusal(samples, what)
    if hasattr(samples, "columns") or hasattr(samples, "to_numpy"):
        return Tables(samples, what)
    if shape is not None and hasattr(samples, "dtype"):
        if not isinstance(shape[0], int | np.integer):
            raise DataError(
                f"{what} have an unknown number of rows; run their compute_chunk_sizes() or "
                "compute() first"
            )
        return StoredArrays(samples)
    return Items(samples)


def table_values(table: Any, what: str) -> np.ndarray:
    """Return the numbers of a table, one row a sample."""
    if hasattr(table, "iloc"):
        columns = [table.iloc[:, i] for i in range(table.shape[1])]
        names = [str(name) for name in table.columns]
    elif hasattr(table, "get_columns"):
        columns, names = table.get_columns(), list(table.columns)
    else:
        columns, names = list(table.columns), list(table.column_names)
    arrays = [as_numbers(column) for column in columns]
    other = [name for name, array in zip(names, arrays, strict=True) if array is None]
    if other or not arrays:
        raise DataError(
            f"{what} are a table with columns {', '.join(map(repr, names[:8]))}; expected one "
            f"column, such as table[{(other or ['name'])[0]!r}], or a table of numbers only"
        )
    return np.stack([np.asarray(array) for array in arrays], axis=1)


def column_values(column: Any, what: str) -> np.ndarray | list[Any]:
    """Return a column's numbers as an array, anything else as a list."""
    numbers = as_numbers(column)
    if numbers is not None:
        return numbers
    values = np.asarray(column).tolist()
    missing = next((i for i, value in enumerate(values) if is_missing(value)), None)
    if missing is not None:
        raise DataError(f"row {missing} of {what} is empty; remove empty rows first")
    return values


def as_numbers(column: Any) -> np.ndarray | None:
    """Return a column of numbers as an array, with NaN where one is missing; None of others."""
    array = np.asarray(column)
    if array.dtype == object and getattr(getattr(column, "dtype", None), "kind", "O") in NUMBERS:
        array = column.to_numpy(dtype=np.float64, na_value=np.nan)  # numbers of pandas, some NA
    return array if array.dtype.kind in NUMBERS else None


def is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and value != value


def plain_rows(samples: Any) -> Any:
    """Return a Dataset of Hugging Face in tables' format with mappings as rows; others as are."""
    form = getattr(samples, "format", None)
    if isinstance(form, Mapping) and form.get("type") in TABLE_FORMATS:
        return samples.with_format(None, columns=form["columns"])
    return samples


def to_batch(inputs: Sequence[Any]) -> Any:
    """Return a batch for the model: samples of one shape stacked, all others as a list."""
    first = inputs[0]
    if isinstance(first, torch.Tensor) and all(
        isinstance(x, torch.Tensor) and x.shape == first.shape for x in inputs
    ):
        return torch.stack(list(inputs))
    if isinstance(first, np.ndarray) and all(
        isinstance(x, np.ndarray) and x.shape == first.shape for x in inputs
    ):
        return np.stack(inputs)
    return list(inputs)


def model_input(item: Any) -> Any:
    """Return the part of a dataset's item that the model reads.

    Of a tuple (input, target, ...) it is the input. A tuple of two texts is a pair and is read
    whole.
    """
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)
    return item[0] if isinstance(item, tuple) and not pair else item
