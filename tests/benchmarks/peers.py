"""Processor seconds and memory of the same selections by other libraries, each in its own process.

    pip install --target .cache/peers --no-deps active-learn==0.0.0 scikit-activeml makefun
    python tests/benchmarks/peers.py

``.cache/peers`` is the environment of its own that the published ``active_learn`` needs: it bears
the name of our package. Its CUDA calls are made no-ops. One thread each.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from report import add_report_option, measured_by, publish

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".cache" / "peers"
OURS = ROOT / "sampler"
N_LABELED = 300
LIMIT = 300  # processor seconds of one contender


@dataclass(frozen=True)
class Workload:
    """N candidates with embeddings of size d, K classes, k to choose."""

    n: int
    d: int
    n_classes: int
    k: int

    def __str__(self) -> str:
        return f"N = {self.n:,}, d = {self.d}, K = {self.n_classes}, k = {self.k}"


@dataclass(frozen=True)
class Data:
    """Candidates, labeled samples and a head, the same in every process."""

    X: np.ndarray
    X_labeled: np.ndarray
    y_labeled: np.ndarray
    weight: np.ndarray


Prepare = Callable[[Data, Workload], Callable[[], Any]]  # gives the call that is timed


def make_data(load: Workload) -> Data:
    """Draw clusters on the unit sphere, and the head that their centres make."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(load.n_classes, load.d)).astype(np.float32)
    y = np.arange(load.n + N_LABELED) % load.n_classes
    X = centres[y] + rng.normal(scale=1.5, size=(len(y), load.d)).astype(np.float32)
    X /= np.linalg.norm(X, axis=1, keepdims=True)
    weight = 5 * centres / np.linalg.norm(centres, axis=1, keepdims=True)
    return Data(X[N_LABELED:], X[:N_LABELED], y[:N_LABELED], weight)


def ours(
    strategy: str, n_labeled: int = N_LABELED
) -> Callable[[Data, Workload], Callable[[], Any]]:
    def prepare(data: Data, load: Workload) -> Callable[[], Any]:
        from active_learn import ActiveSampler, LinearHead

        sampler = ActiveSampler(
            "classification", LinearHead(data.weight), load.k, seed_fisher=n_labeled > 1,
            labeled_data=data.X_labeled[:n_labeled], strategy=strategy, random_state=0,
        )  # fmt: skip
        return lambda: sampler.select(data.X, return_indices=True)[1]

    return prepare


def scikit_activeml(name: str) -> Prepare:
    def prepare(data: Data, load: Workload) -> Callable[[], Any]:
        from skactiveml import pool
        from skactiveml.classifier import SklearnClassifier
        from sklearn.linear_model import LogisticRegression

        X = np.concatenate([data.X_labeled, data.X])
        y = np.concatenate([data.y_labeled.astype(float), np.full(len(data.X), np.nan)])
        strategy = getattr(pool, name)(random_state=0)
        arguments: dict[str, Any] = {"batch_size": load.k}
        if name == "Badge":
            model = SklearnClassifier(LogisticRegression(), classes=range(load.n_classes))
            arguments |= {"clf": model.fit(X, y), "fit_clf": False}
        return lambda: strategy.query(X, y, **arguments)

    return prepare


