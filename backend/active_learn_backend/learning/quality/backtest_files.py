"""The files of a backtest: every score as a table, and the mean curves as a picture."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path

import numpy as np
from active_learn.evaluation.learning_curves import Curves

from ...errors import SettingsError
from .backtest import CLEAR, SCORES, Backtest

__all__ = ["draw", "write_csv"]


def write_csv(path: Path, curves: Curves) -> None:
    """Write every score as a row: strategy, replicate, labels, score."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["strategy", "replicate", "labels", "score"])
        writer.writeheader()
        writer.writerows(curves.rows())


def draw(path: Path, found: Backtest) -> None:
    """Draw the mean curves as PNG, random's with a band of two standard errors.

    Raises
    ------
    SettingsError
        When matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise SettingsError(
            "no plot without matplotlib; run: pip install 'label-studio-active-sampler[demo]'"
        )
    from matplotlib import colormaps  # slow to import, and an optional dependency
    from matplotlib.figure import Figure

    curves = found.curves
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_prop_cycle(color=colormaps["tab20"](np.arange(20)))
    for name in sorted(curves.scores, key=lambda name: -curves.area(name).mean()):
        scores = curves.scores[name]
        mean = scores.mean(axis=0)
        if name != "random":
            axes.plot(curves.labels, mean, label=name, linewidth=1.2)
            continue
        axes.plot(curves.labels, mean, label=name, color="black", linewidth=2.5)
        error = scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
        band = (mean - CLEAR * error, mean + CLEAR * error)
        axes.fill_between(curves.labels, *band, color="black", alpha=0.15)
    axes.set_xlabel("labels")
    axes.set_ylabel(f"held-out {SCORES[found.problem_type]}")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)
