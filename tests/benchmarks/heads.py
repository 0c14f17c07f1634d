"""Heads: processor seconds to train, how near to the processor's limit, and how well calibrated.

    python tests/benchmarks/heads.py --only time
    python tests/benchmarks/heads.py --report FILE     # a Markdown file with marks for it

Times are on one BLAS thread, as in a round. The limit counts only the two matrix products of each
evaluation of the objective, at the speed of such a product alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from active_learn.heads import MultinomialHead, TrainedHead, fit_head, logistic
from active_learn.heads.hyperparameters import probabilities
from real_data import DATASETS, Data, Missing
from report import add_report_option, measured_by, publish
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

BINS = 15
CALIBRATED_ON = {
    "banking77": (150, 400, 1000, 4000, 8000),
    "digits": (40, 100, 300, 1000),
    "mnist": (50, 150, 500, 2000),
}
SEEDS = 5
# scikit-learn's own 1e-4 leaves probabilities 5 to 25 times as far from the optimum as ours are.
PEER_TOLERANCE = 1e-5


def names_of(y: np.ndarray) -> list[str]:
    return [f"class {label}" for label in y]


def fit(X: np.ndarray, y: np.ndarray, offered: list[str], **options: Any) -> TrainedHead:
    problem_type = options.pop("problem_type", "classification")
    labels = names_of(y) if problem_type == "classification" else options.pop("labels")
    head = fit_head(problem_type, offered, X, labels, **({"round": 1} | options))
    if head is None:
        raise SystemExit("too few labels to train on")
    return head


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor seconds of a call, which other work changes little, and its result."""
    began = time.process_time()
    result = action()
    return time.process_time() - began, result


# -- time ---------------------------------------------------------------------------------------


def synthetic(n: int, d: int, n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit rows around centres, as hard as texts are: about one in ten cannot be told apart."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(n_classes, d))
    y = np.arange(n) % n_classes
    rows = centers[y] + 3.0 * rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), y


def time_of_training(title: str, X: np.ndarray, y: np.ndarray, n_new: int = 20) -> str:
    """Time a first training, one without folds, and one with a few labels more."""
    offered = sorted(set(names_of(y)))
    evaluations: list[int] = []
    call = logistic._Objective.__call__

    def counted(self: Any, flat: np.ndarray) -> Any:
        evaluations.append(len(self.design) * self.design.shape[1] * self.targets.shape[1])
        return call(self, flat)

    logistic._Objective.__call__ = counted  # type: ignore[method-assign]
    former = fit(X[:-n_new], y[:-n_new], offered)
    cold, head = timed(lambda: fit(X, y, offered))
    evaluations.clear()
    alone, _ = timed(lambda: head.refit(X, names_of(y)))
    flops = 4 * sum(evaluations)
    n_evaluations = len(evaluations)
    warm, _ = timed(lambda: fit(X, y, offered, former=former))
    logistic._Objective.__call__ = call  # type: ignore[method-assign]
    spread = np.square(X - X.mean(axis=0)).sum(axis=1).mean()
    inverse_penalty = head.metadata.hyperparameters.inverse_penalty / spread
    peer = LogisticRegression(C=inverse_penalty, max_iter=1000, tol=PEER_TOLERANCE)
    reference, _ = timed(lambda: peer.fit(X, y))
    speed = product_speed(len(X), X.shape[1], len(offered))
    return (
        f"| {title} | {len(X):,} x {X.shape[1]} x {len(offered)} | {cold:.2f} | {alone:.2f} "
        f"| {warm:.2f} | {n_evaluations} | {flops / 1e9 / speed:.2f} | {reference:.2f} |"
    )


def product_speed(n: int, d: int, k: int) -> float:
    """Measure GFLOP a second of the products of these shapes, alone."""
    rng = np.random.default_rng(0)
    rows, weight = (rng.normal(size=shape).astype(np.float32) for shape in ((n, d), (k, d)))
    outputs = rows @ weight.T
    seconds = min(timed(lambda: (rows @ weight.T, outputs.T @ rows))[0] for _ in range(5))
    return 4 * n * d * k / seconds / 1e9


def time_of_other_kinds() -> str:
    """Time 10,000 rows of multilabel and of regression."""
    X, y = synthetic(10_000, 384, 20)
    labels = [[f"class {k}", f"class {(k * 7) % 20}"] for k in y]
    offered = [f"class {k}" for k in range(20)]
    options: dict[str, Any] = {"problem_type": "multilabel", "labels": labels}
    cold, head = timed(lambda: fit(X, y, offered, **options))
    alone, _ = timed(lambda: head.refit(X, labels))
    numbers = list(X @ np.random.default_rng(1).normal(size=384))
    ridge, _ = timed(lambda: fit_head("regression", (), X, numbers, round=1))
    return (
        f"Multilabel, 10,000 x 384 x 20: {cold:.2f} s first, {alone:.2f} s without folds. "
        f"Regression, 10,000 x 384, 13 penalties by leave-one-out: {ridge:.2f} s."
    )


