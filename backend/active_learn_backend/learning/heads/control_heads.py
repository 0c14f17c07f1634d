"""The heads of a project, one for each control that is learned, as one version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from active_learn.heads import (
    Head,
    PartTagger,
    SavedHead,
    TrainedHead,
    TrainedTagger,
    head_name,
    load_heads,
)
from active_learn.validation import Output, Problem

from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag, RegionTag
from ..embedding.embedder import TaskEmbedder
from ..regions.embedder import RegionEmbedder
from ..regions.kinds import PartKind
from ..regions.parts import PartedVectors, PartsOfTasks
from ..user_models import OwnHead, OwnRegionHead
from .joint_model import JointModel
from .pooling import drawn_at_random, pool_tasks, side_by_side
from .region_heads import FoundRegions, find_regions

if TYPE_CHECKING:
    from active_learn import PooledTasks

__all__ = ["ControlHeads", "TaskAnswer", "stored_heads"]


@dataclass(frozen=True)
class TaskAnswer:
    """The answers for one task.

    Attributes
    ----------
    result : list of dict
        Of all controls, as Label Studio stores it.
    score : float
        Probability of the least certain answer; 0 where none has one (numbers).
    """

    result: list[dict[str, Any]]
    score: float


def stored_heads(folder: Path, number: int, task: LabelingTask) -> dict[str, SavedHead]:
    """Load the heads of a round by the names of their controls.

    A head without a name, from the time of one control a project, is the first control's.

    Raises
    ------
    StateError
        When they cannot be read.
    """
    stored = load_heads(folder, number)
    return {name or task.controls[0].from_name: head for name, head in stored.items()}


@dataclass(frozen=True)
class ControlHeads:
    """What answers for each control.

    Attributes
    ----------
    task : LabelingTask
    heads : mapping
        Trained heads, or the team's own, by the name of the control; one that has learned nothing
        yet is not there.
    embedder : TaskEmbedder
        Makes the vectors that they read.
    """

    task: LabelingTask
    heads: Mapping[str, Head | PartTagger]
    embedder: TaskEmbedder

    @classmethod
    def load(
        cls, folder: Path, number: int, task: LabelingTask, embedder: TaskEmbedder
    ) -> tuple[ControlHeads, list[str]]:
        """Load the heads of a round that fit a labeling task and an encoder.

        The team's own model keeps the control that it answers for.

        Returns
        -------
        heads : ControlHeads
        misfits : list of str
            Names of the controls whose head was trained for another kind of answer, or for other
            embeddings.

        Raises
        ------
        StateError
            When they cannot be read.
        """
        named = stored_heads(folder, number, task)
        heads: dict[str, Head | PartTagger] = dict(embedder.fixed_heads)
        misfits = []
        for control in task.controls:
            head = named.get(control.from_name)
            if head is None or control.from_name in heads:
                continue
            fits = control.learned and _learns(head) == control.problem_type
            if fits and head.reads(*embedder.read_by(control.from_name)):
                heads[control.from_name] = head
            else:
                misfits.append(control.from_name)
        return cls(task, heads, embedder), misfits

    @classmethod
    def current(
        cls, folder: Path, head_round: int, task: LabelingTask, embedder: TaskEmbedder
    ) -> tuple[ControlHeads, list[str]]:
        """Return what answers now: the team's own model, and the heads of a round; see `load`.

        Parameters
        ----------
        head_round : int
            0 where none is trained.
        """
        own = cls(task, embedder.fixed_heads, embedder)
        if not head_round or len(own.heads) == len(task.controls):
            return own, []
        return cls.load(folder, head_round, task, embedder)

    @property
    def version(self) -> str:
        """Name under which live answers are stored; empty where nothing answers."""
        own = [
            head.version
            for head in self.heads.values()
            if isinstance(head, OwnHead | OwnRegionHead)
        ]
        return "+".join([*own, head_name(self.round)] if self.round else own)

    @property
    def trained(self) -> dict[str, SavedHead]:
        """The trained heads among them."""
        return {
            name: head
            for name, head in self.heads.items()
            if isinstance(head, TrainedHead | TrainedTagger)
        }

    @property
    def round(self) -> int:
        """The round that trained them; 0 where none is trained."""
        return max((head.round for head in self.trained.values()), default=0)

    def of(self, control: ControlTag) -> Head | PartTagger | None:
        """Return the head of a control."""
        return self.heads.get(control.from_name)

    def region_head(self, control: RegionTag) -> PartTagger | None:
        """Return the head of a control that labels regions."""
        head = self.of(control)
        return head if isinstance(head, PartTagger) else None

    def sampler_model(self) -> tuple[Problem, Any]:
        """Return what the ranking reads: the outputs of all heads, and the model that gives them.

        A control without a head leaves everything uncertain. Where regions are labeled the ranking
        reads what is pooled already, see `pooled_tasks`.
        """
        if self.task.regions:
            return "tagging", None
        from active_learn import LinearHead  # imports torch, which takes seconds

        own: OwnHead | None = None
        models: list[Any] = []
        outputs: list[Output] = []
        for control in self.task.others:
            head, size = self.of(control), max(len(control.labels), 1)
            if isinstance(head, OwnHead):
                own, size = head, head.n_outputs
                models.append(None)
            else:
                features = self.embedder.read_by(control.from_name)[1]
                untrained = LinearHead.untrained(size, features)
                model = head.sampler_model() if isinstance(head, TrainedHead) else untrained
                models.append(model)
                size = model.sizes[1]
            outputs.append(Output(control.problem_type, size))
        if len(models) == 1:
            return outputs[0].problem_type, own.sampler_model() if own else models[0]
        if own is not None:
            return tuple(outputs), JointModel.of(own, models)
        return tuple(outputs), LinearHead.side_by_side([one for one in models if one is not None])

    def answers(
        self,
        vectors: Any,
        controls: Iterable[ControlTag] | None = None,
        least: float = 0.0,
        contents: Sequence[Mapping[str, Any]] = (),
    ) -> list[TaskAnswer]:
        """Return the answers for n tasks.

        Parameters
        ----------
        vectors : array of shape (n, n_features), or PartedVectors of n tasks
        controls : iterable of ControlTag, optional
            Only these answer; all when omitted.
        least : float
            Answers of a lower score are left out of the results, as are regions of a lower score;
            numbers, which have none, stay.
        contents : sequence of mappings, optional
            What the encoder reads of each task: regions are written with what stands there.
        """
        results: list[list[dict[str, Any]]] = [[] for _ in range(len(vectors))]
        scores: list[list[float]] = [[] for _ in range(len(vectors))]
        for control in self.task.controls if controls is None else controls:
            head = self.of(control)
            if head is None:
                continue
            read = self.embedder.features(control.from_name, vectors)
            if isinstance(control, RegionTag):
                for at, found in enumerate(self.find_regions(control, read)):
                    content = contents[at].get(control.fields[0]) if contents else None
                    sure = [region for region in found.regions if region.score >= least]
                    results[at] += control.write_regions(sure, content)
                    scores[at].append(found.score)
                continue
            assert isinstance(head, Head)
            for at, answer in enumerate(head.predict(read[:])):
                if answer.score is None or answer.score >= least:
                    results[at] += control.write(answer.label, answer.score)
                if answer.score is not None:  # of a number there is no probability
                    scores[at].append(answer.score)
        return [
            TaskAnswer(result, min(found, default=0.0))
            for result, found in zip(results, scores, strict=True)
        ]

    def pooled_tasks(self, tasks: PartedVectors) -> PooledTasks:
        """Return what the selection compares tasks by, where regions of them are labeled.

        A part that several controls label weighs as much as the head that doubts it most. What is
        pooled of several fields, and the vectors that other controls read, stand side by side in
        unit length; a task leaves as much to learn as the field of it that is doubted most.
        """
        assert isinstance(self.embedder, RegionEmbedder)
        controls: dict[int, list[RegionTag]] = {}
        for control in self.task.regions:
            source = self.embedder.parts[control.from_name]
            controls.setdefault(id(source), []).append(control)
        pooled = [
            pool_tasks(
                tasks.parts[some[0].from_name],
                [head for one in some if (head := self.region_head(one))],
                by_doubt=self.embedder.parts[some[0].from_name].by_doubt,
                prior=self.kind_of(some[0]).prior,
            )
            for some in controls.values()
        ]
        if len(pooled) == 1 and not tasks.shape[1]:
            return pooled[0]
        return side_by_side(pooled, tasks.vectors[np.arange(len(tasks))])

    @property
    def at_random(self) -> bool:
        """Whether tasks are drawn by chance for now, see `drawn_at_random`."""
        if self.task.others or not isinstance(self.embedder, RegionEmbedder):
            return False
        regions, parts = self.task.regions, self.embedder.parts
        by_doubt = [parts[control.from_name].by_doubt for control in regions]
        return drawn_at_random(regions, by_doubt, has_head=bool(self.heads))

    def find_regions(self, control: RegionTag, tasks: PartsOfTasks) -> list[FoundRegions]:
        """Return the regions that the head of a control finds in each task; none without a head."""
        head = self.region_head(control)
        return [] if head is None else find_regions(head, self.kind_of(control), tasks)

    def kind_of(self, control: RegionTag) -> PartKind:
        """Return the kind of the parts that a control labels regions of."""
        assert isinstance(self.embedder, RegionEmbedder)
        return self.embedder.parts[control.from_name].kind.for_control(control)


def _learns(head: SavedHead) -> str:
    """Return what a head learns, as controls name it."""
    return "regions" if isinstance(head, TrainedTagger) else head.problem_type
