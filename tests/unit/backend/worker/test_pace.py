"""When a project has its next turn: soon after a change, and ever more seldom without one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from active_learn_backend.state.schedule import Schedule
from active_learn_backend.worker.pace import AT_WORK, DEBOUNCE, JUST_SUBMITTED, Pace

INTERVAL = 10.0  # the default of POLL_INTERVAL


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """``pass_time(60)``: both clocks go on by a minute."""
    clocks = {"monotonic": time.monotonic, "time": time.time}
    passed = [0.0]
    for name, real in clocks.items():
        monkeypatch.setattr(time, name, lambda real=real: real() + passed[0])

    def go_on(seconds: float) -> None:
        passed[0] += seconds

    return go_on


def settled() -> Pace:
    """A project that was read, and has no rows of former queues."""
    pace = Pace()
    pace.retirement.rounds = {}
    return pace


def read_at(when: float, mode: str = "push", changes: int = 3, urgent: int = 0) -> Schedule:
    return Schedule(1, mode, changes, 3, when, urgent)


@pytest.mark.parametrize(
    ("quiet_for", "push", "pull"),
    [
        (0, 10, 10),
        (60, 10, 10),
        (300, 30, 30),
        (1200, 120, 120),
        (3600, 300, 120),
        (86_400, 300, 120),
    ],
)
def test_a_quiet_project_is_read_ever_more_seldom(
    pass_time: Callable[[float], None], quiet_for: float, push: float, pull: float
) -> None:
    pace = settled()
    pass_time(quiet_for)
    assert pace.poll_pause("push", INTERVAL) == pytest.approx(push, rel=0.01)
    assert pace.poll_pause("pull", INTERVAL) == pytest.approx(pull, rel=0.01)
    assert not pace.is_due(read_at(time.time() - push + 1), INTERVAL)
    assert pace.is_due(read_at(time.time() - push - 1), INTERVAL)


def test_a_webhook_ends_the_pause_at_once(pass_time: Callable[[float], None]) -> None:
    pace = settled()
    pass_time(86_400)
    just_now = time.time()
    assert not pace.is_due(read_at(just_now, changes=4), INTERVAL)  # a burst is gathered
    pass_time(DEBOUNCE)
    assert pace.is_due(read_at(just_now, changes=4), INTERVAL)


def test_labels_are_read_together_when_they_make_a_round_due(
    pass_time: Callable[[float], None],
) -> None:
    pace = settled()
    pace.labels_needed = 5
    just_now = time.time()
    for labels in range(1, 5):
        assert not pace.is_due(read_at(just_now, changes=3 + labels), INTERVAL)
        pass_time(DEBOUNCE)
    assert pace.is_due(read_at(just_now, changes=3 + 5), INTERVAL)
    # What is no label is read at once, and a few labels no later than by polling.
    assert pace.is_due(read_at(just_now, changes=3 + 2, urgent=3 + 2), INTERVAL)
    pass_time(INTERVAL)
    assert pace.is_due(read_at(time.time(), changes=3 + 1), INTERVAL)


def test_a_label_after_a_quiet_time_is_read_at_once(pass_time: Callable[[float], None]) -> None:
    """Rows of former queues are deleted then, until somebody is back."""
    pace = settled()
    pace.labels_needed = 5
    pass_time(3600)
    just_now = time.time()
    assert not pace.is_due(read_at(just_now, changes=4), INTERVAL)
    pass_time(DEBOUNCE)
    assert pace.is_due(read_at(just_now, changes=4), INTERVAL)


def test_a_submit_is_near_when_the_gap_between_submits_is_almost_over(
    pass_time: Callable[[float], None],
) -> None:
    pace = settled()
    pace.look(read_at(0.0, changes=7))
    pace.look(read_at(0.0, changes=8))
    pass_time(4.0)
    assert not pace.submit_is_near  # how often somebody submits is not known
    pace.look(read_at(0.0, changes=9))
    near = []
    for _ in range(5):
        near.append(pace.submit_is_near)
        pass_time(1.1)
    assert near == [False, False, False, True, True]  # every 4 seconds, and a write takes one
    pace.look(read_at(0.0, changes=10))
    assert not pace.submit_is_near
    pass_time(AT_WORK)
    assert not pace.submit_is_near  # nobody is at work


def test_right_after_a_submit_is_the_best_time_where_many_submit(
    pass_time: Callable[[float], None],
) -> None:
    pace = settled()
    for changes in range(7, 12):
        pace.look(read_at(0.0, changes=changes))
        pass_time(0.2)
    assert not pace.submit_is_near
    pass_time(JUST_SUBMITTED)
    assert pace.submit_is_near


def test_a_new_worker_reads_every_project_at_once() -> None:
    assert Pace().is_due(read_at(time.time()), INTERVAL)


def test_rows_are_deleted_when_nothing_changed_for_thirty_polls(
    pass_time: Callable[[float], None],
) -> None:
    pace = settled()
    pace.retirement.rounds = {3: 50}
    pass_time(299)
    assert not pace.is_due(read_at(time.time()), INTERVAL)
    pass_time(1)
    assert pace.is_due(read_at(time.time()), INTERVAL)
    # Meanwhile the project is read often, so that somebody who comes back is seen.
    assert pace.poll_is_due(read_at(time.time() - INTERVAL), INTERVAL)
    pace.active_at = time.monotonic()
    assert not pace.is_due(read_at(time.time()), INTERVAL)


def test_too_many_rows_are_deleted_in_any_case() -> None:
    pace = settled()
    pace.retirement.rounds = {3: 26_000, 4: 24_001}
    assert pace.is_due(read_at(time.time()), INTERVAL)
    pace.retirement.rounds = {3: 26_000, 4: 24_000}
    assert not pace.is_due(read_at(time.time()), INTERVAL)


def test_a_failing_project_is_tried_ever_later(pass_time: Callable[[float], None]) -> None:
    pace = settled()
    waits = []
    for _ in range(8):
        pace.record_failure()
        waits.append(round(pace.not_before - time.monotonic(), 1))
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]
    assert not pace.is_due(read_at(0.0), INTERVAL)
    pass_time(31)
    assert pace.is_due(read_at(0.0), INTERVAL)