def published(data: Data, load: Workload) -> Callable[[], Any]:
    import torch
    from active_learn import ActiveSampler

    torch.Tensor.cuda = lambda self, *_, **__: self
    torch.nn.Module.cuda = lambda self, *_, **__: self

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(load.d, load.n_classes, bias=False)
            self.linear.weight.data = torch.tensor(data.weight)

        def get_embedding_dim(self) -> int:
            return load.d

        def get_outputs_and_embeddings(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return self.linear(x), x

    np.random.seed(0)  # its only source of randomness
    sampler = ActiveSampler("classification", Model(), load.k, labeled_data=data.X_labeled[:1])
    return lambda: sampler.select(data.X)


CONTENDERS: dict[str, tuple[Path, Prepare]] = {
    "ours: badge": (OURS, ours("badge")),
    "scikit-activeml: Badge": (PEERS, scikit_activeml("Badge")),
    "ours: kcenter": (OURS, ours("kcenter")),
    "scikit-activeml: CoreSet": (PEERS, scikit_activeml("CoreSet")),
    "ours: typiclust": (OURS, ours("typiclust")),
    "scikit-activeml: TypiClust": (PEERS, scikit_activeml("TypiClust")),
    "ours: coverage": (OURS, ours("coverage")),
    "scikit-activeml: MaxHerding": (PEERS, scikit_activeml("MaxHerding")),
    "ours: auto": (OURS, ours("auto")),
    "scikit-activeml: ProbCover": (PEERS, scikit_activeml("ProbCover")),
    # The published package conditions on nothing: its seeding prefers what is labeled already.
    "ours: vessal": (OURS, ours("vessal", n_labeled=1)),
    "published active_learn 0.0.0": (PEERS, published),
}
VESSAL = ("ours: vessal", "published active_learn 0.0.0")
PLAN = [
    (Workload(2000, 384, 77, 100), [name for name in CONTENDERS if name not in VESSAL]),
    (Workload(10000, 384, 77, 100), [name for name in CONTENDERS if name not in VESSAL]),
    (Workload(2000, 64, 10, 50), list(VESSAL)),
]


def measure(name: str, load: Workload) -> dict[str, float]:
    """Return the processor seconds of the fastest of up to ten selections in this process."""
    from threadpoolctl import threadpool_limits

    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 5))
    threadpool_limits(1)
    with contextlib.suppress(ImportError):
        import torch

        torch.set_num_threads(1)
    select = CONTENDERS[name][1](make_data(load), load)
    before = peak_megabytes()
    seconds = []
    while len(seconds) < 10 and sum(seconds) < 10:
        began = time.process_time()
        chosen = select()
        seconds.append(time.process_time() - began)
    if len(chosen) != load.k:
        raise SystemExit(f"{name} chose {len(chosen)} of {load.k}")
    return {"seconds": min(seconds), "megabytes": peak_megabytes() - before}


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_apart(name: str, load: Workload) -> dict[str, float] | str:
    """Measure in a fresh process; give the reason where there is no result."""
    home = CONTENDERS[name][0]
    if not home.exists():
        return "not installed, see the head of this file"
    command = [sys.executable, __file__, "--child", name]
    command += [str(value) for value in (load.n, load.d, load.n_classes, load.k)]
    environment = {**os.environ, "PYTHONPATH": str(home), "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        if error.returncode == -signal.SIGXCPU:
            return f"over {LIMIT}"
        lines = error.stderr.strip().splitlines()
        return f"failed: {lines[-1] if lines else error.returncode}"
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def versions() -> str:
    """Return the names of the peers that are installed, with their versions."""
    found = sorted(PEERS.glob("*.dist-info"))
    return ", ".join(" ".join(path.stem.split("-", 1)) for path in found) or "no peers"


def table(load: Workload, names: list[str]) -> str:
    """Return the table of one workload."""
    lines = [f"{load}:\n", "| selection | CPU s | MB beyond the data |", "|---|---|---|"]
    for name in names:
        result = run_apart(name, load)
        if isinstance(result, str):
            told = f"{result} | -"
        else:
            told = f"{result['seconds']:.4f} | {result['megabytes']:.0f}"
        lines.append(f"| {name} | {told} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=10_000, help="leave out pools larger than that")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    add_report_option(parser)
    arguments = parser.parse_args()
    if arguments.child:
        name, *numbers = arguments.child
        print(json.dumps(measure(name, Workload(*map(int, numbers)))))
        return
    tables = [table(load, names) for load, names in PLAN if load.n <= arguments.most]
    text = f"{measured_by()}, {versions()}, one thread, the fastest of up to ten calls."
    publish("peers", "\n\n".join([text, *tables]), arguments.report)


if __name__ == "__main__":
    main()
