"""What a task costs people: a fixed time, one for each part, and one for each region."""

from __future__ import annotations

import json

import numpy as np
import pytest
from active_learn_backend.labeling.annotations import lead_time
from active_learn_backend.learning.quality.task_cost import fit_cost
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.task_cost import TaskCost


def drawn(n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    parts, regions = rng.integers(5, 60, n).astype(float), rng.poisson(2, n).astype(float)
    return 2 + 0.3 * parts + 5 * regions, parts, regions


def test_the_times_of_parts_and_regions_are_found() -> None:
    times, parts, regions = drawn()
    noisy = times * np.random.default_rng(1).gamma(20, 1 / 20, len(times))
    found = fit_cost(noisy, parts, regions, 40.0, "words")
    assert found is not None
    assert found.per_part == pytest.approx(0.3, rel=0.3)
    assert found.per_region == pytest.approx(5, rel=0.2)
    assert found.seconds == pytest.approx(2 + 0.3 * 40 + 5 * regions.mean(), rel=0.1)
    assert found.n == 190


def test_breaks_are_left_out() -> None:
    times, parts, regions = drawn()
    times[:8] = 3600
    found = fit_cost(times, parts, regions, noun="words")
    assert found is not None
    assert found.per_region == pytest.approx(5, rel=0.01)
    assert found.seconds < 40


def test_no_time_is_negative() -> None:
    times, parts, _ = drawn()
    found = fit_cost(times, parts, 100 - times, noun="words")  # the more regions, the faster
    assert found is not None
    assert found.per_region == 0
    assert min(found.fixed, found.per_part) >= 0


def test_without_parts_it_is_the_mean_of_the_usual_times() -> None:
    found = fit_cost(np.append(np.full(39, 6.0), 5000.0))
    assert found is not None
    assert found.about == "about 6.0 s"
    assert found.detail == "measured on 39 tasks"
    assert fit_cost(np.full(19, 6.0)) is None


def test_it_is_said_in_words_and_kept_in_reports() -> None:
    cost = TaskCost(14.2, 2.04, 0.31, 4.8, "words", 1234)
    assert cost.about == "about 14 s"
    assert (
        cost.detail == "2.0 s, 31 s for 100 words and 4.8 s for a region; measured on 1,234 tasks"
    )
    assert TaskCost(200, 0, 0, 0, "", 20).about == "about 3 min"
    report = RoundReport(1, 5, cost=cost)
    text = json.dumps(report.to_json())
    assert RoundReport.from_json(text, round=1, finished_at=0.0).cost == cost


def test_only_work_on_the_page_has_a_time() -> None:
    times = [4.0, None, -1, 8, float("inf"), "9"]
    given = [{"lead_time": one, "was_cancelled": False} for one in times]
    assert lead_time(given) == 6
    assert lead_time([{"lead_time": 5.0, "was_cancelled": True}, {}]) is None
