"""The audit set measures only what it drew, however share and labels change."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from active_learn import LinearHead
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.quality.audit_sample import audit_sample
from active_learn_backend.learning.quality.evaluation import audit_estimate
from active_learn_backend.learning.selection.audit_set import places, served_as_audit
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import RANDOM_STATE, load_settings
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.store import Project, TaskRow
from sklearn.datasets import load_digits

PROJECT = Project(1, "secret", connected_at=10.0)


def task(at: int, served: str | None, labeled_at: float | None = None) -> TaskRow:
    return TaskRow(
        at, {}, f"{at:032x}", {"c": "a"}, False, labeled_at=labeled_at or 20.0 + at, served=served
    )


def test_what_was_picked_for_training_does_not_measure_by_a_larger_share() -> None:
    rows = [task(at, "audit" if at % 20 == 0 else "queue") for at in range(200)]
    for share in (0.05, 0.3, 0.5, 0.0):  # also a lower one keeps what was drawn
        taken = Snapshot.take(PROJECT, rows, np.zeros((200, 2)), load_settings(audit=share))
        assert taken.measuring.tolist() == list(range(0, 200, 20))
        assert len(taken.training) == 190


def test_a_larger_share_draws_further_among_what_is_not_labeled() -> None:
    rows = [replace(task(at, None), labels=None, labeled_at=None) for at in range(2000)]
    drawn = [
        set(np.flatnonzero(Snapshot.take(PROJECT, rows, np.zeros((2000, 2)), settings).audit))
        for settings in (load_settings(audit=share) for share in (0.05, 0.3, 0.5))
    ]
    assert all(less < more for less, more in pairwise(drawn))
    assert 0.25 < len(drawn[1]) / 2000 < 0.35


def test_labels_from_before_the_connection_do_not_measure() -> None:
    before = [task(at, "audit", labeled_at=9.0) for at in range(5)]
    after = [task(at, "audit") for at in range(5, 10)]
    assert served_as_audit(before + after, PROJECT.connected_at) == [False] * 5 + [True] * 5


def test_audit_tasks_that_a_person_chose_in_the_data_manager_do_not_measure() -> None:
    """Most labels given about the same time are of tasks that were in no queue."""
    ours = [task(at, "audit" if at % 10 == 0 else "queue") for at in range(100)]
    theirs = [task(at, "audit" if at % 10 == 0 else None) for at in range(100, 200)]
    later = [task(at, "audit" if at % 10 == 0 else "queue") for at in range(200, 300)]
    measures = np.flatnonzero(served_as_audit(ours + theirs + later, PROJECT.connected_at))
    assert set(measures) - {100, 200} == {*range(0, 100, 10), *range(210, 300, 10)}
    # A few that were kept from a former queue change nothing.
    some = [replace(one, served=None) if at % 7 == 3 else one for at, one in enumerate(ours)]
    assert sum(served_as_audit(some, PROJECT.connected_at)) == sum(
        one.served == "audit" for one in some
    )


def test_a_label_that_a_run_wrote_and_a_person_changed_does_not_measure() -> None:
    rows = [replace(task(at, "audit"), run=1 if at == 3 else None) for at in range(6)]
    assert served_as_audit(rows, PROJECT.connected_at) == [at != 3 for at in range(6)]


# -- the two cases in which it was wrong, on digits ----------------------------------------------


class Digits:
    """A project of digits without a server: its queues are labeled in order."""

    def __init__(self, seed: int) -> None:
        data = load_digits()
        order = np.random.default_rng(seed).permutation(len(data.target))
        self.vectors = (data.data[order] / 16).astype(np.float32)
        self.truth = data.target[order].astype(str)
        self.rows = [
            TaskRow(at, {}, f"{seed:016x}{at:016x}", None, False) for at in range(len(order))
        ]
        self.head: TrainedHead | None = None

    def snapshot(self, share: float) -> Snapshot:
        return Snapshot.take(
            PROJECT, self.rows, self.vectors, load_settings(audit=share, budget=20, reserve=5)
        )

    def label(self, at: int, served: str | None) -> None:
        when = 20.0 + sum(row.labels is not None for row in self.rows)
        self.rows[at] = replace(
            self.rows[at], labels={"c": self.truth[at]}, labeled_at=when, served=served
        )

    def run_round(self, share: float) -> None:
        """Train, choose a queue of 20, and label it."""
        taken = self.snapshot(share)
        at = taken.training
        self.head = fit_head(
            "classification", np.unique(self.truth), self.vectors[at], list(self.truth[at]),
            round=1, former=self.head,
        )  # fmt: skip
        model = self.head.sampler_model() if self.head else LinearHead.untrained(10, 64)
        settings = load_settings(audit=share, budget=20, reserve=5)
        positions, rows = choose(taken, "classification", model, settings, LocalEngine().rank)
        for position, row in list(zip(positions, rows, strict=True))[:20]:
            self.label(int(position), "audit" if row.audit else "queue")

    def estimate(self, share: float) -> tuple[float, float, float, float, int]:
        """Return estimate, interval, the truth on all tasks, and the number of audit labels."""
        assert self.head is not None
        at = self.snapshot(share).measuring
        losses = self.head.losses(self.vectors, list(self.truth))
        found = audit_estimate("classification", losses[at], len(self.rows))
        assert found is not None
        return found.value, found.low, found.high, 1 - float(losses.mean()), found.n


@pytest.mark.parametrize("seed", range(3))
def test_after_the_share_is_raised_the_estimate_holds(seed: int) -> None:
    digits = Digits(seed)
    for _ in range(10):
        digits.run_round(0.05)
    before = digits.estimate(0.05)
    assert before[4] == 10
    assert digits.estimate(0.3) == before  # the share alone changes no estimate
    for _ in range(3):
        digits.run_round(0.3)
    _, low, high, truth, n = digits.estimate(0.3)
    assert n > 50
    assert low <= truth <= high


def test_labels_of_some_classes_from_the_data_manager_do_not_measure() -> None:
    digits = Digits(0)
    digits.run_round(0.05)
    taken = digits.snapshot(0.05)
    easy = np.flatnonzero(np.isin(digits.truth, list("01234")) & ~taken.labeled)[:300]
    for at in easy.tolist():  # tasks of the audit set among them, as the queue serves them too
        digits.label(at, "audit" if taken.audit[at] else None)
    digits.run_round(0.05)
    at = digits.snapshot(0.05).measuring
    assert not set(at) & set(easy[10:-10].tolist())


# -- which audit labels make an estimate ---------------------------------------------------------

EXPOSED_AT = 1000.0  # end of the round with the lower share


@pytest.mark.parametrize("of_all", [30, 4])
def test_audit_labels_from_a_larger_share_are_no_sample_of_all_tasks(of_all: int) -> None:
    """What a round with a lower share left over is easier; it stands for all only if need be."""
    rows = [task(at, "audit") for at in range(1000)]
    place = places([row.content_key for row in rows], RANDOM_STATE)
    first, further = np.flatnonzero(place < 0.05)[:of_all], np.flatnonzero(place >= 0.05)[:40]
    trained = np.flatnonzero(place >= 0.05)[40:140]
    labeled = {*first, *further, *trained}
    rows = [
        replace(
            row,
            labels=row.labels if at in labeled else None,
            served="queue" if at in trained else "audit",
            labeled_at=EXPOSED_AT + 1 + at,
        )
        for at, row in enumerate(rows)
    ]
    taken = Snapshot.take(PROJECT, rows, np.zeros((1000, 2)), load_settings(audit=0.5)).of("c")
    assert len(taken.measuring) == of_all + 40
    raised = [
        RoundReport(1, 0, audit_share=0.05, finished_at=EXPOSED_AT),
        RoundReport(2, 100, audit_share=0.5, finished_at=EXPOSED_AT + 1),
    ]
    sample, population = audit_sample(taken, raised)
    if of_all == 30:
        assert (sample.tolist(), population) == (first.tolist(), 1000)
    else:
        assert (sample.tolist(), population) == (further.tolist(), 900)
    # Labels from before the share was lowered stay, and so do those of earlier versions.
    lowered = [replace(raised[0], finished_at=1e9)]
    for reports in (lowered, [replace(raised[0], audit_share=None)], []):
        sample, population = audit_sample(taken, reports)
        assert (sample.tolist(), population) == (taken.measuring.tolist(), 1000)


# -- labels from outside of the queue ------------------------------------------------------------

FIRST_ROUND = [RoundReport(1, 0, audit_share=0.2, finished_at=15.0)]


def taken_with(rows: list[TaskRow], share: float, reports: list[RoundReport]) -> Snapshot:
    vectors = np.zeros((len(rows), 2))
    return Snapshot.take(PROJECT, rows, vectors, load_settings(audit=share), reports)


def test_audit_tasks_that_people_label_from_outside_do_not_train() -> None:
    rows = [task(at, None) for at in range(500)]
    drawn = np.flatnonzero(places([row.content_key for row in rows], RANDOM_STATE) < 0.2)
    for share in (0.05, 0.2, 0.5):  # the share of the time at which they were labeled counts
        taken = taken_with(rows, share, FIRST_ROUND)
        assert len(taken.measuring) == 0
        assert set(range(500)) - set(taken.training) == set(drawn)
    # What was there before the first round that is known, or before the connection, trains.
    early = [replace(row, labeled_at=12.0) for row in rows]
    assert len(taken_with(early, 0.2, FIRST_ROUND).training) == 500
    assert len(taken_with(rows, 0.2, []).training) == 500
    earlier = [replace(row, labeled_at=9.0) for row in rows]
    long_ago = [replace(FIRST_ROUND[0], finished_at=8.0)]
    assert len(taken_with(earlier, 0.2, long_ago).training) == 500


def test_a_label_from_outside_measures_once_the_queue_has_passed_its_place() -> None:
    """Easy tasks are labeled from outside: those that are left to the queue are too hard alone."""
    rows = [replace(task(at, None), labels=None, labeled_at=None) for at in range(1000)]
    place = places([row.content_key for row in rows], RANDOM_STATE)
    in_order = [int(at) for at in np.argsort(place) if place[at] < 0.2]
    queue, outside = in_order[:60:2], in_order[1:60:2]

    def labeled(at: int, served: str | None, when: float) -> None:
        rows[at] = replace(rows[at], labels={"c": "a"}, served=served, labeled_at=when)

    def sample() -> set[int]:
        taken = taken_with(rows, 0.2, FIRST_ROUND).of("c")
        found, population = audit_sample(taken, FIRST_ROUND)
        assert population == 1000
        return set(found.tolist())

    for n, at in enumerate(outside):
        labeled(at, None, 20.0 + n)
    assert sample() == set()
    for n, at in enumerate(queue[:15]):
        labeled(at, "audit", 100.0 + n)
    assert sample() == set(in_order[:29])
    for n, at in enumerate(queue[15:]):
        labeled(at, "audit", 200.0 + n)
    assert sample() == set(in_order[:59])
    # One below a place that the queue had passed before: of its like the queue has served none.
    late = in_order[61]
    labeled(in_order[62], "audit", 300.0)
    labeled(late, None, 400.0)
    assert late not in sample()


def test_the_places_of_many_tasks_take_little_more_memory_than_themselves() -> None:
    keys = [f"{at:032x}" for at in range(20_000)]
    tracemalloc.start()
    try:
        found = places(keys, RANDOM_STATE)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * found.nbytes