def time_report() -> str:
    lines = [
        "| data | n x d x K | first, s | no folds, s | 20 more labels, s | evaluations "
        "| limit, s | scikit-learn, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    cases = {"synthetic": synthetic(10_000, 384, 77)}
    try:
        data = DATASETS["banking77"]()
        order = np.random.default_rng(0).permutation(len(data.y))
        cases |= {
            "banking77, MiniLM": (data.X[order[:10_000]], data.y[order[:10_000]]),
            "banking77, MiniLM, few": (data.X[order[:1000]], data.y[order[:1000]]),
        }
    except Missing as reason:
        print(f"banking77: skipped, {reason}")
    for title, (X, y) in cases.items():
        lines.append(time_of_training(title, X, y))
        print(lines[-1], flush=True)
    return (
        "Processor seconds. First: penalty and temperature by 3 penalties on 3 folds (one of them "
        "with 10,000 labels: 3,333 held out are enough), then the head. No folds: the head alone, "
        "from nothing. 20 more labels: as in most rounds, from the former head. Limit: the matrix "
        "products of those evaluations without folds, at the speed of such products alone. "
        "scikit-learn: its logistic regression at the same penalty and precision, no folds."
        "\n\n" + "\n".join(lines) + f"\n\n{time_of_other_kinds()}"
    )


# -- calibration --------------------------------------------------------------------------------


def calibration_error(shares: np.ndarray, right: np.ndarray) -> float:
    """Expected calibration error of the likeliest class, 15 bins (Guo et al., ICML 2017)."""
    sure = shares.max(axis=1)
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [abs((right - sure)[bins == k].sum()) for k in range(BINS)]
    return float(sum(gaps) / len(sure))


def log_loss(shares: np.ndarray, truth: np.ndarray, classes: tuple[str, ...]) -> float:
    """Mean negative log-likelihood over the rows whose class the head knows."""
    place = {name: at for at, name in enumerate(classes)}
    columns = np.array([place.get(name, -1) for name in truth])
    rows = np.flatnonzero(columns >= 0)
    return float(-np.log(np.maximum(shares[rows, columns[rows]], 1e-12)).mean())


def calibration_of(data: Data, n: int, seed: int) -> list[float]:
    """Accuracy, then ECE and log loss before and after; on rows that train nothing."""
    order = np.random.default_rng(seed).permutation(len(data.y))
    test = order[: len(order) // 3] if data.test is None else data.test
    train = order[~np.isin(order, test)][:n]
    truth = np.array(names_of(data.y[test]))
    head = fit(data.X[train], data.y[train], sorted(set(names_of(data.y))))
    assert isinstance(head, MultinomialHead)
    calibrated = head.outputs(data.X[test])
    raw = calibrated * head.metadata.hyperparameters.temperature
    right = np.array(head.classes)[raw.argmax(axis=1)] == truth
    found = [float(right.mean()), head.metadata.hyperparameters.temperature]
    for logits in (raw, calibrated):
        shares = probabilities(logits, "softmax")
        found += [calibration_error(shares, right), log_loss(shares, truth, head.classes)]
    return found


def calibration_report() -> str:
    lines = [
        "| data | labels | accuracy | temperature | ECE before | after | log loss before | after |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, counts in CALIBRATED_ON.items():
        try:
            data = DATASETS[name]()
        except Missing as reason:
            print(f"{name}: skipped, {reason}")
            continue
        for n in counts:
            found = np.array([calibration_of(data, n, seed) for seed in range(SEEDS)])
            accuracy, temperature, error, loss, error_after, loss_after = found.mean(axis=0)
            lines.append(
                f"| {name} | {n} | {100 * accuracy:.1f} % | {temperature:.2f} | {error:.3f} "
                f"| {error_after:.3f} | {loss:.3f} | {loss_after:.3f} |"
            )
            print(lines[-1], flush=True)
    return (
        f"Calibration on held-out tasks, labels drawn at random, means over {SEEDS} seeds. ECE: "
        f"expected calibration error of the answer's score, {BINS} bins. Log loss: over the tasks "
        "of classes that have a label.\n\n" + "\n".join(lines)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=("time", "calibration"), help="both when omitted")
    add_report_option(parser)
    arguments = parser.parse_args()
    threadpool_limits(1)  # for the rest of the process
    parts = {"time": time_report, "calibration": calibration_report}
    made = [make() for name, make in parts.items() if arguments.only in (None, name)]
    report = f"{measured_by()}.\n\n"
    report += "\n\n".join(made)
    publish("heads", report, arguments.report)


if __name__ == "__main__":
    main()
