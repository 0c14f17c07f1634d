"""Time series of every layout are read, and what cannot be is said in words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import ContentError, LabelConfigError
from active_learn_backend.labeling.config import LabelingTask, parse_label_config
from active_learn_backend.labeling.time_series import read_channels

CHANNELS = '<Channel column="x"/><Channel column="y" units="m"/>'
CHOICES = '<Choices name="c" toName="ts"><Choice value="a"/><Choice value="b"/></Choices>'


def parse(attributes: str = "", channels: str = CHANNELS) -> LabelingTask:
    return parse_label_config(
        f'<View><TimeSeries name="ts" value="$csv" {attributes}>{channels}</TimeSeries>'
        f"{CHOICES}</View>"
    )


@pytest.mark.parametrize(
    ("text", "separator"),
    [
        ("time,x,y\n0,1,10\n1,2,20\n2,3,30\n", ","),
        ("\ufeffx;y\r\n1,0;10,0\r\n2,0;20,0\r\n\r\n3,0;30,0", ";"),
        ("x\ty\n1\t10\n2\t20\n3\t30", "\\t"),
        ('"X" , "Y"\n1, 10\n2, 20\n3, 30', ","),
        ("y,x\n10,1\n\n,2\n30,3,extra\n", ","),
        ("x,y\n1,10\n2\n3,30\n", ","),
        ("x,y\n1,10\nnan,oops\n3,30\n", ","),
        ('{"time": ["a", "b", "c"], "x": [1, null, 3], "y": ["10", 20, 30.0]}', ","),
        ('[{"x": 1, "y": 10}, {"x": 2}, {"x": 3, "y": 30}]', ","),
    ],
)
def test_every_layout_gives_the_channels_of_the_config(text: str, separator: str) -> None:
    channels = read_channels(text, ("x", "y"), separator)
    np.testing.assert_array_equal(channels, [[1, 2, 3], [10, 20, 30]])
    assert channels.dtype == np.float32


def test_without_names_columns_are_indices() -> None:
    np.testing.assert_array_equal(read_channels("5,1\n6,2\n", ("1",), ","), [[1, 2]])
    np.testing.assert_array_equal(read_channels("t,x\n5,1\n6,2\n", ("1",), ","), [[1, 2]])


def test_channels_of_different_lengths_and_missing_ends_go_on() -> None:
    channels = read_channels('{"x": [1, 2, 3, 4], "y": [null, 5]}', ("x", "y"), ",")
    np.testing.assert_array_equal(channels, [[1, 2, 3, 4], [5, 5, 5, 5]])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("time,z\n1,2\n", r"has no column 'x'; it has 'time', 'z', '0', '1'"),
        ("x,y\n", "column 'x' of the time series is empty; expected numbers"),
        ("x,y\nlow,1\nhigh,2\n3,3\n", "column 'x' of the time series holds 'low'"),
        ('{"x": [1], "y": [', "no JSON that can be read"),
        ("[1, 2]", "no mapping from columns to values"),
        ('{"x": 5}', "has no column 'x'; it has none"),
        ('x,y\n"' + "a" * 200_000, "no CSV that can be read"),
        ('{"x": [NaN, Infinity], "y": [1, 2]}', "column 'x' of the time series is empty"),
        ("[" * 100_000, "no JSON that can be read"),
    ],
)
def test_what_cannot_be_read_is_said(text: str, reason: str) -> None:
    with pytest.raises(ContentError, match=reason):
        read_channels(text, ("x", "y"), ",")


@pytest.mark.parametrize(
    ("attributes", "value", "content"),
    [
        ('valueType="url"', "/data/a.csv", "/data/a.csv"),
        ("", "/data/a.csv", "/data/a.csv"),
        ("", {"x": [1], "y": [2], "t": [3]}, '{"x": [1], "y": [2]}'),
        ('valueType="json"', [{"x": 1, "y": 2}], '{"x": [1], "y": [2]}'),
        ('valueType="json"', {"a": [1]}, '{"a": [1]}'),
        ("", 3, None),
        ("", None, None),
    ],
)
def test_a_series_stands_in_the_task_or_behind_an_address(
    attributes: str, value: Any, content: str | None
) -> None:
    task = parse(attributes)
    assert task.content({"csv": value}) == {"csv": content}


def test_columns_and_separator_are_part_of_what_is_read() -> None:
    wide = '<MultiChannel><Channel column="x"/><Channel column="z"/></MultiChannel>'
    tasks = [parse(), parse('sep=";"'), parse("", wide), parse('timeColumn="t"')]
    assert tasks[2].fields[0].columns == ("x", "z")
    keys = [task.content_key({"csv": "/data/a.csv"}) for task in tasks]
    assert len(set(keys)) == 3
    assert keys[0] == keys[3]


def test_a_series_without_channels_is_refused() -> None:
    with pytest.raises(LabelConfigError, match="shows no channel; add one"):
        parse("", "")


def test_a_long_series_is_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("active_learn_backend.labeling.time_series.MAX_ROWS", 5)
    rows = list(range(9))
    text = "x\n" + "\n".join(map(str, rows))
    assert read_channels(text, ("x",), ",").tolist() == [rows[:5]]
    assert read_channels(json.dumps({"x": rows}), ("x",), ",").tolist() == [rows[:5]]
