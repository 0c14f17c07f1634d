"""A project as a stream: each new task is kept or passed as it comes, at a fixed rate.

Where regions are labeled, the vectors of all tasks change with the heads, and no state of the
sampler outlives them. There the state holds how many tasks were decided and kept, and each round
makes the rest anew: of what was kept or labeled, and of 1,000 tasks that stand for the past.
"""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import ActiveSampler, StateError
from active_learn.validation import Problem, types_of

from ...settings import RANDOM_STATE, Settings
from .queue_builder import sampler_for
from .snapshot import Snapshot

__all__ = ["TaskStream"]

log = logging.getLogger(__name__)

PAST = 1000  # decided tasks that stand for all


class TaskStream:
    """The sampler of a stream between two rounds.

    Its state is a file. The store holds the name of the file together with the decisions, so that a
    crash leaves both as they were.

    Parameters
    ----------
    folder : Path
    name : str
        The state file that the store holds; empty: none yet.
    problem : {'classification', 'regression', 'multilabel'} or tuple of Output
    model : LinearHead or callable
        Of this round; a linear head may have been trained further since the state was saved.
    fingerprint : str
        Changes when the embeddings do. Another one, or another setting, begins another stream.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        problem: Problem,
        model: Any,
        settings: Settings,
        fingerprint: str,
    ) -> None:
        self._folder, self._name = folder, name
        self._problem, self._model, self._settings = problem, model, settings
        # A head of more classes than before goes on with the stream; another control does not.
        types = problem if isinstance(problem, str) else types_of(problem)
        kind = (fingerprint, types, settings.strategy, settings.budget)
        self._kind = hashlib.blake2b(repr(kind).encode(), digest_size=8).hexdigest()

    def decide(self, snapshot: Snapshot, number: int) -> tuple[dict[int, str | None], str]:
        """Decide on the tasks that are new, in the order in which they came.

        Parameters
        ----------
        number : int
            Of the round; part of the name of the state file.

        Returns
        -------
        decisions : dict
            By task id: 'kept' or 'passed', and 'known' for tasks that were labeled otherwise.
        name : str
            The file of the state after them.
        """
        undecided = snapshot.decided(None) & ~snapshot.audit
        known = np.flatnonzero(
            snapshot.labeled & ~snapshot.audit & snapshot.decided(None, "passed")
        )
        new = np.flatnonzero(undecided & ~snapshot.labeled & ~snapshot.skipped)
        sampler = self._resume(snapshot, known)
        start = sampler.seen
        candidates = snapshot.embeddings[new]
        kept = {index - start for _, index in sampler.select(iter(candidates), return_indices=True)}
        decisions: dict[int, str | None] = {
            snapshot.rows[at].task_id: "kept" if place in kept else "passed"
            for place, at in enumerate(new)
        }
        decisions |= {snapshot.rows[at].task_id: "known" for at in known}
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._problem == "tagging":
            name = f"{self._kind}-{number}.json"
            counts = {"seen": sampler.seen, "kept": sampler.kept}
            (self._folder / name).write_text(json.dumps(counts), encoding="utf-8")
        else:
            name = f"{self._kind}-{number}.npz"
            sampler.save(self._folder / name)
        return decisions, name

    def _resume(self, snapshot: Snapshot, known: np.ndarray) -> ActiveSampler:
        """Resume the stream, and update it with labels that it did not ask for."""
        if self._problem == "tagging":
            return self._take_over(snapshot)
        if self._name.startswith(f"{self._kind}-"):
            try:
                sampler = ActiveSampler.load(
                    self._folder / self._name, self._model, problem_type=self._problem
                )
                sampler.update(snapshot.embeddings[known])
                return sampler
            except StateError as error:
                log.warning("the stream begins anew: %s", error)
        elif self._name:
            log.info("the stream begins anew: its settings or the encoder changed")
        return self._begin(snapshot)

    def _begin(self, snapshot: Snapshot) -> ActiveSampler:
        """Return a new stream, to which all is known that was labeled or kept so far."""
        past = snapshot.labeled & ~snapshot.audit | snapshot.decided("kept")
        return sampler_for(
            self._problem,
            self._model,
            self._settings,
            snapshot.embeddings[past],
            self._settings.budget,
        )

    def _take_over(self, snapshot: Snapshot) -> ActiveSampler:
        """Return a stream that goes on where that of the last heads ended."""
        seen, kept = self._counts()
        sampler = self._begin(snapshot)
        past = np.flatnonzero(snapshot.decided("kept", "passed"))
        places = snapshot.places(RANDOM_STATE)[past]
        past = np.sort(past[np.argsort(places, kind="stable")[:PAST]])
        # Tasks that were deleted since stand for nothing.
        seen = min(seen, len(past)) if len(past) < PAST else seen
        sampler.resume(snapshot.embeddings[past], seen=seen, kept=min(kept, seen))
        return sampler

    def _counts(self) -> tuple[int, int]:
        """Return how many tasks the stream decided on and kept; none where it begins anew."""
        if not self._name.startswith(f"{self._kind}-"):
            return 0, 0
        try:
            found = json.loads((self._folder / self._name).read_text(encoding="utf-8"))
            return int(found["seen"]), int(found["kept"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the rate of the stream begins anew: %s", error)
            return 0, 0

    def forget_older(self, name: str) -> None:
        """Remove the states of earlier rounds, once the store holds the name of this one."""
        for path in self._folder.glob("*.*"):
            if path.name != name and path.suffix in (".npz", ".json"):
                path.unlink(missing_ok=True)
