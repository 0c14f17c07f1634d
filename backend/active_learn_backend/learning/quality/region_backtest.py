"""A backtest of labeled regions: F1 by tasks, and by the parts that were read to label them.

Tasks do not cost alike: an order may need fewer tasks for an F1, and more words. So each replay is
counted in both. Replays of an order run until half of the tasks and half of the parts are labeled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler
from active_learn.errors import DataError
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate
from active_learn.heads import TrainedTagger
from active_learn.heads.folds import Split, folds
from tqdm import tqdm

from ...labeling.config import LabelingTask
from ...labeling.controls import RegionTag
from ...settings import Settings
from ...state.store import TaskRow
from ..heads.pooling import drawn_at_random, pool_tasks
from ..heads.region_heads import find_regions, fit_region_head
from ..regions.embedder import PartsOfField, RegionEmbedder
from ..regions.part_kind import PartKind
from ..regions.parts import PartsOfTasks, TaskParts, in_memory
from .backtest import (
    FOLDS,
    MOST_REPLAYED,
    MOST_REPLAYED_QUICKLY,
    ROUNDS,
    SEEDS_OF_QUICK,
    Backtest,
    candidates_for,
)
from .region_comparison import count_regions
from .replayed_tasks import embed_labeled, replayed_control

__all__ = ["LabeledRegions", "RegionBacktest", "backtest_regions", "region_candidates"]

MOST_PARTS = 50_000  # of all tasks: bounds the memory, and the minutes that it takes
MOST_PARTS_QUICKLY = 10_000
LEAST_TASKS = 50
LEAST_WITH_REGIONS = 10
POINTS = 30  # of a curve over parts

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabeledRegions:
    """The parts of labeled tasks with the regions in them.

    Attributes
    ----------
    parts : PartsOfTasks
    regions : sequence of lists
        Of each task, see `labeling.regions`.
    control : RegionTag
    source : PartsOfField
        What made the parts.
    """

    parts: PartsOfTasks
    regions: Sequence[Sequence[Any]]
    control: RegionTag
    source: PartsOfField

    @classmethod
    def embed(
        cls,
        settings: Settings,
        project_id: int,
        task: LabelingTask,
        rows: Sequence[TaskRow],
        load: Callable[..., bytes],
    ) -> LabeledRegions:
        """Find the parts of the labeled tasks of a project, by its settings and with its cache.

        Of several controls it is the first that the settings name. Tasks that cannot be read are
        left out, with a warning.

        Raises
        ------
        DataError
            When none is left.
        """
        # Heads are fitted anew in replays: a team's own model makes the parts only.
        settings = settings.model_copy(update={"model_use": "encoder"})
        control = replayed_control(task.only(settings.controls))
        assert isinstance(control, RegionTag)
        embedder = RegionEmbedder(settings, project_id, replace(task, controls=(control,)), load)
        embeddings, usable, rows = embed_labeled(embedder, control, rows)
        name = control.from_name
        regions = [(rows[at].labels or {})[name] for at in usable]
        return cls(embeddings.parts[name], regions, control, embedder.parts[name])

    def __len__(self) -> int:
        return len(self.regions)

    @property
    def kind(self) -> PartKind:
        """The kind of the parts, as the control marks them."""
        return self.source.kind.for_control(self.control)

    def draw(self, tasks: int, parts: int) -> LabeledRegions:
        """Return at most so many tasks and parts, drawn by chance, always the same; in memory."""
        order = np.random.default_rng(0).permutation(len(self))
        within = np.cumsum(self.parts.sizes[order]) <= parts
        chosen = np.sort(order[within][:tasks])
        found = self.parts[chosen]
        of_tasks = [
            TaskParts(found.rows[start:stop], found.places[start:stop])
            for start, stop in pairwise(found.offsets.tolist())
        ]
        drawn = in_memory(of_tasks, self.parts.n_features)
        return replace(self, parts=drawn, regions=[self.regions[at] for at in chosen])

    @property
    def begins_at_random(self) -> bool:
        """Whether `auto` draws tasks by chance until there is a head; of points it always does."""
        return not self.source.by_doubt

    @property
    def has_region(self) -> Positions:
        """Whether each task has a region, as 0 or 1."""
        return np.array([len(one) > 0 for one in self.regions], np.int64)

    def check(self) -> None:
        """Check that there are enough labels to tell orders apart.

        Raises
        ------
        DataError
        """
        marked = int(self.has_region.sum())
        if len(self) < LEAST_TASKS or marked < LEAST_WITH_REGIONS:
            raise DataError(
                f"{len(self)} labels are too few to tell strategies apart, {marked} of them with a "
                f"region; expected at least {LEAST_TASKS}, {LEAST_WITH_REGIONS} of them with one"
            )


@dataclass(frozen=True)
class RegionBacktest:
    """The result of the replays of labeled regions.

    Attributes
    ----------
    by_parts, by_tasks : Backtest
        The same replays, counted by what was read and by the number of tasks.
    rows : list of dict
        Every score: strategy, replicate, tasks, parts, score.
    """

    by_parts: Backtest
    by_tasks: Backtest
    rows: list[dict[str, Any]]

    def report(self) -> str:
        """Write both tables with what would have been saved, and how certain that is."""
        return "\n\n".join([self.by_parts.table, self.by_tasks.table, self.by_tasks.note])


def region_candidates(names: Sequence[str] = (), *, auto: bool = False) -> list[Candidate]:
    """Return the named strategies, or all that order tasks of parts; random is always one.

    Parameters
    ----------
    auto : bool
        Whether 'auto' is one without names: where it is not the same as 'aopt'.

    Raises
    ------
    ParameterError
        When a name is unknown, or does not fit.
    """
    found = candidates_for("tagging", names)
    return [one for one in found if names or auto or one.strategy != "auto"]


def backtest_regions(
    data: LabeledRegions,
    candidates: Sequence[Candidate],
    *,
    batch: int,
    seeds: int = 5,
    quick: bool = False,
    progress: bool = False,
) -> RegionBacktest:
    """Replay the labeling of regions by several strategies, with the head of the project.

    Parameters
    ----------
    data : LabeledRegions
        Of more than 3,000 tasks or 50,000 parts so many are drawn by chance.
    candidates, batch, seeds
        See `backtest`.
    quick : bool
        600 tasks, 10,000 parts and 3 seeds at most, for a first result.

    Raises
    ------
    DataError
        When there are too few labels to tell strategies apart.
    """
    most = (MOST_REPLAYED_QUICKLY, MOST_PARTS_QUICKLY) if quick else (MOST_REPLAYED, MOST_PARTS)
    data = data.draw(*most)
    data.check()
    seeds = min(seeds, SEEDS_OF_QUICK) if quick else seeds
    # As in `backtest`, the held-out tasks of two seeds are drawn independently.
    splits = folds(data.has_region, FOLDS, range(seeds))[::FOLDS]
    half = min(len(pool) for pool, _ in splits) // 2
    batch = max(min(batch, half), half // ROUNDS)
    runs: dict[str, list[_Run]] = {one.label: [] for one in candidates}
    with tqdm(total=seeds * len(candidates), desc="replay", disable=not progress) as bar:
        for seed, split in enumerate(splits):
            for candidate in candidates:
                run = _Run.of(data, split, seed)
                run.replay(candidate, batch)
                runs[candidate.label].append(run)
                bar.update()
    kind = data.kind
    counts = batch * np.arange(1, half // batch + 1)
    end = min(run.parts_of_half for run in runs["random"])
    grid = np.unique(np.linspace(0, end, POINTS + 1)[1:].astype(np.int64))
    return RegionBacktest(
        Backtest(_curves(runs, grid, "parts"), len(data), kind.metric, kind.noun),
        Backtest(_curves(runs, counts, "tasks"), len(data), kind.metric, "tasks"),
        [
            {"strategy": name, "replicate": seed, "tasks": tasks, "parts": parts, "score": f1}
            for name, some in runs.items()
            for seed, run in enumerate(some)
            for tasks, parts, f1 in zip(run.tasks[1:], run.parts[1:], run.f1[1:], strict=True)
        ],
    )


@dataclass
class _Run:
    """One replay: a pool in random order, what of it is labeled, and the head trained on that.

    Attributes
    ----------
    tasks, parts, f1 : list
        What was labeled after each round, and the held-out F1 then.
    """

    data: LabeledRegions
    pool: Positions
    test: Positions
    seed: int
    head: TrainedTagger | None = None
    tasks: list[int] = field(default_factory=lambda: [0])
    parts: list[int] = field(default_factory=lambda: [0])
    f1: list[float] = field(default_factory=lambda: [0.0])

    @classmethod
    def of(cls, data: LabeledRegions, split: Split, seed: int) -> _Run:
        pool, test = split
        pool = np.random.default_rng(seed).permutation(pool)
        return cls(data, pool, test, seed)

    @property
    def parts_of_half(self) -> int:
        """Half of the parts of the pool."""
        return int(self.data.parts.sizes[self.pool].sum()) // 2

    def replay(self, candidate: Candidate, batch: int) -> None:
        """Label by a strategy until half of the tasks and half of the parts are labeled."""
        sizes = self.data.parts.sizes[self.pool]
        labeled = np.empty(0, np.int64)
        while 2 * len(labeled) < len(self.pool) or 2 * self.parts[-1] < sizes.sum():
            left = np.setdiff1d(np.arange(len(self.pool)), labeled)
            chosen = left[self._choose(candidate, labeled, left, min(batch, len(left)))]
            labeled = np.concatenate([labeled, chosen])
            self._train(labeled)
            self.tasks.append(len(labeled))
            self.parts.append(int(sizes[labeled].sum()))
            self.f1.append(self._score())

    def _choose(
        self, candidate: Candidate, labeled: Positions, left: Positions, batch: int
    ) -> Positions:
        """Return the positions in ``left`` that a round would queue."""
        by_doubt, has_head = self.data.source.by_doubt, self.head is not None
        at_random = drawn_at_random([self.data.control], [by_doubt], has_head=has_head)
        if candidate.strategy == "random" or (at_random and candidate.strategy == "auto"):
            return np.arange(batch)  # the pool is in random order
        heads = [] if self.head is None else [self.head]
        tasks = self.data.parts.select(self.pool)
        pooled = pool_tasks(tasks, heads, by_doubt=by_doubt, prior=self.data.kind.prior)
        sampler = ActiveSampler(
            "tagging",
            None,
            batch,
            precompute_covariance=True,
            seed_fisher=True,
            labeled_data=pooled[labeled] if len(labeled) else None,
            strategy=candidate.strategy,
            random_state=self.seed,
        )
        chosen: Positions = sampler.rank(pooled[left], batch).indices
        return chosen

    def _train(self, labeled: Positions) -> None:
        at = self.pool[labeled]
        self.head = fit_region_head(
            self.data.control.labels,
            self.data.kind,
            self.data.parts[at],
            [self.data.regions[one] for one in at.tolist()],
            round=len(self.f1),
            former=self.head,
            encoder=self.data.source.fingerprint,
        )

    def _score(self) -> float:
        """Return the F1 of the held-out tasks, as rounds measure it."""
        if self.head is None:
            return 0.0
        held_out = self.data.parts.select(self.test)
        found = find_regions(self.head, self.data.kind, held_out)
        truth = [self.data.regions[at] for at in self.test.tolist()]
        right, both = count_regions(truth, [one.regions for one in found])
        return float(right.sum() / both.sum())


def _curves(runs: dict[str, list[_Run]], counts: Positions, unit: str) -> Curves:
    """Return the scores of all replays at some counts of a unit, interpolated between rounds."""
    scores = {
        name: np.array([np.interp(counts, getattr(run, unit), run.f1) for run in some])
        for name, some in runs.items()
    }
    none = np.empty((len(runs["random"]), 0))
    return Curves(counts, scores, dict.fromkeys(scores, 0.0), np.empty(0, np.int64), none)
