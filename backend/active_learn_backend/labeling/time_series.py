"""Reads the channels and times of a time series: columns of a CSV file, or arrays of JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import ContentError
from .time_formats import TimeFormat

__all__ = ["Series", "inline_channels", "is_inline", "read_channels", "read_series"]

MAX_ROWS = 1_000_000  # that are read
MAX_TIME = 1e15  # beyond it a number is no time
MAX_VALUE = 1e30  # beyond it a value counts as missing
SHOWN = 8  # columns in a message
SEPARATORS = {"\\t": "\t", "tab": "\t", "": ","}


@dataclass(frozen=True)
class Series:
    """A time series.

    Attributes
    ----------
    channels : array of shape (channels, rows)
    column, cells : str, sequence
        Of the times; none where rows are counted.
    time_format : str
        How they are written; empty: as numbers.
    """

    channels: npt.NDArray[np.float32]
    column: str = ""
    cells: Sequence[Any] = ()
    time_format: str = ""

    def times(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return the times of some rows, the first of them first.

        Raises
        ------
        ContentError
            When one cannot be read, or they fall: Label Studio shows no such series, either.
        """
        if not self.column:
            return rows.astype(np.float64)
        written = TimeFormat(self.time_format) if self.time_format else None
        found = []
        for row in rows.tolist():
            cell = self.cells[row] if row < len(self.cells) else None
            try:
                time = written.parse(str(cell)) if written else _number(cell)
            except (ValueError, OverflowError):
                time = None
            if time is None or abs(time) > MAX_TIME:
                expected = f"times like '{written.write(0.0)}'" if written else "numbers"
                raise ContentError(
                    f"column '{self.column}' of the time series holds {str(cell)[:30]!r} in row "
                    f"{row}; expected {expected}",
                    cause=f"column '{self.column}' of the time series holds no times",
                )
            found.append(time)
        times = np.array(found)
        if (np.diff(times) < 0).any():
            raise ContentError(
                f"the times in column '{self.column}' of the time series fall; sort them"
            )
        return times


