"""The heads of a project, one for each control that is learned, as one version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from active_learn.heads import Head, TrainedHead, head_name, load_heads
from active_learn.heads.base import FloatArray
from active_learn.validation import Output, Problem

from ...labeling.config import LabelingTask
from ...labeling.controls import ControlTag
from ..embedding.embedder import TaskEmbedder
from ..user_models import OwnHead
from .joint_model import JointModel

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


def stored_heads(folder: Path, number: int, task: LabelingTask) -> dict[str, TrainedHead]:
    """Load the heads of a round by the names of their controls.

    A head without a name, from the time of one control a project, is the first control's.

    Raises
    ------
    StateError
        When they cannot be read.
    """
    stored = load_heads(folder, number)
    return {
        name or task.controls[0].from_name: head
        for name, head in stored.items()
        if isinstance(head, TrainedHead)
    }


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
    heads: Mapping[str, Head]
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
        heads: dict[str, Head] = dict(embedder.fixed_heads)
        misfits = []
        for control in task.controls:
            head = named.get(control.from_name)
            if head is None or control.from_name in heads:
                continue
            fits = control.learned and head.problem_type == control.problem_type
            if fits and head.reads(*embedder.trained_on):
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
        own = [head.version for head in self.heads.values() if not isinstance(head, TrainedHead)]
        return "+".join([*own, head_name(self.round)] if self.round else own)

    @property
    def trained(self) -> dict[str, TrainedHead]:
        """The trained heads among them."""
        return {name: head for name, head in self.heads.items() if isinstance(head, TrainedHead)}

    @property
    def round(self) -> int:
        """The round that trained them; 0 where none is trained."""
        return max((head.round for head in self.trained.values()), default=0)

    def of(self, control: ControlTag) -> Head | None:
        """Return the head of a control."""
        return self.heads.get(control.from_name)

    def sampler_model(self) -> tuple[Problem, Any]:
        """Return what the ranking reads: the outputs of all heads, and the model that gives them.

        A control without a head leaves everything uncertain.
        """
        from active_learn import LinearHead  # imports torch, which takes seconds

        own: OwnHead | None = None
        models: list[Any] = []
        outputs: list[Output] = []
        for control in self.task.controls:
            head, size = self.of(control), max(len(control.labels), 1)
            if isinstance(head, OwnHead):
                own, size = head, head.n_outputs
                models.append(None)
            else:
                features = self.embedder.trained_on[1]
                model = head.sampler_model() if head else LinearHead.untrained(size, features)
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
        vectors: FloatArray,
        controls: Iterable[ControlTag] | None = None,
        least: float = 0.0,
    ) -> list[TaskAnswer]:
        """Return the answers for each row of an (n, n_features) array.

        Parameters
        ----------
        controls : iterable of ControlTag, optional
            Only these answer; all when omitted.
        least : float
            Answers of a lower score are left out of the results; numbers, which have none, stay.
        """
        results: list[list[dict[str, Any]]] = [[] for _ in range(len(vectors))]
        scores: list[list[float]] = [[] for _ in range(len(vectors))]
        for control in self.task.controls if controls is None else controls:
            head = self.of(control)
            if head is None:
                continue
            read = self.embedder.features(control.from_name, vectors)
            for at, answer in enumerate(head.predict(read[:])):
                if answer.score is None or answer.score >= least:
                    results[at] += control.write(answer.label, answer.score)
                if answer.score is not None:  # of a number there is no probability
                    scores[at].append(answer.score)
        return [
            TaskAnswer(result, min(found, default=0.0))
            for result, found in zip(results, scores, strict=True)
        ]
