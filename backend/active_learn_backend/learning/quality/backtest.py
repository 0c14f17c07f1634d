"""A backtest: labels a project again by every strategy, and says which would have saved labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler
from active_learn.errors import DataError, ParameterError
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate, replay
from active_learn.evaluation.tuning import require_enough_labels
from active_learn.heads import ClassWeight, HeadConfig, ProblemType
from active_learn.heads.base import FloatArray
from active_learn.heads.folds import folds
from active_learn.strategies import build_strategy, strategies
from active_learn.validation import AnyProblemType

from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag
from ...settings import Settings
from ...state.store import TaskRow
from ..embedding.embedder import TaskEmbedder
from .replayed_tasks import embed_labeled, replayed_control

__all__ = ["Backtest", "LabeledSet", "backtest", "candidates_for"]

MOST_REPLAYED = 3000  # labels, drawn by chance: bounds the minutes that it takes
MOST_REPLAYED_QUICKLY = 600
SEEDS_OF_QUICK = 3
ROUNDS = 15  # the replays end with half of the pool labeled
FOLDS = 4  # one of them is held out
CLEAR = 2.0  # standard errors
ENOUGH_SEEDS = 5  # for standard errors to be taken at their word
SCORES = {"classification": "accuracy", "multilabel": "F1", "regression": "R²"}


@dataclass(frozen=True)
class LabeledSet:
    """Embeddings of labeled tasks with their labels.

    Attributes
    ----------
    X : array of shape (n, d), float32
    y : array of shape (n,): class names or numbers; in multilabel (n, L) of 0 and 1
    problem_type : {'classification', 'regression', 'multilabel'}
    head_config : HeadConfig, optional
        How rounds train the heads of the project, and so replays; see `replay` when omitted.
    control : str
        Name of the control whose labels they are.
    """

    X: FloatArray
    y: npt.NDArray[np.generic]
    problem_type: ProblemType
    head_config: HeadConfig | None = None
    control: str = ""

    @classmethod
    def of(
        cls,
        control: ControlTag,
        embeddings: FloatArray,
        labels: Sequence[Any],
        class_weight: ClassWeight = "none",
    ) -> LabeledSet:
        """Return embeddings (n, d) with those labels that the config still offers."""
        classes = control.classes(labels)
        rows = [at for at, label in enumerate(labels) if _is_offered(control, classes, label)]
        if not rows:
            raise DataError("no task is labeled; label some first, at random if you can")
        kept = [labels[at] for at in rows]
        if control.problem_type == "multilabel":
            kept = [[float(name in chosen) for name in classes] for chosen in kept]
        config = HeadConfig(
            labels_offered=classes, class_weight=class_weight, bounds=control.bounds
        )
        return cls(
            embeddings[rows], np.array(kept), control.problem_type, config, control.from_name
        )

    @classmethod
    def embed(
        cls,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        rows: Sequence[TaskRow],
        load: Callable[..., bytes],
    ) -> LabeledSet:
        """Embed the labeled ones of a project's tasks, by its settings and through its cache.

        Of several controls it is the first that the settings name. Tasks that cannot be read are
        left out, with a warning.

        Raises
        ------
        DataError
            When none is left.
        """
        # Heads are fitted anew in replays: a team's own model only embeds.
        settings = settings.model_copy(update={"model_use": "encoder"})
        task = task.only(settings.controls)
        control, others = replayed_control(task), replace(task, controls=task.others)
        embeddings, usable, rows = embed_labeled(
            TaskEmbedder(settings, project_id, others, load), control, rows
        )
        labels = {row.task_id: (row.labels or {}).get(control.from_name) for row in rows}
        given = [labels[rows[at].task_id] for at in usable]
        return cls.of(control, embeddings, given, settings.class_weight)

    def draw(self, most: int) -> LabeledSet:
        """Return at most so many of them, drawn by chance, always the same ones."""
        if len(self.X) <= most:
            return self
        chosen = np.sort(np.random.default_rng(0).permutation(len(self.X))[:most])
        return replace(self, X=self.X[chosen], y=self.y[chosen])


@dataclass(frozen=True)
class Backtest:
    """The result of the replays of a labeled project.

    Attributes
    ----------
    curves : Curves
        Of all strategies, paired.
    n_labels : int
        Labels that were replayed.
    score : str
        What the score is called.
    unit : str
        What the curves count: labels, or what is read to give them.
    """

    curves: Curves
    n_labels: int
    score: str
    unit: str = "labels"

    @property
    def goals(self) -> tuple[float, float]:
        """Scores to reach: random's best with a third of the replayed labels, and with two thirds.

        At the very end of its curve, the labels that random needs depend on a few held-out tasks.
        """
        random = np.maximum.accumulate(self.curves.scores["random"].mean(axis=0))
        return float(random[len(random) // 3]), float(random[2 * len(random) // 3])

    @property
    def verdict(self) -> list[str]:
        """What strategies would clearly have saved, the best first; else that none would have."""
        curves, goal = self.curves, self.goals[1]
        saved = []
        for name in self._best_first:
            share, error = curves.share_of_random(name, goal)
            if name != "random" and share + CLEAR * error < 1:
                most = curves.labels_for("random", goal)
                saved.append(
                    f"{name} would have saved {(1 - share) * most:.0f} of {most:.0f} {self.unit} "
                    f"({100 * (1 - share):.0f} ± {100 * error:.0f} %) on the way to "
                    f"{self.score} {goal:.3f}."
                )
        return saved or [
            f"No strategy would clearly have saved {self.unit} against random "
            f"{'ones' if self.unit == 'labels' else 'order'}."
        ]

    @property
    def _best_first(self) -> list[str]:
        return sorted(self.curves.scores, key=lambda name: -self.curves.area(name).mean())

    @property
    def table(self) -> str:
        """A table, then in words what would have been saved."""
        curves, goals = self.curves, self.goals
        columns = [f"{self.unit} for {self.score} {goal:.3f} | share of random's" for goal in goals]
        lines = [f"| strategy | {' | '.join(columns)} | mean {self.score} |", "|---" * 6 + "|"]
        for name in self._best_first:
            cells = []
            for goal in goals:
                cells += [_labels(curves.labels_for(name, goal)), _share(curves, name, goal)]
            lines.append(f"| {name} | {' | '.join(cells)} | {curves.area(name).mean():.3f} |")
        return "\n".join([*lines, "", *self.verdict])

    @property
    def note(self) -> str:
        """What was replayed, and how certain the table is."""
        replicates = len(self.curves.scores["random"])
        rough = " Of so few seeds the errors are rough ones." if replicates < ENOUGH_SEEDS else ""
        return (
            f"{self.n_labels} labels, {replicates} seeds, ± one standard error; saved is said "
            f"only beyond {CLEAR:.0f} of them.{rough} Of {len(self.curves.scores) - 1} strategies "
            "one may pass by chance. Where the labels were chosen, not drawn at random, the "
            "replays are about tasks like those."
        )

    def report(self) -> str:
        """Write a table, then in words what would have been saved, and how certain that is."""
        return f"{self.table}\n\n{self.note}"


def candidates_for(problem_type: AnyProblemType, names: Sequence[str] = ()) -> list[Candidate]:
    """Return the named strategies, or all that support the problem type; random is always one.

    Raises
    ------
    ParameterError
        When a name is unknown, or does not fit.
    """
    chosen = []
    for name in names or strategies():
        try:
            build_strategy(name, {}).check(problem_type)
        except ParameterError:
            if names:
                raise
            continue
        chosen.append(name)
    return [Candidate(name) for name in dict.fromkeys([*chosen, "random"])]


def backtest(
    data: LabeledSet,
    candidates: Sequence[Candidate],
    *,
    batch: int,
    seeds: int = 5,
    quick: bool = False,
    progress: bool = False,
) -> Backtest:
    """Replay the labeling of a project by several strategies, with the same head for all.

    Parameters
    ----------
    data : LabeledSet
        Of more than 3,000 labels so many are drawn by chance.
    candidates : sequence of Candidate
        With random among them, see `candidates_for`.
    batch : int
        Labels per round, more where half of the labels would take over 15 rounds.
    seeds : int
        Replays of each strategy; each holds out another quarter of the labels.
    quick : bool
        600 labels and 3 seeds at most, for a first result.

    Raises
    ------
    DataError
        When there are too few labels to tell strategies apart.
    """
    data = data.draw(MOST_REPLAYED_QUICKLY if quick else MOST_REPLAYED)
    require_enough_labels(data.y, data.problem_type)
    seeds = min(seeds, SEEDS_OF_QUICK) if quick else seeds
    # One fold of each dealing: the held-out tasks of two seeds are then drawn independently.
    splits = folds(data.y, FOLDS, range(seeds))[::FOLDS]
    half = min(len(pool) for pool, _ in splits) // 2
    batch = max(min(batch, half), half // ROUNDS)
    curves = replay(
        partial(ActiveSampler, seed_fisher=True, precompute_covariance=True),
        data.X,
        data.y,
        candidates,
        splits,
        problem_type=data.problem_type,
        batch=batch,
        rounds=max(1, half // batch),
        head_config=data.head_config,
        progress=progress,
    )
    return Backtest(curves, len(data.X), SCORES[data.problem_type])


def _is_offered(control: ControlTag, classes: Sequence[str], label: Any) -> bool:
    if control.problem_type == "regression":
        return True
    return not set(classes).isdisjoint([label] if isinstance(label, str) else label)


def _labels(count: float) -> str:
    return f"{count:.0f}" if np.isfinite(count) else "not reached"


def _share(curves: Curves, name: str, goal: float) -> str:
    if name == "random":
        return "1"
    share, error = curves.share_of_random(name, goal)
    if not np.isfinite(share):
        return "-"
    return f"{share:.2f} ± {error:.2f}" if np.isfinite(error) else f"{share:.2f}"
