"""Times of a time series by formats of D3, and the times in its column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.labeling.time_formats import TimeFormat
from active_learn_backend.labeling.time_series import Series, read_series

NEW_YEAR = 1577836800000.0  # 2020, in UTC


@pytest.mark.parametrize(
    ("form", "text", "time"),
    [
        ("%Y-%m-%d", "2020-01-01", NEW_YEAR),
        ("%Y-%m-%d %H:%M:%S.%f", "2020-01-01 00:00:01.250000", NEW_YEAR + 1250),
        ("%Y-%m-%dT%H:%M:%S.%LZ", "2020-01-01T00:00:01.250Z", NEW_YEAR + 1250),
        ("%Y-%m-%d %H:%M:%S%Z", "2020-01-01 00:00:00+0000", NEW_YEAR),
        ("%b %e, %Y %I:%M %p", "Jan  1, 2020 12:00 AM", NEW_YEAR),
        ("%-d.%-m.%y", "1.1.20", NEW_YEAR),
        ("%x", "1/1/2020", NEW_YEAR),
        ("%Q", "1577836800000", NEW_YEAR),
        ("%s", "1577836800.25", NEW_YEAR + 250),
        ("%Y-%m-%d", "1812-06-24", -4970937600000.0),
    ],
)
def test_times_are_read_and_written(form: str, text: str, time: float) -> None:
    found = TimeFormat(form)
    assert found.parse(text) == time
    assert found.write(time) == text


def test_a_zone_counts() -> None:
    found = TimeFormat("%Y-%m-%d %H:%M%Z")
    assert found.parse("2020-01-01 02:00+0200") == NEW_YEAR


@pytest.mark.parametrize("form", ["%q", "%Y %k", "%Y %Y", "%"])
def test_formats_that_are_not_read(form: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TimeFormat(form)


@pytest.mark.parametrize(
    ("form", "text"),
    [("%Y", "noon"), ("%Y-%m-%d", "2020-02-30"), ("%Q", "nan"), ("%Q", "1e300"), ("%s", "")],
)
def test_times_that_are_none(form: str, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        TimeFormat(form).parse(text)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ("time,x\n1,5\n2.5,6\n", [1, 2.5]),
        ("TIME ;x\n1,5;5\n2,5;6\n", [1.5, 2.5]),
        ('{"time": [1, 2.5], "x": [5, 6]}', [1, 2.5]),
        ('[{"time": "1", "x": 5}, {"time": "1", "x": 6}]', [1, 1]),
    ],
)
def test_the_time_column_is_read(text: str, times: list[float]) -> None:
    series = read_series(text, ("x",), ";" if ";" in text else ",", "time", "")
    np.testing.assert_array_equal(series.times(np.array([0, 1])), times)
    np.testing.assert_array_equal(series.channels, [[5, 6]])


def test_without_a_time_column_rows_are_counted() -> None:
    series = read_series("time,x\n1,5\n2,6\n", ("x",), ",", "", "")
    assert series.times(np.array([0, 1])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("cells", "form", "reason"),
    [
        ([1, "noon"], "", r"holds 'noon' in row 1; expected numbers"),
        ([1, None], "", r"holds 'None' in row 1"),
        ([1], "", r"holds 'None' in row 1"),
        ([1, float("nan")], "", r"expected numbers"),
        ([1, 1e20], "", r"expected numbers"),
        ([2, 1], "", r"fall; sort them"),
        (["2020-01-01", "1.1.2020"], "%Y-%m-%d", r"expected times like '1970-01-01'"),
    ],
)
def test_times_that_cannot_be_read_are_named(cells: list[Any], form: str, reason: str) -> None:
    series = Series(np.zeros((1, 2), np.float32), "t", cells, form)
    with pytest.raises(ContentError, match=reason):
        series.times(np.array([0, 1]))
