"""How much reading, and work, does each order of texts save when entities are labeled?

    python tests/benchmarks/entities.py --seeds 2                        # five minutes
    python tests/benchmarks/entities.py --report sampler/docs/tasks-of-parts.md

From no labels on, 20 texts a round, until so many words are read. The test texts are drawn with the
pool, by the seed; a strategy sees them never.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from active_learn import ActiveSampler, PooledTasks, RaggedArray, pool_parts
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn.heads.transitions import runs_of
from active_learn.models.pooled_tasks import doubt
from entity_data import DATASETS, ENCODERS, Entities, load
from real_data import Missing
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

BATCH = 20  # texts a round
WORDS = 3500
SIZES = {"wikigold": (1150, 450), "WNUT-17": (1500, 600)}  # of the pool, of the test
# The median annotator of two published studies of eleven users: one entity costs what 15 words do.
SECONDS_PER_WORD, SECONDS_PER_ENTITY = 0.32, 4.75
GRID = 200


@dataclass
class Curve:
    """What was read, and what the head was worth, after each round."""

    words: list[float] = field(default_factory=lambda: [0.0])
    seconds: list[float] = field(default_factory=lambda: [0.0])
    f1: list[float] = field(default_factory=lambda: [0.0])
    ranking: float = 0.0  # seconds of the processor

    def area(self, cost: str, end: float) -> float:
        """Return the mean F1 over the cost from 0 to an end."""
        at = np.linspace(0, end, GRID)
        return float(np.interp(at, getattr(self, cost), self.f1).mean())

    def needed(self, cost: str, f1: float) -> float:
        """Return the cost at which an F1 is reached, infinity where it is not."""
        at = np.flatnonzero(np.maximum.accumulate(self.f1) >= f1)
        if not len(at):
            return np.inf
        costs, place = getattr(self, cost), at[0]
        low, high = self.f1[place - 1], self.f1[place]
        share = (f1 - low) / max(high - low, 1e-9)
        return float(costs[place - 1] + share * (costs[place] - costs[place - 1]))


Order = Callable[["Project", TaggingHead | None, np.ndarray], np.ndarray]


@dataclass
class Project:
    """A pool of texts, of which some are labeled, and a test set."""

    data: Entities
    pool: np.ndarray
    test: np.ndarray
    seed: int
    labeled: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def texts(self, rows: np.ndarray) -> RaggedArray:
        return self.data.parts.take(rows)

    def sampled(self, vectors: Callable[[np.ndarray], PooledTasks], rows: np.ndarray) -> np.ndarray:
        """Return the first 20 of some texts by the sampler."""
        labeled = vectors(self.labeled) if len(self.labeled) else None
        sampler = ActiveSampler(
            "tagging", None, BATCH, labeled_data=labeled, seed_fisher=True, random_state=self.seed
        )
        return sampler.rank(vectors(rows), min(BATCH, len(rows))).indices


def at_random(project: Project, head: TaggingHead | None, rows: np.ndarray) -> np.ndarray:
    return np.random.default_rng([project.seed, len(rows)]).permutation(len(rows))[:BATCH]


def mnlp(project: Project, head: TaggingHead | None, rows: np.ndarray) -> np.ndarray:
    """Lowest log-probability of the tags per word, the standard (Shen et al. 2017)."""
    if head is None:
        return at_random(project, head, rows)
    shares = head.probabilities(project.texts(rows))
    return np.argsort([np.log(one.max(axis=1)).mean() for one in shares], kind="stable")[:BATCH]


def by_mean_vector(project: Project, head: TaggingHead | None, rows: np.ndarray) -> np.ndarray:
    """The design on plain means of the words; references weigh as much as their mean doubt."""

    def vectors(some: np.ndarray) -> PooledTasks:
        pooled = pool_parts(project.texts(some))
        if head is None:
            return pooled
        doubts = [doubt(one).mean() for one in head.probabilities(project.texts(some))]
        return PooledTasks(pooled.vectors, np.array(doubts, np.float32), pooled.costs)

    return project.sampled(vectors, rows)


def by_mean_after_chance(
    project: Project, head: TaggingHead | None, rows: np.ndarray
) -> np.ndarray:
    """What the backend does without a model."""
    return at_random(project, head, rows) if head is None else by_mean_vector(project, head, rows)


def by_doubt(project: Project, head: TaggingHead | None, rows: np.ndarray) -> np.ndarray:
    """What `ActiveSampler` does."""

    def vectors(some: np.ndarray) -> PooledTasks:
        return pool_parts(project.texts(some), head.flat_probabilities if head else None)

    return project.sampled(vectors, rows)


STRATEGIES: dict[str, Order] = {
    "random": at_random,
    "MNLP": mnlp,
    "mean vector": by_mean_vector,
    "mean vector, first 20 by chance": by_mean_after_chance,
    "doubt-weighted vector": by_doubt,
}


def exact_f1(head: TaggingHead | None, data: Entities, rows: np.ndarray) -> float:
    """Return the F1 of entities whose words and label are right, in percent."""
    if head is None:
        return 0.0
    texts = data.parts.take(rows)
    found = np.concatenate([one.tags for one in head.decode(texts)])
    truth = np.concatenate([data.tags[at] for at in rows])
    runs = [runs_of(tags, texts.offsets).tolist() for tags in (found, truth)]
    sets = [set(map(tuple, one)) for one in runs]
    return 200 * len(sets[0] & sets[1]) / max(1, len(sets[0]) + len(sets[1]))


def label(data: Entities, seed: int, name: str, order: Order) -> Curve:
    """Label texts in an order until all words of the budget are read."""
    rows = np.random.default_rng(seed).permutation(len(data.parts))
    pool, test = SIZES[name]
    project = Project(data, rows[:pool], rows[pool : pool + test], seed)
    curve, head = Curve(), None
    while curve.words[-1] < WORDS:
        left = np.setdiff1d(project.pool, project.labeled)
        before = time.process_time()
        batch = left[order(project, head, left)]
        curve.ranking += time.process_time() - before
        project.labeled = np.concatenate([project.labeled, batch])
        tags = [data.tags[at] for at in batch]
        words = sum(map(len, tags))
        entities = sum(len(runs_of(one, np.array([0, len(one)]))) for one in tags)
        head = fit_tagging_head(
            data.labels,
            project.texts(project.labeled),
            [data.tags[at] for at in project.labeled],
            round=len(curve.words),
            former=head,
        )
        curve.words.append(curve.words[-1] + words)
        curve.seconds.append(
            curve.seconds[-1] + SECONDS_PER_WORD * words + SECONDS_PER_ENTITY * entities
        )
        curve.f1.append(exact_f1(head, data, project.test))
    return curve


def spread(values: list[float]) -> str:
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return f"{np.mean(values):+.1f} ± {error:.1f}"


def rows_of(name: str, encoder: str, curves: dict[str, list[Curve]]) -> list[str]:
    """Return the lines of the table of one data set and encoder."""
    chance, lines = curves["random"], []
    ends = {cost: min(getattr(one, cost)[-1] for one in chance) for cost in ("words", "seconds")}
    for strategy, found in curves.items():
        pairs = list(zip(found, chance, strict=True))
        cells = []
        for cost, end in ends.items():
            cells.append(spread([a.area(cost, end) - b.area(cost, end) for a, b in pairs]))
        final = [np.interp(ends["words"], one.words, one.f1) for one in found]
        for cost in ends:
            shares = [
                a.needed(cost, np.interp(ends["words"], b.words, b.f1))
                / b.needed(cost, np.interp(ends["words"], b.words, b.f1))
                for a, b in pairs
            ]
            cells.append(f"{np.median(shares):.2f}")
        if strategy == "random":
            area = [one.area("words", ends["words"]) for one in found]
            cells[:2] = [f"({np.mean(area):.1f})", "(0)"]
        cost = sum(one.ranking for one in found) / sum(len(one.f1) - 1 for one in found)
        lines.append(
            f"| {name}, {encoder} | {strategy} | {np.mean(final):.1f} | {' | '.join(cells)} | "
            f"{cost:.2f} |"
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=list(DATASETS), choices=DATASETS)
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--orders", nargs="+", default=list(STRATEGIES), choices=list(STRATEGIES))
    parser.add_argument("--section", default="entities", help="marks in the report's page")
    add_report_option(parser)
    arguments = parser.parse_args()
    strategies = {one: STRATEGIES[one] for one in dict.fromkeys(["random", *arguments.orders])}
    lines: list[str] = []
    with threadpool_limits(1):
        for name in arguments.data:
            for encoder in arguments.encoders:
                try:
                    data = load(name, encoder)
                except Missing as reason:
                    print(f"{name}, {encoder} is left out: {reason}")
                    continue
                curves = {
                    strategy: [label(data, seed, name, order) for seed in range(arguments.seeds)]
                    for strategy, order in strategies.items()
                }
                lines += rows_of(name, encoder, curves)
                print("\n".join(lines[-len(strategies) :]), flush=True)
    text = (
        f"{measured_by()}, {arguments.seeds} paired seeds, ± one standard error: exact F1 of "
        f"entities, in percent, over {WORDS:,} words read, {BATCH} texts a round.\n\n"
        "| data, features of words | order | F1 at the end | area over words, against random | "
        "area over seconds, against random | words for random's last F1 | seconds for it | "
        "seconds of CPU to rank |\n|---|---|---|---|---|---|---|---|\n" + "\n".join(lines)
    )
    publish(arguments.section, text, arguments.report)


if __name__ == "__main__":
    main()
