"""Tags that give a task a number hold the contract of control tags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from control_contract import OBJECT, ControlContract, check_not_learned, inherited
from hypothesis import given
from hypothesis import strategies as st


class RegressionContract(ControlContract):
    """What tags with a number promise besides."""

    problem_type = "regression"

    def check(self, label: Any) -> None:
        assert label is None or (type(label) is float and math.isfinite(label))
        if label is not None and self.bounds is not None:
            assert self.bounds[0] <= label <= self.bounds[1]

    @inherited
    @given(st.floats(-1e9, 1e9))
    def test_writes_any_number_as_one_that_is_allowed(self, number: float) -> None:
        (item,) = self.control.write(number)
        (value,) = item["value"].values()
        assert math.isfinite(value)
        if self.bounds is not None:
            assert self.bounds[0] <= value <= self.bounds[1]
        assert self.control.read([item]) == value
        assert self.control.write(value) == [item]


class TestRating(RegressionContract):
    tag = '<Rating name="c" toName="t"/>'
    name = "Rating"
    bounds = (1.0, 5.0)
    read = [({"rating": 4}, 4.0), ({"rating": 1}, 1.0)]
    unread = [{"rating": 0}, {"rating": 6}, {"rating": True}, {"rating": "4"}, {"rating": None}]
    written = [
        (3.4, {"rating": 3}),
        (np.float32(3.6), {"rating": 4}),
        (-2.0, {"rating": 1}),
        (99.0, {"rating": 5}),
    ]
    unwritten = [math.nan, math.inf, None, "4"]

    def test_writes_whole_stars(self) -> None:
        assert type(self.control.write(3.0)[0]["value"]["rating"]) is int

    @pytest.mark.parametrize(
        ("stars", "reason"), [("1", "nothing to learn"), ("2.5", "whole number"), ("x", "whole")]
    )
    def test_ratings_that_cannot_be_learned(self, stars: str, reason: str) -> None:
        check_not_learned(self.config.replace("<Rating ", f'<Rating maxRating="{stars}" '), reason)


class TestNumber(RegressionContract):
    tag = '<Number name="c" toName="t" min="-1" max="10" step="0.25"/>'
    name = "Number"
    bounds = (-1.0, 10.0)
    read = [({"number": 3.5}, 3.5), ({"number": 0}, 0.0), ({"number": 1.1}, 1.1)]
    unread = [{"number": 11}, {"number": math.nan}, {"number": False}, {"number": 10**400}]
    written = [
        (3.6, {"number": 3.5}),
        (-7, {"number": -1.0}),
        (1e9, {"number": 10.0}),
        (0.1, {"number": 0.0}),
    ]
    unwritten = [math.nan, -math.inf, True]

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ('min="3" max="3"', "goes from 3 to 3"),
            ('min="low"', 'has min="low"; make it a number'),
            ('max="inf"', "make it a number"),
            ('step="0"', "larger than 0"),
        ],
    )
    def test_numbers_that_cannot_be_learned(self, attributes: str, reason: str) -> None:
        check_not_learned(
            f'<View>{OBJECT}<Number name="c" toName="t" {attributes}/></View>', reason
        )


class TestNumberWithoutBounds(RegressionContract):
    tag = '<Number name="c" toName="t" min="0.5"/>'
    name = "Number"
    read = [({"number": 1e12}, 1e12)]
    unread = [{"number": 0.25}, {"number": 1e39}]
    written = [(2 / 3, {"number": 0.666667}), (0.1, {"number": 0.5}), (1e-9, {"number": 0.5})]
    unwritten = [math.inf]


class TestSlider(RegressionContract):
    tag = '<Slider name="c" toName="t" min="-5" max="5" step="0.5"/>'
    name = "Slider"
    bounds = (-5.0, 5.0)
    read = [({"slider": 4.5}, 4.5), ({"number": -5}, -5.0)]
    unread = [{"slider": 5.1}, {"slider": None, "number": 1}]
    written = [(0.3, {"slider": 0.5}), (9.0, {"slider": 5.0})]
    unwritten = [math.nan]


class TestNumberAsSlider(RegressionContract):
    tag = '<Number name="c" toName="t" slider="true" step="30"/>'
    name = "Number"
    bounds = (0.0, 100.0)
    read = [({"number": 90}, 90.0)]
    unread = [{"number": 101}]
    written = [(44.0, {"number": 30.0}), (100.0, {"number": 90.0})]  # 100 is not on the scale
    unwritten = [math.nan]
