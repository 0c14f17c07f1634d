"""Selection from a stream: each sample is kept or passed for good, at a controlled rate.

Keeping is random, with probability ``min(1, c · s^β)``: s is the strategy's score of the sample and
c makes the mean over the most recent scores equal to the target rate. The target rate is corrected
by the number kept so far, so that the rate holds when the stream drifts. All decisions depend on
earlier samples only, in steps of 64 positions of the stream, and not on its batches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from ..errors import DataError
from ..models import ModelOutput
from ..selectors.reservoir import reservoir_slots
from ..selectors.stream_scorers import Scorer
from .rate_control import RateController

__all__ = ["Stream"]

CHUNK = 64
WINDOW = 512


class Stream:
    """A stream in progress: its known samples, its references, its rate.

    Parameters
    ----------
    build : callable
        Returns the strategy's scorer for embeddings of some root mean square norm.
    controller : RateController
    rng : numpy.random.Generator
    known : ModelOutput, optional
        Labeled data to condition on.
    max_conditioned : int
        Bound on the known samples; above it, pivoted Cholesky chooses three quarters of the bound.
        Checked every 64 samples.
    centers : bool
        Subtract the mean embedding of the known samples and the first 64 from all.

    Notes
    -----
    Memory: (max_conditioned + references + 64) (d + K) numbers and the factors over
    max_conditioned, whatever the length of the stream.
    """

    def __init__(
        self,
        build: Callable[[float], Scorer],
        controller: RateController,
        rng: np.random.Generator,
        known: ModelOutput | None,
        max_conditioned: int,
        *,
        centers: bool = False,
    ) -> None:
        self._centers = centers
        self._center: torch.Tensor | None = None
        self.controller = controller
        self._build = build
        self._rng = rng
        self._known = [] if known is None else [known]
        self._max_conditioned = max_conditioned
        self._references: ModelOutput | None = None
        self._chunk: list[ModelOutput] = []
        self._chunk_scores: list[float] = []
        self._scale = 0.0
        self._scorer: Scorer | None = None
        self._block: ModelOutput | None = None
        self._scores: list[float] = []

    def offer(self, output: ModelOutput) -> Iterator[int]:
        """Decide on a batch, sample by sample, and yield the positions of those that are kept.

        At each position, the state is that right after its decision.
        """
        start, n = 0, len(output)
        while start < n and not self.controller.done:
            stop = min(n, start + CHUNK - len(self._chunk))
            for position in self._decide(output[start:stop]):
                yield start + position
            start = stop

    def resume(self, past: ModelOutput, seen: int, kept: int) -> None:
        """Go on behind samples that were decided already, such as under an earlier model.

        Parameters
        ----------
        past : ModelOutput
            Of a uniform sample of them, by the present model; more than the stream needs are
            thinned. What was kept of them is known already.
        seen, kept : int
            How many were decided, and kept.

        Raises
        ------
        DataError
            When they are too few to stand for the past.
        """
        needed = self._past_needed(seen)
        if len(past) < needed:
            raise DataError(
                f"{len(past)} past samples cannot stand for the {seen} that passed; give "
                f"{needed} of them, drawn at random"
            )
        self.controller.seen, self.controller.kept = seen, kept
        if needed < CHUNK:
            self._chunk = [past[at] for at in range(needed)]
            self._chunk_scores = [1.0] * needed
            return
        chosen = np.sort(self._rng.choice(len(past), needed, replace=False))
        past = past[torch.from_numpy(chosen)]
        if self._centers:
            past = self._shift_to_mean(past)
        self._scale = root_mean_square([*self._known, past])
        self._scorer = self._build(self._scale)
        if self._scorer.references:
            self._references = past[: self._scorer.references]
        self._restart()
        self._scorer.open(past[-WINDOW:])
        self.controller.use(self._scorer.scores().numpy())

    def _past_needed(self, seen: int) -> int:
        return min(seen, max(self._build(1.0).references, WINDOW))

    def update(self, labeled: ModelOutput) -> None:
        """Condition on further labeled data."""
        self._know(labeled.shifted(self._center))
        if self._scorer is not None:
            self._restart()
            if self._block is not None:  # between two of its samples
                self._open(self._block)

    def _decide(self, block: ModelOutput) -> Iterator[int]:
        block = block.shifted(self._center)
        self._open(block)
        for position in range(len(block)):
            if self.controller.done:
                return
            score = self._scores[position]
            keep = self._rng.random() < self.controller.probability(score)
            self.controller.count(keep)
            sample = block[position]
            self._chunk.append(sample)
            self._chunk_scores.append(score)
            if keep:
                self._know(sample)
                if self._scorer is not None:
                    self._scorer.keep(position)
                    self._scores = self._scorer.scores().tolist()
            if len(self._chunk) == CHUNK:
                self._close_chunk()
            if keep:
                yield position
        self._block = None

    def _open(self, block: ModelOutput) -> None:
        """Score the samples that are decided next."""
        self._block, self._scores = block, [1.0] * len(block)
        if self._scorer is not None:  # else no sample has passed yet to compare with
            self._scorer.open(block)
            self._scores = self._scorer.scores().tolist()

    def _know(self, sample: ModelOutput) -> None:
        if self._scorer is None or self._scorer.conditions:
            self._known.append(sample)

    def _all_known(self) -> ModelOutput | None:
        """Return the known samples, joined here only: once for many that are kept."""
        if len(self._known) > 1:
            self._known = [ModelOutput.cat(self._known)]
        return self._known[0] if self._known else None

    def _close_chunk(self) -> None:
        """Add 64 decided samples to the references, and their scores to the window."""
        self._all_known()
        chunk, scores = ModelOutput.cat(self._chunk), self._chunk_scores
        self._chunk, self._chunk_scores = [], []
        if self._scorer is None:
            if self._centers:
                chunk = self._shift_to_mean(chunk)
            self._scale = root_mean_square([*self._known, chunk])
            self._scorer = self._build(self._scale)
            self._add_references(chunk)
            self._restart()
            return
        self.controller.use(np.concatenate([self.controller.window, scores])[-WINDOW:])
        slots = self._add_references(chunk)
        if self._is_full():
            self._restart()
        elif len(slots) and self._references is not None:
            self._scorer.refer(slots, self._references[slots])

    def _shift_to_mean(self, chunk: ModelOutput) -> ModelOutput:
        """Return the first samples from their mean and the known ones', which are shifted too."""
        embeddings = torch.cat([output.embedding for output in (*self._known, chunk)])
        self._center = embeddings.double().mean(dim=0).float()
        self._known = [output.shifted(self._center) for output in self._known]
        return chunk.shifted(self._center)

    def _add_references(self, chunk: ModelOutput) -> torch.Tensor:
        """Add a chunk to the reservoir; return the slots that it fills or replaces."""
        assert self._scorer is not None
        size = self._scorer.references
        if size == 0:
            return torch.empty(0, dtype=torch.int64)
        positions = np.arange(self.controller.seen - CHUNK, self.controller.seen)
        # Samples that fill the reservoir need no random number.
        grow = int((positions < size).sum())
        uniforms = np.concatenate([np.zeros(grow), self._rng.random(CHUNK - grow)])
        slots, rows = map(torch.from_numpy, reservoir_slots(positions, size, uniforms))
        if grow:
            old = [] if self._references is None else [self._references]
            self._references = ModelOutput.cat([*old, chunk[:grow]])
        if len(slots):
            assert self._references is not None
            self._references.logits[slots] = chunk.logits[rows]
            self._references.embedding[slots] = chunk.embedding[rows]
        return slots

    def _is_full(self) -> bool:
        return sum(map(len, self._known)) > self._max_conditioned

    def _restart(self) -> None:
        """Condition the scorer on the known samples, within the bound."""
        assert self._scorer is not None
        if not self._scorer.conditions:
            self._known = []
        elif self._is_full():
            known = self._all_known()
            assert known is not None
            keep = self._scorer.prune(known, max(1, 3 * self._max_conditioned // 4))
            self._known = [known[keep]]
        self._start()

    def _start(self) -> None:
        assert self._scorer is not None
        known = self._all_known()
        room = max(0, self._max_conditioned - (0 if known is None else len(known))) + CHUNK
        self._scorer.start(known, self._references, room)

    def state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return the whole state: what JSON can hold, and arrays."""
        outputs = {"known": self._all_known(), "references": self._references}
        outputs["chunk"] = ModelOutput.cat(self._chunk) if self._chunk else None
        arrays = {"window": self.controller.window, "scores": np.asarray(self._chunk_scores)}
        if self._center is not None:
            arrays["center"] = self._center.cpu().numpy()
        for name, output in outputs.items():
            if output is not None:
                arrays[f"{name}_logits"] = output.logits.cpu().numpy()
                arrays[f"{name}_embedding"] = output.embedding.cpu().numpy()
        meta = {
            "seen": self.controller.seen,
            "kept": self.controller.kept,
            "correction": self.controller.correction,
            "total": self.controller.total,
            "scale": self._scale,
            "warm": self._scorer is not None,
            "rng": self._rng.bit_generator.state,
        }
        return meta, arrays

    def restore(
        self, meta: dict[str, Any], arrays: dict[str, np.ndarray], device: torch.device
    ) -> None:
        """Continue from what `state` returned."""

        def output_of(name: str) -> ModelOutput | None:
            if f"{name}_logits" not in arrays:
                return None
            logits, embedding = arrays[f"{name}_logits"], arrays[f"{name}_embedding"]
            return ModelOutput(torch.from_numpy(logits), torch.from_numpy(embedding)).to(device)

        self.controller.seen, self.controller.kept = meta["seen"], meta["kept"]
        self.controller.correction = float(meta["correction"])
        self.controller.use(arrays["window"])
        self._rng.bit_generator.state = meta["rng"]
        self._scale = meta["scale"]
        if "center" in arrays:
            self._center = torch.from_numpy(arrays["center"]).to(device)
        known, self._references = output_of("known"), output_of("references")
        self._known = [] if known is None else [known]
        chunk = output_of("chunk")
        if chunk is not None:
            self._chunk = [chunk[i] for i in range(len(chunk))]
        self._chunk_scores = arrays["scores"].tolist()
        if meta["warm"]:
            self._scorer = self._build(self._scale)
            self._start()


def root_mean_square(outputs: list[ModelOutput]) -> float:
    """Return the root mean square norm of embeddings, or 1 where it is 0."""
    h = torch.cat([output.embedding for output in outputs]).double()
    return float(h.square().sum(dim=1).mean().sqrt()) or 1.0
