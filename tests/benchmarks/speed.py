"""Time and peak memory of the strategies, against a bound that the machine sets.

    python tests/benchmarks/speed.py [--threads 2] [--repeat 3] [--only NAME] [--peers]

Each case runs in a process of its own: data is made, the call is warmed up on a small pool, then
timed through the public API (logits from the linear head included). "beyond data" is the growth of
the peak resident memory during the calls. "cpu" is processor time, which other work on the machine
hardly changes. "bound" is the time of the memory traffic or of the
floating point operations that the case cannot do without, at the rates measured in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from active_learn import ActiveSampler, LinearHead
from report import measured_by


@dataclass(frozen=True)
class Case:
    """One timed call.

    ``gigabytes`` and ``gigaflops`` are the least it can read and compute; ``target`` in seconds.
    """

    n: int
    d: int
    classes: int
    k: int
    strategy: str
    parameters: dict[str, object]
    labeled: int = 0
    target: float | None = None
    gigabytes: float = 0.0
    gigaflops: float = 0.0


def volume_flops(n: int, d: int, classes: int, k: int) -> float:
    """Gigaflops of VeSSAL's exact form: logits, gains, and a column of what has passed a pick.

    Gains condition on half of the picks on average, and half of the pool has passed.
    """
    return 2e-9 * n * (d * classes + k * (d + classes))


def design_flops(n: int, d: int, m: int) -> float:
    """Gigaflops of one candidate-reference Gram matrix."""
    return 2e-9 * n * d * m


FEW: dict[str, object] = {"references": 3000}  # the target's; a pool of 10,000 takes all of them
CASES = {
    "vessal exact 10k": Case(
        10_000, 384, 77, 100, "vessal", {}, gigaflops=volume_flops(10_000, 384, 77, 100)
    ),
    "vessal exact 1M": Case(
        1_000_000,
        384,
        77,
        100,
        "vessal",
        {},
        0,
        8.0,
        gigaflops=volume_flops(1_000_000, 384, 77, 100),
    ),
    "vessal thinned 1M": Case(
        1_000_000, 384, 77, 100, "vessal", {"thinned": True}, 0, 0.4, 4e-9 * 1_000_000 * 384
    ),
    "vessal exact K=1000": Case(
        10_000,
        768,
        1000,
        100,
        "vessal",
        {},
        0,
        0.5,
        gigaflops=volume_flops(10_000, 768, 1000, 100),
    ),
    "logdet 10k": Case(10_000, 384, 77, 100, "logdet", {}, gigaflops=design_flops(6400, 461, 50)),
    "logdet 1M": Case(1_000_000, 384, 77, 100, "logdet", {}, gigaflops=2e-9 * 1_000_000 * 384 * 77),
    "aopt 10k": Case(
        10_000, 384, 77, 100, "aopt", FEW, 300, 0.6, gigaflops=design_flops(10_000, 384, 3000)
    ),
    "aopt 10k, all references": Case(
        10_000, 384, 77, 100, "aopt", {}, 300, gigaflops=design_flops(10_000, 384, 10_000)
    ),
    "aopt 10k, 2000 labeled": Case(
        10_000, 384, 77, 100, "aopt", FEW, 2000, gigaflops=design_flops(10_000, 4384, 3000)
    ),
    "aopt 1M": Case(
        1_000_000, 384, 77, 100, "aopt", {}, 300, 6.0, gigaflops=design_flops(1_000_000, 384, 256)
    ),
    "bait 10k": Case(
        10_000, 384, 77, 100, "bait", {}, 300, gigaflops=design_flops(10_000, 461, 3000)
    ),
    "badge 10k": Case(10_000, 384, 77, 100, "badge", {}, gigabytes=4e-9 * 10_000 * 461 * 100),
    "medoids 10k": Case(
        10_000, 384, 77, 100, "medoids", {}, gigaflops=5 * design_flops(10_000, 384, 100)
    ),
    "typiclust 10k": Case(
        10_000, 384, 77, 100, "typiclust", {}, gigaflops=5 * design_flops(10_000, 384, 100)
    ),
    "kcenter 10k": Case(10_000, 384, 77, 100, "kcenter", {}, gigabytes=4e-9 * 10_000 * 384 * 100),
    "vessal small (published: 9.2 s)": Case(2000, 64, 10, 50, "vessal", {}, 0, 0.0046),
}

PEERS = Path(__file__).with_name("peers.py")


def make_pool(case: Case, n: int) -> np.ndarray:
    """Clustered unit vectors: 200 centers and noise, made in blocks."""
    rng = np.random.default_rng(0)
    centers = rng.normal(size=(200, case.d)).astype(np.float32)
    pool = np.empty((n, case.d), np.float32)
    for start in range(0, n, 50_000):
        block = pool[start : start + 50_000]
        rng.standard_normal(out=block, dtype=np.float32)
        block += centers[rng.integers(200, size=len(block))]
        block /= np.linalg.norm(block, axis=1, keepdims=True)
    return pool


def make_call(case: Case, n: int) -> Callable[[], object]:
    rng = np.random.default_rng(1)
    head = LinearHead(20 * rng.normal(size=(case.classes, case.d)) / case.d**0.5)
    pool = make_pool(case, n)
    labeled = pool[rng.choice(n, case.labeled, replace=False)] if case.labeled else None
    sampler = ActiveSampler(
        "classification",
        head,
        budget=min(case.k, n),
        seed_fisher=True,
        labeled_data=labeled,
        strategy=case.strategy,
        random_state=0,
        **case.parameters,  # type: ignore[arg-type]
    )
    return lambda: sampler.select(pool, return_indices=True)


def reset_peak() -> float:
    """Forget the peak of making the data, and give the resident memory of now, in megabytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak_megabytes()


