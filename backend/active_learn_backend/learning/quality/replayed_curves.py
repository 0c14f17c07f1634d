"""The mean curves of a project's last backtest, kept for the status page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...settings import Settings
from ...state.folders import make_private_folder, project_folder

__all__ = ["ReplayedCurves", "read_replayed_curves", "save_replayed_curves"]

NAME = "backtest.json"


@dataclass(frozen=True)
class ReplayedCurves:
    """The accuracy that replays reached, by strategy.

    Attributes
    ----------
    control : str
        Name of the control that was replayed.
    labels : sequence of int
    scores : mapping
        Mean accuracy for each number of labels, by the name of the strategy.
    verdict : str
        What the best strategy would clearly have saved, or that none would have saved anything.
    """

    control: str
    labels: Sequence[int]
    scores: Mapping[str, Sequence[float]]
    verdict: str = ""

    def of(self, strategy: str) -> list[tuple[int, float]]:
        """Return the curve of a strategy; empty where it was not replayed."""
        return list(zip(self.labels, self.scores.get(strategy, ()), strict=False))


def save_replayed_curves(settings: Settings, project_id: int, curves: ReplayedCurves) -> None:
    """Keep the curves of a backtest in the project's folder, in place of former ones."""
    folder = project_folder(settings, project_id)
    make_private_folder(folder)
    body = {"control": curves.control, "labels": curves.labels, "scores": dict(curves.scores)}
    body["verdict"] = curves.verdict
    part = folder / f"{NAME}.part"
    part.write_text(json.dumps(body), encoding="utf-8")
    part.replace(folder / NAME)


def read_replayed_curves(settings: Settings, project_id: int) -> ReplayedCurves | None:
    """Return the curves of the last backtest; None without one, or where it cannot be read."""
    path: Path = project_folder(settings, project_id) / NAME
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
        scores = {str(name): list(map(float, row)) for name, row in body["scores"].items()}
        labels = list(map(int, body["labels"]))
        return ReplayedCurves(str(body["control"]), labels, scores, str(body.get("verdict", "")))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
