"""What `auto` stands for in a project: compared rarely, and changed only for good reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate
from active_learn.evaluation.tuning import Tuning
from active_learn_backend.errors import StoreError
from active_learn_backend.learning.quality import auto_strategy
from active_learn_backend.learning.quality.auto_strategy import (
    compare_strategies,
    comparison_is_due,
    with_chosen_strategy,
)
from active_learn_backend.learning.quality.backtest import LabeledSet
from active_learn_backend.settings import load_settings
from active_learn_backend.state.round_report import RoundReport, StrategyChoice


def clouds(n: int = 200) -> LabeledSet:
    rng = np.random.default_rng(0)
    places = rng.integers(0, 3, n)
    centers = 2 * np.random.default_rng(9).normal(size=(3, 6))
    X = (centers[places] + rng.normal(size=(n, 6))).astype(np.float32)
    return LabeledSet(X, np.array([f"class {place}" for place in places]), "classification")


def tuning(gain: float, spread: float) -> Tuning:
    """Curves of `auto`, and of a `bait` that is better by so much on average."""
    rng = np.random.default_rng(0)
    auto = np.full((8, 5), 0.7)
    noise = rng.normal(size=(8, 1))
    bait = auto + gain + spread * (noise - noise.mean())
    none = np.empty(0, np.int64)
    scores = {"auto": auto, "bait": bait}
    return Tuning(Candidate("auto"), Curves(np.arange(5), scores, {}, none, np.empty((8, 0))), "")


def test_a_comparison_is_due_at_every_doubling_of_labels() -> None:
    settings = load_settings()
    assert not comparison_is_due(settings, None, 199)
    assert comparison_is_due(settings, None, 200)
    seen = RoundReport(1, labeled=230, strategy=StrategyChoice("auto", "", 230))
    assert not comparison_is_due(settings, seen, 459)
    assert comparison_is_due(settings, seen, 460)
    assert not comparison_is_due(load_settings(strategy="margin"), None, 1000)
    assert not comparison_is_due(load_settings(budget=0.1), None, 1000)


def test_only_auto_stands_for_something_else() -> None:
    report = RoundReport(1, labeled=200, strategy=StrategyChoice("bait", "", 200))
    assert with_chosen_strategy(load_settings(), report).strategy == "bait"
    assert with_chosen_strategy(load_settings(), None).strategy == "auto"
    assert with_chosen_strategy(load_settings(), RoundReport(1, labeled=0)).strategy == "auto"
    assert with_chosen_strategy(load_settings(strategy="margin"), report).strategy == "margin"
    assert with_chosen_strategy(load_settings(budget=0.1), report).strategy == "auto"
    first = {"strategy": "aopt"}, {"budget": 0.1}, {}
    found = [with_chosen_strategy(load_settings(**one), None, at_random=True) for one in first]
    assert [one.strategy for one in found] == ["aopt", "auto", "random"]


def test_a_comparison_chooses_a_strategy_and_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(auto_strategy, "MOST_SECONDS", 600.0)  # however busy the machine is
    found = compare_strategies(clouds(), 220, "auto")
    assert found.name in {"auto", "bait", "badge", "margin", "random"}
    assert "replays of this project's labels" in found.reason
    assert found.labels == 220
    assert compare_strategies(clouds(), 220, "auto") == found


@pytest.mark.parametrize(
    ("gain", "spread", "name"),
    [
        (0.05, 0.01, "bait"),
        (0.05, 0.2, "auto"),  # may be noise
        (0.002, 0.0001, "auto"),  # not worth it
        (-0.05, 0.01, "auto"),
    ],
)
def test_it_changes_only_for_what_is_clearly_better(
    monkeypatch: pytest.MonkeyPatch, gain: float, spread: float, name: str
) -> None:
    monkeypatch.setattr(auto_strategy, "tune", lambda *_, **__: tuning(gain, spread))
    found = compare_strategies(clouds(), 200, "auto")
    assert found.name == name
    if gain > 0:
        assert "bait did better than auto by" in found.reason


def test_what_takes_too_long_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto_strategy, "MOST_SECONDS", 0.0)
    found = compare_strategies(clouds(), 200, "bait")
    assert found == StrategyChoice("bait", "the replays took more than 0 s", 200)


def test_too_few_labels_of_each_class_change_nothing() -> None:
    many = LabeledSet(clouds().X, np.array([f"c{at // 2}" for at in range(200)]), "classification")
    found = compare_strategies(many, 200, "auto")
    assert found.name == "auto"
    assert "too few" in found.reason


def test_a_lost_lease_ends_the_comparison() -> None:
    def lost() -> Any:
        raise StoreError("lost")

    with pytest.raises(StoreError, match="lost"):
        compare_strategies(clouds(), 200, "auto", lost)
