"""What a round serves: ranking, audit tasks, skipped tasks, streams."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler, LabeledData, LinearHead, ParameterError
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.selection.audit_set import mix, places
from active_learn_backend.learning.selection.project_params import check_params
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.queue_size import QueueSize, queue_size
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.learning.selection.task_stream import TaskStream
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Project, TaskRow
from hypothesis import given
from hypothesis import strategies as st

RNG = np.random.default_rng(0)
HEAD = LinearHead(RNG.normal(size=(3, 12)))
CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="c" toName="text">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def snapshot(n: int, settings: Settings, *, connected_at: float = 0.0, **changes: Any) -> Snapshot:
    """``changes`` are the fields of some rows, by field: {row: value}."""
    rows = [TaskRow(100 + at, {}, f"{at:032x}", None, False) for at in range(n)]
    for name, values in changes.items():
        for at, value in values.items():
            rows[at] = replace(rows[at], **{name: value})
    project = Project(1, "secret", connected_at=connected_at)
    embeddings = np.random.default_rng(1).normal(size=(n, 12)).astype(np.float32)
    return Snapshot.take(project, rows, embeddings, settings)


def place(content_key: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}/{content_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


# -- the audit set ------------------------------------------------------------------------------


def test_the_audit_set_is_a_fixed_uniform_share() -> None:
    keys = [f"{at:032x}" for at in range(20_000)]
    found = places(keys, 0)
    assert 900 < (found < 0.05).sum() < 1100  # 1000 expected, standard deviation 31
    assert found.tolist() == [place(key, 0) for key in keys]
    assert not np.isclose(found, places(keys, 1)).any()
    assert found.min() >= 0.0
    ordered = np.sort(found)
    assert np.abs(ordered - np.linspace(0, 1, len(keys))).max() < 0.02  # Kolmogorov-Smirnov


@given(
    n_chosen=st.integers(0, 60),
    n_audit=st.integers(0, 20),
    n_rows=st.integers(0, 60),
    share=st.sampled_from([0.0, 0.05, 0.3, 0.5]),
    served=st.integers(0, 500),
)
def test_mixing_keeps_both_orders_and_the_share(
    n_chosen: int, n_audit: int, n_rows: int, share: float, served: int
) -> None:
    chosen, audit = list(range(n_chosen)), list(range(1000, 1000 + n_audit))
    so_far = int(share * served)
    mixed = list(mix(chosen, audit, n_rows=n_rows, share=share, served=served, served_audit=so_far))
    assert len(mixed) == min(n_rows, n_chosen + n_audit)
    actives = [task for task, is_audit in mixed if not is_audit]
    audits = [task for task, is_audit in mixed if is_audit]
    assert actives == chosen[: len(actives)]
    assert audits == audit[: len(audits)]
    if len(actives) < n_chosen and len(audits) < n_audit:  # neither ran out
        assert abs(so_far + len(audits) - share * (served + len(mixed))) <= 1


def test_audit_tasks_are_served_in_the_order_of_their_hash_and_never_ranked() -> None:
    settings = load_settings(audit=0.2, budget=10, reserve=10)
    tasks = snapshot(300, settings)
    _, rows = choose(tasks, "classification", HEAD, settings, LocalEngine().rank)
    audit_ids = {row.task_id for row, of in zip(tasks.rows, tasks.audit, strict=True) if of}
    assert 40 < len(audit_ids) < 80
    assert [row.audit for row in rows] == [row.task_id in audit_ids for row in rows]
    assert sum(row.audit for row in rows) == 4
    served = [place(f"{row.task_id - 100:032x}", 0) for row in rows if row.audit]
    assert served == sorted(served)
    assert [row.in_batch for row in rows] == [True] * 10 + [False] * 10
    plain = [row for row in rows if not row.audit]
    pool = np.flatnonzero(~tasks.audit)
    ranking = ActiveSampler(
        "classification", HEAD, 10, precompute_covariance=True, seed_fisher=True, random_state=0
    ).rank(tasks.embeddings[pool], 20)
    assert [row.task_id - 100 for row in plain] == pool[ranking.indices][:16].tolist()


def test_in_regression_the_ranking_knows_the_numbers_that_were_labeled() -> None:
    settings = load_settings(audit=0.0, budget=10, reserve=10)
    vectors = snapshot(200, settings).embeddings
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    labels: dict[int, Any] = {at: {"n": float(unit[at, 0])} for at in range(80)}
    labels[0] = {"other": 1.0}  # labeled without the control
    tasks = snapshot(200, settings, labels=labels)
    head = LinearHead.untrained(1, 12)
    served, _ = choose(tasks, "regression", head, settings, LocalEngine().rank, controls=["n"])

    def ranked(targets: Any) -> list[int]:
        known = LabeledData(vectors[:80], targets=targets)
        sampler = ActiveSampler(
            "regression", head, 10, labeled_data=known, seed_fisher=True, random_state=0
        )
        return (80 + sampler.rank(vectors[80:], 20).indices).tolist()

    assert served.tolist() == ranked([np.nan, *unit[1:80, 0]])
    assert served.tolist() != ranked(None)


def test_the_ranking_weighs_labels_by_what_annotators_agree_on() -> None:
    settings = load_settings(audit=0.0, budget=10, reserve=10, strategy="aopt")
    labels: dict[int, Any] = {at: {"c": "a"} for at in range(40)}
    votes = {at: {"c": [2, at % 2]} for at in range(20)}
    vectors = snapshot(200, settings).embeddings
    tasks = snapshot(200, settings, labels=labels, votes=votes)
    served, _ = choose(tasks, "classification", HEAD, settings, LocalEngine().rank)

    def ranked(noise: Any) -> list[int]:
        known = LabeledData(vectors[:40], noise=noise)
        sampler = ActiveSampler(
            "classification", HEAD, 10, labeled_data=known, seed_fisher=True, random_state=0,
            strategy="aopt",
        )  # fmt: skip
        return (40 + sampler.rank(vectors[40:], 20).indices).tolist()

    agreed = 1.25 / 3  # e = 0.5 / 3
    assert served.tolist() == ranked([agreed, 10] * 10 + [1] * 20)
    assert served.tolist() != ranked(None)


def test_selection_probabilities_are_those_of_the_mixture() -> None:
    settings = load_settings(audit=0.2, budget=5, reserve=5)
    _, rows = choose(snapshot(50, settings), "classification", HEAD, settings, LocalEngine().rank)
    for rank, row in enumerate(rows):
        uniform = 0.2 / (50 - rank)
        assert row.selection_probability == pytest.approx(uniform if row.audit else 0.8 + uniform)
    off = load_settings(audit=0.0, budget=5, reserve=5)
    _, rows = choose(snapshot(50, off), "classification", HEAD, off, LocalEngine().rank)
    assert {row.selection_probability for row in rows} == {None}


def test_skipped_tasks_come_last_and_without_a_probability() -> None:
    settings = load_settings(budget=4, reserve=4, audit=0.0)
    tasks = snapshot(6, settings, skipped={0: True, 1: True}, labels={2: {"c": "a"}})
    positions, rows = choose(tasks, "classification", HEAD, settings, LocalEngine().rank)
    assert set(positions[:3].tolist()) == {3, 4, 5}
    assert positions[3:].tolist() == [0, 1]
    assert [row.rank for row in rows] == list(range(5))


def test_nothing_open_serves_nothing() -> None:
    settings = load_settings()
    tasks = snapshot(3, settings, labels={at: {"c": "a"} for at in range(3)})
    positions, rows = choose(tasks, "classification", HEAD, settings, LocalEngine().rank)
    assert len(positions) == len(rows) == 0


# -- streams ------------------------------------------------------------------------------------


def stream(folder: Path, name: str, settings: Settings, model: Any = HEAD) -> TaskStream:
    return TaskStream(folder, name, "classification", model, settings, "encoder-1")


def test_a_stream_holds_its_rate_over_rounds_and_restarts(tmp_path: Path) -> None:
    """In ten imports, each its own process as far as state goes, the head another each time."""
    settings = load_settings(budget=0.2, audit=0.0)
    decided: dict[int, str | None] = {}
    name = ""
    for number in range(1, 11):
        n = 100 * number
        decisions = {at: decided.get(100 + at) for at in range(n)}
        tasks = snapshot(n, settings, decision=decisions)
        head = LinearHead(np.random.default_rng(number).normal(size=(3 + number % 2, 12)))
        now, name = stream(tmp_path, name, settings, head).decide(tasks, number)
        assert set(now) == {100 + at for at in range(n - 100, n)}  # each is decided once
        decided |= now
    kept = [task_id for task_id, decision in decided.items() if decision == "kept"]
    assert 170 <= len(kept) <= 230
    assert ActiveSampler.load(tmp_path / name, HEAD).seen == 1000


def test_a_label_that_was_not_asked_for_is_made_known_once(tmp_path: Path) -> None:
    settings = load_settings(budget=0.5, audit=0.0)
    tasks = snapshot(100, settings)
    first, name = stream(tmp_path, "", settings).decide(tasks, 1)
    passed = next(at for at in range(100) if first[100 + at] == "passed")
    kept = next(at for at in range(100) if first[100 + at] == "kept")
    tasks = snapshot(
        100,
        settings,
        decision={at: first[100 + at] for at in range(100)},
        labels={passed: {"c": "a"}, kept: {"c": "b"}},
    )
    second, name = stream(tmp_path, name, settings).decide(tasks, 2)
    assert second == {100 + passed: "known"}
    again = tasks.with_decisions(second)
    third, _ = stream(tmp_path, name, settings).decide(again, 3)
    assert third == {}


@pytest.mark.parametrize("change", ["settings", "damaged", "gone"])
def test_a_stream_that_cannot_go_on_begins_anew_and_forgets_no_decision(
    tmp_path: Path, change: str
) -> None:
    settings = load_settings(budget=0.3, audit=0.0)
    first, name = stream(tmp_path, "", settings).decide(snapshot(80, settings), 1)
    if change == "settings":
        settings = load_settings(budget=0.3, audit=0.0, strategy="margin")
    elif change == "damaged":
        (tmp_path / name).write_bytes(b"x" * 100)
    else:
        (tmp_path / name).unlink()
    tasks = snapshot(100, settings, decision={at: first[100 + at] for at in range(80)})
    second, later = stream(tmp_path, name, settings).decide(tasks, 2)
    assert set(second) == {100 + at for at in range(80, 100)}
    assert ActiveSampler.load(tmp_path / later, HEAD).seen == 20


def test_only_kept_tasks_and_the_streams_share_of_the_audit_set_are_served() -> None:
    settings = load_settings(budget=0.1, audit=0.5, reserve=30)
    decisions = {at: "kept" if at % 4 == 0 else "passed" for at in range(200)}
    tasks = snapshot(200, settings, decision=decisions)
    _, rows = choose(tasks, "classification", HEAD, settings, LocalEngine().rank)
    assert 0 < sum(row.audit for row in rows) < 25  # half of 200 x 0.1 tasks
    for row in rows:
        at = row.task_id - 100
        assert place(f"{at:032x}", 0) < 0.05 if row.audit else decisions[at] == "kept"


def test_older_states_are_removed(tmp_path: Path) -> None:
    settings = load_settings(budget=0.3)
    running = stream(tmp_path, "", settings)
    _, first = running.decide(snapshot(10, settings), 1)
    _, second = running.decide(snapshot(10, settings), 2)
    running.forget_older(second)
    assert [path.name for path in tmp_path.glob("*.npz")] == [second]
    assert first != second


def test_a_strategy_that_does_not_fit_is_refused_before_any_round() -> None:
    task = parse_label_config(CONFIG)
    check_params(load_settings(), task, {"strategy": "margin"})
    with pytest.raises(ParameterError, match="strategy"):
        check_params(load_settings(), task, {"strategy": "best"})
    with pytest.raises(ParameterError, match="stream"):
        check_params(load_settings(budget=0.1), task, {"strategy": "typiclust"})
    with pytest.raises(SettingsError, match="no project can set seed_fisher any more"):
        check_params(load_settings(), task, {"SEED_FISHER": False})
    with pytest.raises(SettingsError, match="a project may not name"):
        check_params(load_settings(), task, {"model": "os:system"})
    with pytest.raises(SettingsError, match="a project may not name"):
        check_params(load_settings(), task, {"Encoder": "/etc"})


# -- the length of the queue --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "kept", "expected"),
    [
        (0, 0, QueueSize(50, 50)),  # not known
        (0, 40, QueueSize(90, 100)),
        (15, 0, QueueSize(50, 50)),
        (100, 40, QueueSize(90, 220)),
        (3, 40, QueueSize(53, 53)),  # nobody keeps more than one
        (900, 0, QueueSize(50, 520)),
        (900, 300, QueueSize(350, 620)),
    ],
)
def test_the_queue_is_longer_than_what_people_can_keep(
    members: int, kept: int, expected: QueueSize
) -> None:
    assert queue_size(load_settings(budget=20), members=members, kept=kept) == expected
    fixed = load_settings(budget=20, reserve=5)
    assert queue_size(fixed, members=members, kept=kept) == QueueSize(25, 25)


def test_behind_the_ranked_tasks_others_are_drawn() -> None:
    settings = load_settings(audit=0.1, budget=5)
    tasks = snapshot(200, settings, labels={3: {"c": "a"}}, skipped={7: True})
    size = QueueSize(10, 60)
    at, rows = choose(tasks, "classification", HEAD, settings, LocalEngine().rank, size)
    _, short = choose(
        tasks, "classification", HEAD, settings, LocalEngine().rank, QueueSize(10, 10)
    )
    assert len(rows) == len(set(at.tolist())) == 60
    assert not {3, 7} & set(at.tolist())
    assert rows[:10] == short
    drawn = [row for row in rows if row.selection_probability is None]
    assert len(drawn) == 60 - 10 - sum(row.audit for row in rows)
    assert all(not row.audit and not row.in_batch and row.rank >= 10 for row in drawn)
    every = QueueSize(10, 500)
    at, _ = choose(tasks, "classification", HEAD, settings, LocalEngine().rank, every)
    assert sorted(at.tolist()) == [n for n in range(200) if n != 3]
    assert at[-1] == 7  # the skipped one last
