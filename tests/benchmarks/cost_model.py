"""The cost model of embedding and selection on many machines: flops, bytes, network.

Nothing here is measured but what `Measured` holds; the rest is stated as an assumption, and what
comes out is a prediction. backend/docs/scaling.md explains the formulas.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Measured", "predict"]

FEATURES, REFERENCES, COARSE_REFERENCES = 384, 3000, 256
PARTITION_ROWS, PROPOSED, BATCH = 100_000, 200, 50
TOKENS = 16  # of a text of banking77
# MiniLM: 6 layers of 384 with 1,536 in between, two flops a weight and token.
FLOPS_A_TEXT = 2 * TOKENS * 6 * (4 * 384**2 + 2 * 384 * 1536)
# Assumptions, of a machine with one GPU of the A10 class and 16 cores.
GPU_FLOPS = 31e12  # float32
GPU_SHARE = 0.3  # of it, reached on short texts
TOKENIZED = 4_000.0  # texts a second and core
CORES = 16
NETWORK = 1.25e9  # bytes a second, 10 Gbit/s
CPU_FLOPS = 30e9  # float32, a core, of what a ranking does


@dataclass
class Measured:
    """What the benchmark measured on this machine."""

    select: dict[tuple[int, int], float] = field(default_factory=dict)
    texts_per_second: dict[int, float] = field(default_factory=dict)
    read_per_second: dict[int, float] = field(default_factory=dict)
    seconds_per_task: float = 0.0
    bytes_per_task: float = 0.0


def predict(found: Measured, n: int) -> str:
    """Say what follows for n texts on 1, 4 and 16 machines with a GPU."""
    reading = n / max(found.read_per_second.values())
    partitions = -(-n // PARTITION_ROWS)
    union = partitions * PROPOSED
    lines = [
        f"Prediction for {n:,} texts of {TOKENS} tokens, MiniLM in float32 "
        f"({FLOPS_A_TEXT / 1e6:.0f} Mflop a text)",
        "",
        "| machines | embedding, GPUs | tokenizing | shards to the backend | all, from files "
        "| all, from Label Studio | ranking | vectors to the workers |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for machines in (1, 4, 16):
        gpu = n * FLOPS_A_TEXT / (machines * GPU_FLOPS * GPU_SHARE)
        tokenizing = n / (machines * CORES * TOKENIZED)
        shards = n * (2 * FEATURES + 16) / NETWORK
        files = max(gpu, tokenizing, shards)
        vectors = 2 * FEATURES * n / NETWORK
        coarse = 2 * n * COARSE_REFERENCES * FEATURES
        fine = partitions * 2 * (2 * PROPOSED) * REFERENCES * (FEATURES + PROPOSED)
        last = 2 * min(union, 10_000) * REFERENCES * (FEATURES + PROPOSED)
        ranking = max((coarse + fine) / (machines * CORES * CPU_FLOPS), vectors) + last / CPU_FLOPS
        shown = (gpu, tokenizing, shards, files, max(files, reading), ranking, vectors)
        lines.append(f"| {machines} | " + " | ".join(map(_time, shown)) + " |")
    lines += [
        "",
        f"The backend's own machine, whatever the cluster: {_time(n * found.seconds_per_task)} and "
        f"{n * found.bytes_per_task / 2**30:.1f} GiB a round; cache on disk "
        f"{n * (2 * FEATURES + 16) / 2**30:.1f} GiB.",
    ]
    return "\n".join(lines)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
