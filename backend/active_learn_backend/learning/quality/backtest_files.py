"""The files of a backtest: every score as a table, and the mean curves as a picture."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from active_learn.evaluation.learning_curves import Curves

from ...errors import SettingsError
from .backtest import CLEAR, Backtest

__all__ = ["draw", "write_csv"]


def write_csv(path: Path, scores: Iterable[Mapping[str, Any]]) -> None:
    """Write every score as a row: strategy, replicate, what was labeled until then, score."""
    rows = list(scores)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def draw(path: Path, found: Sequence[Backtest]) -> None:
    """Draw the mean curves as PNG, random's with a band of two standard errors.

    Parameters
    ----------
    path : Path
    found : sequence of Backtest
        One picture each, side by side.

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

    figure = Figure(figsize=(8 * len(found), 5), layout="constrained")
    for axes, one in zip(figure.subplots(1, len(found), squeeze=False)[0], found, strict=True):
        colors = colormaps["tab20"](np.arange(len(one.curves.scores)) % 20)
        _draw_curves(axes, one.curves, dict(zip(sorted(one.curves.scores), colors, strict=True)))
        axes.set_xlabel(one.unit)
        axes.set_ylabel(f"held-out {one.score}")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", ncols=2)
    figure.savefig(path, dpi=120)


def _draw_curves(axes: Any, curves: Curves, colors: Mapping[str, Any]) -> None:
    for name in sorted(curves.scores, key=lambda name: -curves.area(name).mean()):
        scores = curves.scores[name]
        mean = scores.mean(axis=0)
        if name != "random":
            axes.plot(curves.labels, mean, label=name, color=colors[name], linewidth=1.2)
            continue
        axes.plot(curves.labels, mean, label=name, color="black", linewidth=2.5)
        error = scores.std(axis=0, ddof=1) / np.sqrt(len(scores))
        band = (mean - CLEAR * error, mean + CLEAR * error)
        axes.fill_between(curves.labels, *band, color="black", alpha=0.15)
