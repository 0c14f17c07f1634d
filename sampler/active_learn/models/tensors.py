"""Numbers of any kind as tensors: what numpy or torch would refuse is converted or named."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import DataError

__all__ = ["as_tensor", "check_readable"]

NATIVE_BYTES = 8  # of the largest float that torch has; longdouble takes more


def as_tensor(values: Any, what: str = "samples", advice: str = "") -> torch.Tensor:
    """Return real numbers as a tensor, which shares memory where it can: do not write to it.

    Parameters
    ----------
    values : tensor, array, or nested list of numbers, arrays or tensors
        Also arrays of any byte order, with negative strides, or of longdouble.
    what : str
        What they are called in messages.
    advice : str
        Said where they are no numbers at all.

    Raises
    ------
    DataError
        When they are no real numbers, differ in length, or have no values (the meta device).
    """
    if isinstance(values, torch.Tensor):
        check_readable(values, what)
        if values.is_complex():
            raise DataError(f"{what} hold {values.dtype}; expected real numbers")
        return values.detach().dequantize() if values.is_quantized else values.detach()
    if isinstance(values, list | tuple) and any(isinstance(row, torch.Tensor) for row in values):
        return stack([as_tensor(row, what, advice) for row in values], what)
    if isinstance(values, list) and values and isinstance(values[0], Mapping):
        names = ", ".join(repr(str(name)) for name in list(values[0])[:5])
        raise DataError(f"{what} are rows with {names}; expected real numbers: give one column")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise DataError(f"{what} differ in length; expected rows of one length, (n, d)") from error
    if array.dtype.kind not in "fiub":
        texts = array.size and isinstance(array.flat[0], str)
        held = "texts" if texts else array.dtype
        raise DataError(f"{what} hold {held}; expected real numbers{advice}")
    if np.ma.is_masked(values):
        raise DataError(f"{what} hold masked values; fill them, or remove those rows")
    if array.dtype.kind == "f" and array.dtype.itemsize > NATIVE_BYTES:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(stride < 0 for stride in array.strides):
        array = array.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def check_readable(tensor: torch.Tensor, what: str) -> None:
    """Check that a tensor has values that can be read by rows."""
    if tensor.is_meta:
        raise DataError(f"{what} are on the meta device, which holds no values; give real ones")
    if tensor.is_nested:
        raise DataError(f"{what} are a nested tensor; give a list of tensors of one shape")
    if tensor.layout != torch.strided:
        raise DataError(f"{what} are a {tensor.layout} tensor; make it dense by to_dense()")


def stack(rows: list[torch.Tensor], what: str) -> torch.Tensor:
    shapes = {tuple(row.shape) for row in rows}
    if len(shapes) > 1:
        raise DataError(
            f"{what} have different shapes ({', '.join(map(str, sorted(shapes)[:3]))}); "
            "expected one shape, pad or resize them"
        )
    return torch.stack(rows)