def inline_channels(value: Any, columns: Sequence[str]) -> str | None:
    """Return the channels of a series that stands in the task itself, as JSON.

    It is a mapping from columns to values, a list of rows, or the text of one; None of anything
    else.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
        value = {name: [row.get(name) for row in value] for row in value[:1] for name in row}
    if not isinstance(value, Mapping):
        return None
    wanted = {_find(column, value) for column in columns} & value.keys()
    return json.dumps({name: value[name] for name in sorted(wanted or value.keys())})


def is_inline(text: str) -> bool:
    """Return whether a text is the JSON of a series, and no address."""
    return text.lstrip()[:1] in ("{", "[")


def read_channels(text: str, columns: Sequence[str], separator: str) -> npt.NDArray[np.float32]:
    """Read the values of each channel, in the order of the rows.

    Values that are missing or no numbers are interpolated.

    Parameters
    ----------
    text : str
        CSV, or JSON: a mapping from columns to values, or a list of rows.
    columns : sequence of str
        Of the channels: names in the first row or, where that holds numbers, indices from 0.
    separator : str
        Between two cells of CSV.

    Returns
    -------
    array of shape (channels, rows)

    Raises
    ------
    ContentError
        When it cannot be read, a column is missing, or most of its cells are no numbers.
    """
    return _channels(_table(text, separator), columns)


def read_series(
    text: str, columns: Sequence[str], separator: str, time_column: str, time_format: str
) -> Series:
    """Read a time series with its times; see `read_channels`.

    Raises
    ------
    ContentError
    """
    table = _table(text, separator)
    channels = _channels(table, columns)
    if not time_column:
        return Series(channels)
    return Series(channels, time_column, table[_present(time_column, table)], time_format)


def _table(text: str, separator: str) -> Mapping[str, Sequence[Any]]:
    return _json_table(text) if is_inline(text) else _csv_table(text, separator)


def _channels(
    table: Mapping[str, Sequence[Any]], columns: Sequence[str]
) -> npt.NDArray[np.float32]:
    channels = []
    for column in columns:
        channels.append(_numbers(column, table[_present(column, table)]))
    longest = max((len(channel) for channel in channels), default=0)
    return np.stack([_filled(channel, longest) for channel in channels])


def _present(column: str, table: Mapping[str, Any]) -> str:
    """Return the name of a column that has to be there.

    Raises
    ------
    ContentError
    """
    name = _find(column, table)
    if name not in table:
        raise ContentError(
            f"the time series has no column '{column}'; it has "
            f"{', '.join(map(repr, islice(table, SHOWN))) or 'none'}"
        )
    return name


def _find(column: str, names: Iterable[str]) -> str:
    """Return the name that is meant: the same, or one that differs in case or in blanks."""
    if column in names:
        return column
    alike = {name.strip().lower(): name for name in names}
    return alike.get(column.strip().lower(), column)


def _json_table(text: str) -> Mapping[str, Sequence[Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"the time series is no JSON that can be read: {error}") from error
    if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
        names = dict.fromkeys(name for row in value[:1] for name in row)
        return {name: [row.get(name) for row in value[:MAX_ROWS]] for name in names}
    if not isinstance(value, Mapping):
        raise ContentError("the time series is JSON, but no mapping from columns to values")
    return {name: values[:MAX_ROWS] for name, values in value.items() if isinstance(values, list)}


def _csv_table(text: str, separator: str) -> Mapping[str, Sequence[str]]:
    separator = SEPARATORS.get(separator, separator)
    try:
        lines = io.StringIO(text.lstrip("\ufeff"), newline="")
        reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
        rows = [row for row in islice(reader, MAX_ROWS + 1) if row]
    except (csv.Error, TypeError) as error:
        raise ContentError(f"the time series is no CSV that can be read: {error}") from error
    if not rows:
        raise ContentError("the time series is empty")
    width = max(len(row) for row in rows)
    names = [cell.strip() for cell in rows[0]]
    indices = [str(at) for at in range(width)]
    if all(_number(name) is not None for name in names):
        names = indices
    else:
        rows = rows[1:]
    cells = {at: [row[at] if at < len(row) else "" for row in rows] for at in range(width)}
    table = {name: cells[at] for at, name in enumerate(names)}
    return table | {index: cells[at] for at, index in enumerate(indices) if index not in table}


def _numbers(column: str, cells: Sequence[Any]) -> npt.NDArray[np.float64]:
    with suppress(ValueError, TypeError, OverflowError):  # the usual case, a few times as fast
        found = np.array(cells, dtype=np.float64)
        if found.ndim == 1 and len(found) and (np.abs(found) < MAX_VALUE).all():
            return found
    values = [_number(cell) for cell in cells]
    strange = [
        cell
        for cell, value in zip(cells, values, strict=True)
        if value is None and not _empty(cell)
    ]
    read = sum(value is not None for value in values)
    if not read or len(strange) > read:
        what = f"holds {str(strange[0])[:20]!r}" if strange else "is empty"
        raise ContentError(
            f"column '{column}' of the time series {what}; expected numbers",
            cause=f"column '{column}' of the time series holds no numbers",
        )
    return np.array([math.nan if value is None else value for value in values])


def _number(cell: Any) -> float | None:
    if isinstance(cell, str):
        cell = cell.strip()
        if cell.count(",") == 1 and "." not in cell:
            cell = cell.replace(",", ".")  # as much of the world writes it
        try:
            cell = float(cell)
        except ValueError:
            return None
    if not isinstance(cell, (int, float)):
        return None
    return float(cell) if abs(cell) < MAX_VALUE else None  # not NaN either


def _empty(cell: Any) -> bool:
    if isinstance(cell, str):
        return cell.strip().lower() in ("", "nan", "null", "none", "na", "n/a", "inf", "-inf")
    return cell is None or (isinstance(cell, float) and not math.isfinite(cell))


def _filled(values: npt.NDArray[np.float64], length: int) -> npt.NDArray[np.float32]:
    """Interpolate what is missing; before the first value and after the last these go on."""
    there = np.flatnonzero(~np.isnan(values))
    return np.interp(np.arange(length), there, values[there]).astype(np.float32)