def peak_megabytes() -> float:
    """Return the peak resident memory since `reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


def run_case(name: str, threads: int, repeat: int) -> dict[str, float]:
    """Time one case in this process; the best of ``repeat``."""
    torch.set_num_threads(threads)
    case = CASES[name]
    make_call(case, max(500, 2 * case.labeled))()
    call = make_call(case, case.n)
    before = reset_peak()
    seconds, cpu = [], []
    for _ in range(repeat):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        seconds.append(time.perf_counter() - start)
        cpu.append(time.process_time() - cpu_start)
    return {"seconds": min(seconds), "cpu": min(cpu), "megabytes": peak_megabytes() - before}


def machine(threads: int) -> dict[str, float]:
    """Measure what bounds are made of: gigabytes read and gigaflops computed in a second."""
    torch.set_num_threads(threads)
    a, x = torch.ones(40_000, 1000), torch.ones(1000)
    b = torch.ones(2000, 2000)

    def best(call: Callable[[], object]) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
        return min(times)

    return {"gigabytes": 0.16 / best(lambda: a @ x), "gigaflops": 16 / best(lambda: b @ b)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--only", help="run the cases whose name contains this")
    parser.add_argument("--peers", action="store_true", help="time other packages too (peers.py)")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(run_case(arguments.case, arguments.threads, arguments.repeat)))
        return
    print(f"{measured_by()}\n")
    rates = machine(arguments.threads)
    print(
        f"{arguments.threads} threads: {rates['gigabytes']:.1f} GB/s, "
        f"{rates['gigaflops']:.0f} GFlop/s in float32"
    )
    print(
        f"{'case':34}{'seconds':>9}{'cpu':>9}{'target':>8}{'bound':>8}"
        f"{'share':>7}{'beyond data':>14}"
    )
    for name, case in CASES.items():
        if arguments.only and arguments.only not in name:
            continue
        command = [sys.executable, __file__, "--case", name]
        command += ["--threads", str(arguments.threads), "--repeat", str(arguments.repeat)]
        # Threads that spin while they wait take the cores from each other on a busy machine.
        environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            print(f"{name:34} failed: {done.stderr.strip().splitlines()[-1]}")
            continue
        result = json.loads(done.stdout)
        bound = case.gigabytes / rates["gigabytes"] + case.gigaflops / rates["gigaflops"]
        target = f"{case.target:.4g}" if case.target else ""
        print(
            f"{name:34}{result['seconds']:9.4f}{result['cpu']:9.4f}{target:>8}{bound:8.4f}"
            f"{bound / result['seconds']:7.0%}{result['megabytes']:11.0f} MB"
        )

    if arguments.peers:
        print(flush=True)
        subprocess.run([sys.executable, str(PEERS)], check=True)


if __name__ == "__main__":
    main()
