"""Regression: the error of two heads that can bend, against that with labels drawn at random.

    python tests/benchmarks/regression.py --report sampler/docs/strategies.md

The order of labeling in regression does not depend on the head, so both heads read the same order:
kernel ridge regression, and ridge regression on 256 random cosines, each with its width and penalty
by leave-one-out.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from active_learn import ActiveSampler, LabeledData, LinearHead
from real_data import DATASETS
from report import add_report_option, measured_by, publish
from sklearn.preprocessing import StandardScaler
from tabular import TABLES
from threadpoolctl import threadpool_limits

BATCH, ROUNDS, POOL, TEST = 20, 10, 1000, 400
WIDTHS = (0.5, 1.0, 2.0, 4.0)  # in units of the root mean square distance
PENALTIES = np.logspace(-6, 1, 8)
FEATURES = 256


@dataclass(frozen=True)
class Plan:
    """A strategy with its parameters."""

    strategy: str
    parameters: dict[str, Any] = field(default_factory=dict)


PLANS = {
    "auto": Plan("auto"),
    "auto, λ = 0.1": Plan("auto", {"ridge": 0.1}),
    "auto, seed_fisher=False": Plan("auto", {"seed_fisher": False}),
    "coverage": Plan("coverage"),
    "medoids": Plan("medoids"),
    "bait": Plan("bait"),
    "kcenter": Plan("kcenter"),
    "random": Plan("random"),
}


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features and labels, both in units of their standard deviation."""
    if name in TABLES:
        X, y = TABLES[name]()
        X = StandardScaler().fit_transform(X)
    else:
        data = DATASETS[name]()
        X, y = data.X, data.y
    return X.astype(np.float32), (y - y.mean()) / y.std()


