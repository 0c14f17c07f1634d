"""How much the answers of a head change from round to round, and what that is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality.head_comparison import (
    STOP_SET_SEED,
    agreement,
    audit_gain,
    compare_heads,
    stop_set,
)
from active_learn_backend.learning.selection.audit_set import places
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import RANDOM_STATE, load_settings
from active_learn_backend.state.round_report import (
    ControlReport,
    RoundReport,
    Stability,
)
from active_learn_backend.state.store import Project, TaskRow
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

OFFERED = ("a", "b", "c")


def of_control(number: int, labeled: int, head: str, **found: Any) -> RoundReport:
    controls = (ControlReport("c", labeled, **found),)
    return RoundReport(number, labeled, head_version=head, controls=controls)


# -- agreement ----------------------------------------------------------------------------------


@settings(max_examples=60)
@given(n=st.integers(2, 80), n_classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_kappa_is_the_textbooks(n: int, n_classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = rng.integers(0, n_classes, (2, n))
    second[: n // 2] = first[: n // 2]
    found = agreement("classification", first.astype(str), second.astype(str))
    if len(set(first) | set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(cohen_kappa_score(first, second))


def test_agreement_of_numbers_is_lins() -> None:
    first = np.random.default_rng(0).normal(size=400)
    assert agreement("regression", first, first) == pytest.approx(1)
    apart = agreement("regression", first, first + 1)
    covariance = first.var()
    assert apart == pytest.approx(2 * covariance / (2 * first.var() + 1))
    assert agreement("regression", np.ones(5), np.ones(5)) is None


def test_agreement_of_sets_counts_bits() -> None:
    first = np.array([[True, False], [False, False]])
    second = np.array([[True, True], [False, False]])
    found = agreement("multilabel", first, second)
    assert found == pytest.approx(cohen_kappa_score(first.ravel(), second.ravel()))


def test_the_stop_set_stays_as_tasks_come() -> None:
    keys = [f"{at:032x}" for at in range(5000)]
    where = places(keys, STOP_SET_SEED)
    chosen = {keys[at] for at in stop_set(where[:4000])}
    assert len(chosen) == 2000
    later = {keys[at] for at in stop_set(where)}
    new = later - chosen
    assert new <= set(keys[4000:])  # only what came since takes a place
    assert 300 < len(new) < 500  # 400 expected
    assert len(stop_set(where[:30])) == 30


# -- the gain on audit tasks --------------------------------------------------------------------


def test_a_gain_is_covered_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        pairs = rng.choice(4, size=60, p=[0.7, 0.12, 0.06, 0.12])  # both right, gained, lost, wrong
        before, after = np.isin(pairs, (1, 3)) * 1.0, np.isin(pairs, (2, 3)) * 1.0
        found = audit_gain("classification", before, after, step=50)
        assert found is not None
        hits += found.low <= 0.06 <= found.high
    assert hits / 500 > 0.95 - 3 * np.sqrt(0.05 * 0.95 / 500)


def test_few_tasks_without_a_difference_prove_nothing() -> None:
    few = audit_gain("classification", np.zeros(20), np.zeros(20), step=50)
    many = audit_gain("classification", np.zeros(600), np.zeros(600), step=50)
    assert few is not None
    assert many is not None
    assert few.high > 0.05 > 0.005 > many.high
    assert audit_gain("classification", np.zeros(4), np.zeros(4), step=50) is None


def test_a_gain_in_numbers_is_that_of_the_errors() -> None:
    rng = np.random.default_rng(0)
    after = rng.random(50)
    before = after + 0.2 + 0.01 * rng.normal(size=50)
    found = audit_gain("regression", before, after, step=50)
    assert found is not None
    assert found.low < 0.2 < found.high < 0.21
    assert found.loss == pytest.approx(after.mean())


# -- comparing heads of rounds ------------------------------------------------------------------


class Rounds:
    """A project of three clouds whose heads are trained on ever more labels."""

    def __init__(self, folder: Path, n: int = 400) -> None:
        rng = np.random.default_rng(0)
        self.places = rng.integers(0, 3, n)
        centers = np.random.default_rng(99).normal(size=(3, 8))
        self.rows = (centers[self.places] + 0.8 * rng.normal(size=(n, 8))).astype(np.float32)
        self.folder = folder
        self.reports: list[RoundReport] = []

    def run(self, n_labels: int) -> Stability:
        labels = [OFFERED[place] for place in self.places]
        settings = load_settings(audit=0.2)
        audit = places([f"{at:032x}" for at in range(len(labels))], RANDOM_STATE) < 0.2
        tasks = [
            TaskRow(at, {}, f"{at:032x}", {"c": labels[at]}, False, labeled_at=1.0,
                    served="audit" if audit[at] else "queue")
            if at < n_labels else TaskRow(at, {}, f"{at:032x}", None, False)
            for at in range(len(labels))
        ]  # fmt: skip
        project = Project(1, "secret", connected_at=0.0)
        snapshot = Snapshot.take(project, tasks, self.rows, settings).of("c")
        training = snapshot.training
        number = len(self.reports) + 1
        head = fit_head(
            "classification",
            OFFERED,
            self.rows[training],
            snapshot.labels(training),
            round=number,
            encoder="e",
        )
        assert isinstance(head, TrainedHead)
        found = compare_heads(head, snapshot, self.reports, self.folder)
        head.save(self.folder)
        done = of_control(number, n_labels, head.version, stability=found)
        self.reports.append(done)
        text = json.dumps(done.to_json())
        assert RoundReport.from_json(text, round=number, finished_at=done.finished_at) == done
        assert found.trained == len(training)
        return found


def test_heads_are_compared_with_the_one_before_and_one_of_the_last_half(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path)
    assert rounds.run(60).agreement is None
    near = rounds.run(64)  # a few labels later: no comparison yet
    assert near.agreement is None
    trained = [found.trained for one in rounds.reports if (found := one.of("c").stability)]
    second = rounds.run(90)
    assert second.agreement is not None
    assert second.agreement.step == second.trained - trained[1]
    assert 0.5 < second.agreement.agreement <= 1
    assert second.agreement.n == 400
    assert second.gain is None
    third = rounds.run(300)
    assert third.gain is not None
    assert third.gain.step == third.trained - second.trained  # none is in the last half
    assert third.gain.n > 40
    assert third.gain.low <= third.gain.gain <= third.gain.high
    fourth = rounds.run(400)
    assert fourth.gain is not None
    assert fourth.gain.step == fourth.trained - third.trained < fourth.trained / 2


def test_with_many_labels_a_few_more_are_no_comparison(tmp_path: Path) -> None:
    rounds = Rounds(tmp_path, 1500)
    first = rounds.run(1200).trained
    assert rounds.run(1230).agreement is None  # less than 5 % more
    later = rounds.run(1290)
    assert later.agreement is not None
    assert later.agreement.step == later.trained - first


def test_heads_that_are_gone_or_damaged_or_others_are_not_compared(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rounds = Rounds(tmp_path)
    rounds.run(60)
    (path,) = tmp_path.iterdir()
    path.write_bytes(b"damaged")
    assert rounds.run(90).agreement is None
    assert "no comparison with head-1" in caplog.text
    for one in tmp_path.iterdir():
        one.unlink()
    assert rounds.run(120).agreement is None
