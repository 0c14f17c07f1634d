"""How much faster a selection is than at an earlier commit: both sides in turns, in one run.

    python tests/benchmarks/speed_change.py [--before COMMIT] [--only NAME] [--report FILE]

The library at COMMIT (that of the published table when omitted) is written to a temporary folder.
Each turn runs a case in a process of its own per side, on one thread, and counts processor seconds,
which other work on the machine changes little. The table holds the medians and their ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from active_learn import ActiveSampler, LinearHead
from report import add_report_option, measured_by, publish
from speed import CASES, Case, design_flops, make_call

ROOT = Path(__file__).resolve().parents[2]
LEAST_SECONDS = 0.05  # shorter calls are repeated up to it


@dataclass(frozen=True)
class Row:
    """One case: ``make`` returns the timed call. ``gigaflops`` are the least it can compute.

    ``aim`` is how many times faster it was to get.
    """

    make: Callable[[], Callable[[], object]]
    aim: float
    gigaflops: float
    samples: int = 1  # seconds are divided by it


def stream(start: int, samples: int = 500) -> Callable[[], object]:
    """Return the call that decides on samples of a stream, ``start`` of which have passed."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(start + samples, 16)).astype(np.float32)
    head = LinearHead(rng.normal(size=(3, 16)))
    sampler = ActiveSampler("classification", head, 0.5, random_state=0)
    list(sampler.select(iter(rows[:start])))
    return lambda: list(sampler.select(iter(rows[start:])))


def linear_module() -> Callable[[], object]:
    """Return the call that ranks embeddings under a module that is one linear layer."""
    pool = np.random.default_rng(0).standard_normal((200_000, 384), dtype=np.float32)
    module = torch.nn.Linear(384, 77)
    sampler = ActiveSampler("classification", module, 100, strategy="margin", random_state=0)
    return lambda: sampler.select(pool)


def pool(case: Case) -> Callable[[], Callable[[], object]]:
    """Return what makes the call of a case of `speed.py`, with the same call on less behind it."""

    def make() -> Callable[[], object]:
        make_call(case, max(500, 2 * case.labeled))()
        return make_call(case, case.n)

    return make


SAMPLE_OF_768 = design_flops(6_000, 768, 3_000)  # half of a symmetric product
LARGE, COLD = (Case(100_000, 768, 77, 100, "auto", {}, labeled) for labeled in (300, 0))
ROWS = {
    "stream, rate .5, 500 kept before, a sample": Row(lambda: stream(1000), 17, 0, 500),
    "stream, rate .5, 1,750 kept before, a sample": Row(lambda: stream(3500), 17, 0, 500),
    "stream, rate .5, the first 2,000 of 20,000, a sample": Row(
        lambda: stream(0, 2000), 1, 0, 2000
    ),
    "stream, rate .5, the last 2,000 of 20,000, a sample": Row(
        lambda: stream(18_000, 2000), 1, 0, 2000
    ),
    "`nn.Linear`, 200,000 x 384, margin": Row(linear_module, 5.2, 2e-9 * 200_000 * 384 * 77),
    "`aopt`, 10,000 x 384, all references, 300 labeled": Row(
        pool(CASES["aopt 10k, all references"]), 1.8, design_flops(10_000, 384, 5_000)
    ),
    "`aopt`, 10,000 x 384, 3,000 references, 300 labeled": Row(
        pool(CASES["aopt 10k"]), 1.7, design_flops(10_000, 384, 3000)
    ),
    "`aopt`, 10,000 x 384, 3,000 references, 2,000 labeled": Row(
        pool(CASES["aopt 10k, 2000 labeled"]), 3.3, design_flops(10_000, 384 + 500, 3000)
    ),
    "`auto`, 100,000 x 768, 300 labeled": Row(pool(LARGE), 2.2, SAMPLE_OF_768),
    "`auto`, 100,000 x 768, no labels": Row(pool(COLD), 4.1, SAMPLE_OF_768),
    "`aopt`, 1,000,000 x 384, 300 labeled": Row(pool(CASES["aopt 1M"]), 1.8, SAMPLE_OF_768 / 2),
    "`vessal`, 2,000 x 640 gradients, k = 50": Row(
        pool(CASES["vessal small (published: 9.2 s)"]), 2.1, 0
    ),
}


def seconds(name: str) -> float:
    """Return the processor seconds of a case in this process, the median of short calls."""
    torch.set_num_threads(1)
    call = ROWS[name].make()
    times: list[float] = []
    while sum(times) < LEAST_SECONDS:
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return median(times) / ROWS[name].samples


def gigaflops() -> float:
    """Return what a large product computes in a processor second."""
    torch.set_num_threads(1)
    matrix = torch.ones(2000, 2000)
    times = []
    for _ in range(7):
        start = time.process_time()
        matrix @ matrix
        times.append(time.process_time() - start)
    return 16 / min(times)


def turn(name: str, side: Path) -> float:
    """Return the processor seconds of a case in a process with the library of one side."""
    path = os.pathsep.join([str(side / "sampler"), str(ROOT / "backend")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--case", name],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(f"{name} failed: {done.stderr.strip()}")
    return float(json.loads(done.stdout))


def earlier(commit: str, folder: Path) -> Path:
    """Write the library of a commit to a folder."""
    archive = folder / "sampler.tar"
    command = ["git", "archive", "--output", str(archive), commit, "sampler"]
    subprocess.run(command, cwd=ROOT, check=True)
    subprocess.run(["tar", "-xf", str(archive), "-C", str(folder)], check=True)
    return folder


def lines(before: Path, only: str | None, turns: int) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| work | before, CPU s | now, CPU s | times faster | aim | products alone, s |"
    yield "|---|---|---|---|---|---|"
    rate = gigaflops()
    for name, row in ROWS.items():
        if only and only not in name:
            continue
        pairs = [(turn(name, before), turn(name, ROOT)) for _ in range(turns)]
        old, new = (median(side) for side in zip(*pairs, strict=True))
        bound = f"{row.gigaflops / rate:.2g}" if row.gigaflops else "–"
        line = f"| {name} | {old:.2g} | {new:.2g} | {old / new:.2g} | {row.aim:g} | {bound} |"
        print(line, flush=True)
        yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--before", metavar="COMMIT", default="97d84d5", help="what is compared with: %(default)s"
    )
    parser.add_argument("--only", help="run the cases whose name contains this")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--case", choices=ROWS, help=argparse.SUPPRESS)
    add_report_option(parser)
    arguments = parser.parse_args()
    if arguments.case:
        print(json.dumps(seconds(arguments.case)))
        return
    with tempfile.TemporaryDirectory() as folder:
        before = earlier(arguments.before, Path(folder))
        table = list(lines(before, arguments.only, arguments.turns))
    text = f"{measured_by()}, one thread, medians of {arguments.turns} turns.\n\n"
    publish("speed change", text + "\n".join(table), arguments.report)


if __name__ == "__main__":
    main()
