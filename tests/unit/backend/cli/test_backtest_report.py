"""What a backtest says of its curves: the labels saved, the noise, the plot and the csv."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from active_learn.evaluation.learning_curves import Curves
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.quality.backtest import (
    Backtest,
)
from active_learn_backend.learning.quality.backtest_files import draw, write_csv

# -- what is said -------------------------------------------------------------------------------


def made_up(gain: float, spread: float) -> Backtest:
    """Straight curves of ten seeds; a strategy needs `gain` of the labels that random does."""
    labels = np.arange(10, 110, 10)
    rng = np.random.default_rng(0)
    random = 0.4 + 0.005 * labels[None] + np.zeros((10, 1))
    other = 0.4 + 0.005 * labels[None] / gain + spread * rng.normal(size=(10, 1))
    curves = Curves(
        labels, {"new": other, "random": random}, {"new": 0.1, "random": 0.1},
        np.empty(0, np.int64), np.empty((10, 0)),
    )  # fmt: skip
    return Backtest(curves, 400, "accuracy")


def test_savings_beyond_the_noise_are_told() -> None:
    found = made_up(0.5, 0.001)
    share, error = found.curves.share_of_random("new", 0.75)
    assert share == pytest.approx(0.5, abs=0.01)
    assert 0 < error < 0.01
    assert found.curves.labels_for("new", 0.75) == pytest.approx(35, abs=1)
    assert found.goals == (pytest.approx(0.6), pytest.approx(0.75))
    assert "new would have saved 35 of 70 labels (50 ± 0 %)" in found.report()
    assert "so few seeds" not in found.report()


def test_what_may_be_noise_is_not_called_saved() -> None:
    found = made_up(0.95, 0.1)
    share, error = found.curves.share_of_random("new", 0.75)
    assert share + 2 * error > 1
    assert "No strategy would clearly have saved labels" in found.report()


def test_a_score_that_is_not_reached_is_said_so() -> None:
    found = made_up(2.0, 0.0)
    assert found.curves.share_of_random("new", 0.75)[0] == np.inf
    assert "not reached | -" in found.report()
    assert "nan" not in found.report()


def test_a_score_that_random_never_reaches_counts_as_its_last_label() -> None:
    found = made_up(0.5, 0.0)
    assert found.curves.labels_for("random", 1.2) == np.inf
    assert found.curves.labels_for("new", 1.2) == pytest.approx(80)
    assert found.curves.share_of_random("new", 1.2)[0] == pytest.approx(0.8)


def test_the_error_of_a_share_is_that_of_repeating_it() -> None:
    """The jackknife against replicates drawn again and again."""
    rng = np.random.default_rng(0)
    labels = np.arange(10, 210, 10)
    rise = 1 - np.exp(-labels / 60)

    def draw_curves() -> tuple[float, float]:
        def scores(speed: float) -> np.ndarray:
            return rise * speed + 0.03 * rng.normal(size=(8, 1))

        given = {"new": scores(1.1), "random": scores(1.0)}
        none = np.empty(0, np.int64)
        curves = Curves(labels, given, dict.fromkeys(given, 0.0), none, np.empty((8, 0)))
        return curves.share_of_random("new", 0.8)

    found = np.array([draw_curves() for _ in range(300)])
    assert np.isfinite(found).all()
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)


def test_the_plot_without_matplotlib_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match=r"label-studio-active-sampler\[demo\]"):
        draw(tmp_path / "x.png", [made_up(0.5, 0.001)])


def test_the_csv_holds_every_score(tmp_path: Path) -> None:
    write_csv(tmp_path / "x.csv", made_up(0.5, 0.001).curves.rows())
    rows = (tmp_path / "x.csv").read_text().splitlines()
    assert rows[0] == "strategy,replicate,labels,score"
    assert len(rows) == 1 + 2 * 10 * 10
