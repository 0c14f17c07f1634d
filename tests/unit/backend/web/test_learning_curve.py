"""The learning curve on the status page: its points, how it goes on, and how it is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import page_state
import pytest
from active_learn_backend.learning.quality.learning_curve import Point, expected_gain, points_of
from active_learn_backend.learning.quality.stopping import advise
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.web.ml_backend import Runtime
from active_learn_backend.web.status.activity import activity_of
from active_learn_backend.web.status.chart import HEIGHT, WIDTH, draw
from hypothesis import example, given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def settings(tmp_path: Path, store_url: str) -> Settings:
    return load_settings(model_dir=tmp_path / "state", database_url=store_url)


@pytest.fixture
def runtime(settings: Settings) -> Iterator[Runtime]:
    opened = Runtime.open(settings)
    yield opened
    opened.store.close()


def words(runtime: Runtime) -> str:
    return activity_of(runtime.settings, runtime.store, runtime.store.known_project(3)).words


# -- the curve ----------------------------------------------------------------------------------


def curve(errors: dict[int, float], audited: int = 200, half: float = 0.02) -> list[Point]:
    return [
        Point(labels, 1 - error, 1 - error - half, 1 - error + half, audited, "accuracy")
        for labels, error in errors.items()
    ]


def test_points_are_of_one_metric_and_one_a_number_of_labels() -> None:
    other = page_state.audit(2.0, 9, metric="mean absolute error")
    first, again = page_state.audit(0.5, 10), page_state.audit(0.6, 11)
    reports = [
        page_state.report(5, other), page_state.report(10, first), page_state.report(20, None),
        page_state.report(10, again), RoundReport(6, labeled=30), page_state.report(40, first),
    ]  # fmt: skip
    points = points_of(reports)
    assert [(point.labels, point.value) for point in points] == [(10, 0.6), (40, 0.5)]


def test_nothing_is_said_of_a_few_audit_labels() -> None:
    """One right answer is no accuracy of 100 %, and no point of a curve."""
    reports = [page_state.report(n, page_state.audit(1.0, n)) for n in (1, 9)]
    assert points_of(reports) == []
    (target,) = [one for one in advise(reports, 0.9) if one.criterion == "target performance"]
    assert target.says_stop is None
    assert target.words == "nothing is measured yet: 9 of 10 audit labels are there"


def test_a_long_curve_keeps_its_ends() -> None:
    reports = [page_state.report(n, page_state.audit(0.5, n)) for n in range(1, 1001)]
    points = points_of(reports)
    assert len(points) <= 60
    assert (points[0].labels, points[-1].labels) == (10, 1000)


def test_a_power_law_is_extrapolated() -> None:
    points = curve({n: 0.9 * n**-0.5 for n in (50, 100, 200, 400, 800)}, audited=5000, half=0.002)
    gain = expected_gain(points)
    now = 0.9 * 800**-0.5
    truth = now - 0.9 * 1600**-0.5
    assert gain.least is not None
    assert gain.most is not None
    assert gain.least <= truth <= gain.most
    assert gain.most < 0.4 * now
    assert gain.words.startswith("800 more labels would raise the accuracy by")


def test_the_band_holds_the_truth_under_noise() -> None:
    """300 noisy curves: what twice the labels would bring is in the band nearly always."""
    rng = np.random.default_rng(0)
    held = 0
    labels = np.array([40, 80, 120, 160, 240, 320])
    for _ in range(300):
        level, exponent, n = rng.uniform(0.5, 2), rng.uniform(0.3, 0.8), 150
        error = np.minimum(level * labels**-exponent, 0.9)
        seen = rng.binomial(n, error) / n
        half = 1.96 * math.sqrt(seen[-1] * (1 - seen[-1]) / n) + 1 / n
        points = curve(dict(zip(labels.tolist(), seen.tolist(), strict=True)), n, half)
        gain = expected_gain(points)
        truth = error[-1] - level * (2 * labels[-1]) ** -exponent
        assert gain.least is not None
        assert gain.most is not None
        held += gain.least - 1e-9 <= truth <= gain.most + 1e-9
    assert held >= 285  # of 300: 95 %


@pytest.mark.parametrize(
    "points",
    [
        [],
        curve({100: 0.2}, audited=20),
        curve({100: 0.2, 200: 0.1}),
        curve({100 + n: 0.2 for n in range(10)}),
    ],
)
def test_too_little_is_said_to_be_too_early(points: list[Point]) -> None:
    gain = expected_gain(points)
    assert gain.words.startswith("Too early to tell")
    assert gain.least is gain.most is None


def test_a_rising_error_promises_nothing() -> None:
    rising = curve({n: 0.1 * n**0.5 / 10 for n in (50, 100, 200, 400, 800)})
    assert expected_gain(rising).words == "No further gain can be seen from 800 more labels."


@given(
    st.lists(
        st.tuples(st.integers(1, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
        min_size=1,
        max_size=20,
        unique_by=lambda one: one[0],
    ),
    st.sampled_from(["accuracy", "mean absolute error"]),
    st.integers(1, 1000),
)
@example([(1, 5e-324, 5e-324, 5e-324)], "mean absolute error", 1)
def test_any_curve_is_drawn_within_its_frame(
    rows: list[tuple[int, float, float, float]], metric: str, audited: int
) -> None:
    points = [
        Point(labels, sorted(values)[1], min(values), max(values), audited, metric)
        for labels, *values in sorted(rows)
    ]
    drawing = draw(points)
    assert drawing is not None
    corners = [tuple(map(float, pair.split(","))) for pair in drawing.band.split()]
    assert len(corners) == 2 * len(points)
    for x, y in [*corners, *drawing.dots]:
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT
    assert 3 <= len(drawing.y_ticks) <= 7
    assert len({words for _, words in drawing.y_ticks}) == len(drawing.y_ticks)
    gain = expected_gain(points)
    assert gain.least is None or (math.isfinite(gain.least) and gain.least <= gain.most)


def test_no_points_are_no_drawing() -> None:
    assert draw([]) is None