def order_of(plan: Plan, X: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """Return the positions in a pool in the order of labeling."""
    labeled = np.empty(0, dtype=np.int64)
    for step in range(ROUNDS):
        known = LabeledData(X[labeled], y[labeled]) if len(labeled) else None
        sampler = ActiveSampler(
            "regression", LinearHead.untrained(1, X.shape[1]), BATCH, labeled_data=known,
            random_state=1000 * seed + step, strategy=plan.strategy,
            **{"seed_fisher": True, **plan.parameters},
        )  # fmt: skip
        left = np.setdiff1d(np.arange(len(X)), labeled)
        labeled = np.concatenate([labeled, left[sampler.rank(X[left], BATCH).indices]])
    return labeled


def kernel_ridge(X: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict by kernel ridge regression with a Gaussian kernel."""
    squares = distances(X, X)
    spread = squares.mean() or 1.0
    across = distances(test, X)
    return fitted(
        [
            (np.exp(-squares / (2 * w * w * spread)), np.exp(-across / (2 * w * w * spread)))
            for w in WIDTHS
        ],
        y,
    )


def cosine_ridge(X: np.ndarray, y: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Predict by ridge regression on random cosines."""
    rng = np.random.default_rng(0)
    directions, phases = (
        rng.normal(size=(X.shape[1], FEATURES)),
        rng.uniform(0, 2 * np.pi, FEATURES),
    )
    spread = distances(X, X).mean() ** 0.5 or 1.0
    made = []
    for width in WIDTHS:
        own, others = (
            np.cos(rows @ (directions / (width * spread)) + phases) * (2 / FEATURES) ** 0.5
            for rows in (X, test)
        )
        made.append((own @ own.T, others @ own.T))
    return fitted(made, y)


def fitted(grams: list[tuple[np.ndarray, np.ndarray]], y: np.ndarray) -> np.ndarray:
    """Predict by the Gram matrix and penalty with the least leave-one-out error."""
    best, answer = np.inf, np.empty(0)
    mean = y.mean()
    for own, across in grams:
        values, axes = np.linalg.eigh(own)
        rotated = axes.T @ (y - mean)
        for penalty in PENALTIES:
            shrink = 1 / (np.maximum(values, 0) + penalty)
            dual = axes @ (shrink * rotated)
            error = np.mean(np.square(dual / ((axes * axes) @ shrink)))
            if error < best:
                best, answer = error, across @ dual + mean
    return answer


def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return squared distances."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T
    return np.maximum(squares, 0)


HEADS = {"kernel ridge": kernel_ridge, "256 cosines": cosine_ridge}


def areas(X: np.ndarray, y: np.ndarray, plans: list[Plan], seed: int) -> np.ndarray:
    """Return the mean error over the label counts, by plan and head."""
    rows = np.random.default_rng(seed).permutation(len(X))
    n_test = min(TEST, len(X) // 4)
    test, pool = rows[:n_test], rows[n_test:][:POOL]
    found = np.empty((len(plans), len(HEADS)))
    for at, plan in enumerate(plans):
        order = pool[order_of(plan, X[pool], y[pool], seed)]
        for head, predict in enumerate(HEADS.values()):
            errors = []
            for step in range(1, ROUNDS + 1):
                labeled = order[: step * BATCH]
                answers = predict(X[labeled], y[labeled], X[test])
                errors.append(np.sqrt(np.mean(np.square(answers - y[test]))))
            found[at, head] = np.mean(errors)
    return found


def change(found: np.ndarray, base: np.ndarray) -> tuple[float, float]:
    """Return the change of a mean over seeds in percent of the base's, and its standard error."""
    ratio = 100 * (found - base) / base.mean()
    return float(ratio.mean()), float(ratio.std(ddof=1) / len(ratio) ** 0.5)


def report(results: dict[str, np.ndarray], plans: list[str]) -> str:
    """Write a table for each head, and whether `auto` is anywhere worse than random."""
    lines: list[str] = []
    shown = [plan for plan in plans if plan != "random"]
    worse = []
    for at, head in enumerate(HEADS):
        lines += ["", f"{head}:", "", f"| table | {' | '.join(shown)} | random |"]
        lines.append("|---" * (len(shown) + 2) + "|")
        means = dict.fromkeys(shown, 0.0)
        for case, found in results.items():
            base = found[:, plans.index("random"), at]
            cells = []
            for plan in shown:
                mean, error = change(found[:, plans.index(plan), at], base)
                cells.append(f"{mean:+.1f} ± {error:.1f}")
                means[plan] += mean / len(results)
                if plan == "auto" and mean > 2 * error:
                    worse.append(f"{case} by {mean:.1f} ± {error:.1f} % ({head})")
            lines.append(f"| {case} | {' | '.join(cells)} | {base.mean():.3f} |")
        lines.append(f"| mean | {' | '.join(f'{mean:+.1f}' for mean in means.values())} | - |")
    verdict = f"MISS on {', '.join(worse)}" if worse else "pass"
    return "\n".join([*lines, "", f"- `auto` nowhere worse than random by 2 s.e.: {verdict}"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", default=list(TABLES), help="tables, or 'stsb'")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--plans", nargs="+", choices=list(PLANS), default=list(PLANS))
    add_report_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    names = list(dict.fromkeys([*arguments.plans, "random"]))
    results = {}
    for case in arguments.cases:
        began = time.perf_counter()
        X, y = load(case)
        results[case] = np.array(
            [areas(X, y, [PLANS[name] for name in names], seed) for seed in range(arguments.seeds)]
        )
        print(f"{case}: {time.perf_counter() - began:.0f} s", flush=True)
        print(report({case: results[case]}, names), flush=True)
    text = (
        f"{measured_by()}, {arguments.seeds} paired seeds, one thread. {BATCH} labels a batch, to "
        f"{BATCH * ROUNDS}, from a pool of up to {POOL:,}. Each cell: the error (RMSE, mean over "
        "the label counts) against random's, in percent ± one standard error; below 0 is better. "
        "The last column: random's error, in standard deviations of the label.\n"
    )
    publish("regression", text + report(results, names), arguments.report)


if __name__ == "__main__":
    main()
