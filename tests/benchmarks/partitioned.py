"""Selection in parts against that of the whole pool: its objective, its learning curve, its cost.

    python tests/benchmarks/partitioned.py                     # half an hour
    python tests/benchmarks/partitioned.py --only objective cost
    python tests/benchmarks/partitioned.py --report FILE       # a Markdown file with marks for it

Objectives are the sums of the gains of the first 100 picks, conditioned on 300 labels; parts and
whole go by the same references, so that they are of one measure. The learning curve is that of the
backend's own head on banking77, from no label on, with the pools of `labels_needed.py`.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from active_learn import ActiveSampler, LinearHead, Ranking, rank_partitioned
from active_learn.evaluation.learning_curves import first_reach
from active_learn.heads import fit_head
from active_learn.partitioned import Partitioning, decide, select_part
from labels_needed import split
from real_data import DATASETS, Data, Missing
from report import add_report_option, measured_by, publish
from speed import CASES, make_pool, peak_megabytes, reset_peak
from threadpoolctl import threadpool_limits

BUDGET = 100
LABELED = 300
TARGET = 0.80
BATCH, MOST = 20, 400  # of the learning curves

Rank = Callable[[ActiveSampler, np.ndarray, int], Ranking]


@dataclass(frozen=True)
class Pool:
    """Candidates of shape (N, d), labeled embeddings, and a head for both."""

    candidates: np.ndarray
    labeled: np.ndarray
    head: LinearHead

    def sampler(self, strategy: str, seed: int) -> ActiveSampler:
        return ActiveSampler(
            "classification",
            self.head,
            BUDGET,
            seed_fisher=True,
            labeled_data=self.labeled,
            strategy=strategy,
            random_state=seed,
        )


def texts(seed: int) -> Pool:
    """Banking77 by MiniLM, with the head that 300 random labels give."""
    data = DATASETS["banking77"]()
    pool, _ = split(data, seed)
    known, offered = pool[:LABELED], np.unique(data.y)
    names = [f"class {label}" for label in data.y[known]]
    offered = tuple(f"class {label}" for label in offered)
    head = fit_head("classification", offered, data.X[known], names, round=1)
    return Pool(data.X[pool[LABELED:]], data.X[known], head.sampler_model())


def clusters(seed: int, n: int = 100_000) -> Pool:
    """Clustered unit vectors, d = 384, under a random head of 77 classes."""
    rng = np.random.default_rng(seed)
    candidates = make_pool(CASES["aopt 1M"], n)
    head = LinearHead(20 * rng.normal(size=(77, 384)) / 384**0.5)
    return Pool(candidates, candidates[rng.choice(n, LABELED, replace=False)], head)


def whole(sampler: ActiveSampler, candidates: np.ndarray, n: int) -> Ranking:
    return sampler.rank(candidates, n)


def in_parts(partitions: int) -> Rank:
    return lambda sampler, candidates, n: rank_partitioned(
        sampler, candidates, n, partitions=partitions
    )


def objective_table(seeds: int) -> str:
    """Compare what the first picks are worth: ratio to the whole pool's, mean and least."""
    cases = {
        "banking77, 7,702": (texts, seeds, (2, 4, 8, 32)),
        "clusters, 100,000": (clusters, min(seeds, 2), (2, 4, 8, 32, 100)),
    }
    columns = sorted({partitions for _, _, counts in cases.values() for partitions in counts})
    lines = [
        "| pool | strategy | seeds | " + " | ".join(f"{p} parts" for p in columns) + " |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for title, (make, n_seeds, counts) in cases.items():
        ratios: dict[tuple[str, int], list[float]] = {}
        for seed in range(n_seeds):
            pool = make(seed)
            for strategy in ("aopt", "bait", "logdet", "kcenter"):
                best = value(pool, strategy, seed, whole)
                for partitions in counts:
                    found = value(pool, strategy, seed, in_parts(partitions))
                    ratios.setdefault((strategy, partitions), []).append(found / best)
        for strategy in ("aopt", "bait", "logdet", "kcenter"):
            cells = [ratio_cell(ratios.get((strategy, p))) for p in columns]
            lines.append(f"| {title} | {strategy} | {n_seeds} | {' | '.join(cells)} |")
        print("\n".join(lines), flush=True)
    return "\n".join(lines)


def value(pool: Pool, strategy: str, seed: int, rank: Rank) -> float:
    """Return the objective of the first picks; of k-center one over the radius that they leave."""
    ranking = rank(pool.sampler(strategy, seed), pool.candidates, BUDGET)
    if strategy != "kcenter":
        return float(ranking.scores.sum())
    centers = np.concatenate([pool.labeled, pool.candidates[ranking.indices]])
    nearest = [
        torch.cdist(torch.from_numpy(block), torch.from_numpy(centers)).amin(dim=1).max()
        for block in np.array_split(pool.candidates, 1 + len(pool.candidates) // 10_000)
    ]
    return 1 / float(max(nearest))


def ratio_cell(ratios: list[float] | None) -> str:
    return "-" if ratios is None else f"{np.mean(ratios):.4f} (least {min(ratios):.4f})"


def curve(data: Data, seed: int, rank: Rank) -> tuple[np.ndarray, np.ndarray]:
    """Label batch after batch from nothing: (label counts, accuracies)."""
    pool, test = split(data, seed)
    names = np.array([f"class {label}" for label in data.y])
    offered = tuple(f"class {label}" for label in np.unique(data.y))
    labeled, head = np.empty(0, dtype=np.int64), None
    counts, accuracies = [0], [0.0]
    while len(labeled) < MOST:
        left = pool[~np.isin(pool, labeled)]
        sampler = ActiveSampler(
            "classification",
            head.sampler_model() if head else LinearHead.untrained(len(offered), data.X.shape[1]),
            BATCH,
            seed_fisher=True,
            labeled_data=data.X[labeled] if len(labeled) else None,
            random_state=seed,
        )
        labeled = np.concatenate([labeled, left[rank(sampler, data.X[left], BATCH).indices]])
        head = fit_head(
            "classification",
            offered,
            data.X[labeled],
            list(names[labeled]),
            round=len(counts),
            former=head,
        )
        counts.append(len(labeled))
        accuracies.append(1 - head.losses(data.X[test], list(names[test])).mean() if head else 0.0)
    return np.array(counts), np.array(accuracies)


def curve_table(seeds: int) -> str:
    """Compare the learning curves, paired by seed."""
    data = DATASETS["banking77"]()
    areas: dict[str, list[float]] = {}
    needed: dict[str, list[float]] = {}
    ways = {"the whole": whole, **{f"{p} parts": in_parts(p) for p in (2, 4, 8)}}
    for seed in range(seeds):
        for name, rank in ways.items():
            counts, accuracies = curve(data, seed, rank)
            areas.setdefault(name, []).append(100 * float(accuracies[1:].mean()))
            needed.setdefault(name, []).append(first_reach(counts, accuracies, TARGET))
            print(f"seed {seed}, {name}: {areas[name][-1]:.2f}, {needed[name][-1]:.0f}", flush=True)
    lines = [
        f"| banking77, {seeds} seeds | area, % | against the whole | labels to "
        f"{100 * TARGET:.0f} % | against the whole |",
        "|---|---|---|---|---|",
    ]
    for name in ways:
        cells = []
        for values in (areas, needed):
            cells += [f"{np.mean(values[name]):.1f}", paired(values[name], values["the whole"])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def paired(values: list[float], base: list[float]) -> str:
    differences = np.subtract(values, base)
    if not differences.any():
        return "-"
    error = differences.std(ddof=1) / len(differences) ** 0.5 if len(differences) > 1 else np.nan
    return f"{differences.mean():+.2f} ± {error:.2f}"


def settled() -> float:
    """Release freed memory, so that it cannot serve the next measurement; return megabytes."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return reset_peak()


def cost(n: int, partitions: int) -> dict[str, float]:
    """Measure one part, and what comes before and after it, of a pool of clusters; aopt."""
    pool = clusters(0, n)
    pool.sampler("aopt", 0).rank(pool.candidates[:500], 10)  # warm
    sampler, clock = pool.sampler("aopt", 0), time.process_time  # other work may share the cores
    before, began = settled(), clock()
    if partitions == 0:
        sampler.rank(pool.candidates, BUDGET)
        return {"part": clock() - began, "part MB": peak_megabytes() - before}
    plan = Partitioning.draw(sampler, lambda rows: pool.candidates[rows], n, BUDGET, partitions)
    result = {"draw": clock() - began}
    selections = []
    for place, part in enumerate(plan.parts):
        samples = pool.candidates[part]
        before, began = settled(), clock()
        selections.append(select_part(sampler, samples, plan.summary, plan.n, part))
        if place == 0:
            result |= {"part": clock() - began, "part MB": peak_megabytes() - before}
    before, began = settled(), clock()
    decide(sampler, plan, selections)
    return result | {"last": clock() - began, "last MB": peak_megabytes() - before}


def cost_table() -> str:
    lines = [
        "| aopt, N | parts | draw, s | one part, s | one part, MB | last round, s | "
        "last round, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for n, partitions in [
        (10_000, 0), (10_000, 2), (10_000, 8),
        (100_000, 0), (100_000, 8), (100_000, 32), (100_000, 100),
    ]:  # fmt: skip
        command = [sys.executable, __file__, "--cost", str(n), str(partitions)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        keys = ("draw", "part", "part MB", "last", "last MB")
        cells = [f"{found[k]:.{0 if 'MB' in k else 2}f}" if k in found else "-" for k in keys]
        lines.append(f"| {n:,} | {partitions or 'the whole'} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="paired replicates")
    parts = ["objective", "curve", "cost"]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    add_report_option(parser)
    parser.add_argument("--cost", nargs=2, type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)  # for the rest of the process
    if arguments.cost:
        print(json.dumps(cost(*arguments.cost)))
        return
    make = {
        "objective": lambda: objective_table(arguments.seeds),
        "curve": lambda: curve_table(arguments.seeds),
        "cost": cost_table,
    }
    tables = []
    for name in arguments.only:
        try:
            tables.append(make[name]())
        except Missing as reason:
            print(f"{name}: skipped, {reason}", flush=True)
    report = (
        f"{measured_by()}, one thread. Seconds "
        "are the processor's, megabytes beyond the data.\n\n" + "\n\n".join(tables)
    )
    publish("partitioned", report, arguments.report)


if __name__ == "__main__":
    main()
