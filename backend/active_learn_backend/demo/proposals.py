"""Entities: what ever more labels taught, and what the proposals in the queue were worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn.ragged import RaggedArray

from ..labeling.exact_text import ExactText
from ..learning.encoders import configured_encoders
from ..learning.regions.kinds import WordEncoder, Words
from ..learning.regions.parts import TaskParts
from ..settings import load_settings
from .entities import LABELS, Sentences, Span, spans_of
from .evaluation import LearningCurve, steps

__all__ = ["Worth", "entity_curve", "worth"]

# The median of eleven annotators of two published studies (Chen et al. 2017, Wei et al. 2019).
SECONDS_PER_WORD, SECONDS_PER_ENTITY = 0.32, 4.75


@dataclass(frozen=True)
class Worth:
    """How the proposals compare with the truth.

    Attributes
    ----------
    texts, words, entities : int
        What was labeled, and what is in it.
    proposed, right : int
        Regions that were proposed, and those whose borders and label are right.
    """

    texts: int
    words: int
    entities: int
    proposed: int
    right: int

    @property
    def seconds(self) -> float:
        """Seconds to mark all entities from nothing."""
        return SECONDS_PER_WORD * self.words + SECONDS_PER_ENTITY * self.entities

    @property
    def saved(self) -> float:
        """Seconds that it saves to correct the proposals instead; below 0 if it costs more."""
        wrong = self.proposed - self.right
        return SECONDS_PER_ENTITY * (self.right - wrong)

    def __str__(self) -> str:
        if not self.proposed:
            return f"No regions were proposed in the {self.texts} texts."
        verb, share = ("saves", self.saved) if self.saved >= 0 else ("costs", -self.saved)
        return (
            f"The queue proposed {self.proposed} regions in {self.texts} texts, which hold "
            f"{self.entities}; {self.right / self.proposed:.0%} of the proposals were exactly "
            f"right. To correct them instead of marking from nothing {verb} {share:.0f} s of "
            f"{self.seconds / 60:.0f} minutes ({SECONDS_PER_WORD} s a word, {SECONDS_PER_ENTITY} s "
            "a region that is marked or removed: published studies, not measured here)."
        )


def worth(sentences: Sentences, served: Sequence[tuple[int, Mapping[str, Any]]]) -> Worth:
    """Compare what the queue proposed with the truth.

    Parameters
    ----------
    served : sequence of (index, task)
        Each task as Label Studio served it, with its proposals.
    """
    proposed = right = 0
    for at, task in served:
        rows = task["predictions"]
        found = spans_of(rows[0]["result"]) if rows else set()
        proposed += len(found)
        right += len(found & set(sentences.spans[at]))
    labeled = [at for at, _ in served]
    words = sum(len(sentences.texts[at].split()) for at in labeled)
    entities = sum(len(sentences.spans[at]) for at in labeled)
    return Worth(len(labeled), words, entities, proposed, right)


def entity_curve(
    sentences: Sentences, labeled: Sequence[int], step: int = 10, encoder: str = ""
) -> LearningCurve:
    """Train the backend's head on ever more labels and test it on the texts held out.

    Parameters
    ----------
    sentences : Sentences
        The texts; only the indices in ``labeled`` and the held-out ones are looked at.
    labeled : sequence of int
        Indices of the labeled texts, in the order in which they were labeled.
    step : int
        Labels between two points of the curve; its last point is at all of them.
    encoder : str
        As the setting.

    Raises
    ------
    ValueError
        If a labeled text is a held-out one, or nothing is labeled.
    """
    counts = steps(labeled, sentences.held_out, step)
    words_of = WordEncoder(configured_encoders(load_settings(encoder=encoder), {"text"})["text"])
    parts = _parts(words_of, sentences, labeled)
    tags = [
        Words().tags(sentences.spans[at], LABELS, one.places)
        for at, one in zip(labeled, parts, strict=True)
    ]
    held_out = _parts(words_of, sentences, sentences.held_out.tolist())
    truth = [set(sentences.spans[at]) for at in sentences.held_out.tolist()]
    f1, head = [], None
    for count in counts:
        known = [one.features for one in parts[:count]]
        head = fit_tagging_head(LABELS, known, tags[:count], round=1, former=head)
        f1.append(exact_f1(_found(head, held_out), truth) if head else 0.0)
    words = np.cumsum([len(sentences.texts[at].split()) for at in labeled])
    marked = np.cumsum([len(sentences.spans[at]) for at in labeled])
    seconds = SECONDS_PER_WORD * words + SECONDS_PER_ENTITY * marked
    spent = tuple(float(seconds[count - 1]) for count in counts)
    return LearningCurve(tuple(counts), tuple(f1), "F1", spent)


def exact_f1(found: Sequence[set[Span]], truth: Sequence[set[Span]]) -> float:
    """Return the F1 of spans whose borders and label are right; 1 where there are none at all."""
    right = sum(len(one & other) for one, other in zip(found, truth, strict=True))
    both = sum(len(one) + len(other) for one, other in zip(found, truth, strict=True))
    return 2 * right / both if both else 1.0


def _found(head: TaggingHead, parts: Sequence[TaskParts]) -> list[set[Span]]:
    tagged = head.decode(RaggedArray.of([one.features for one in parts]))
    return [
        {
            (one.start, one.end, one.label)
            for one in Words().regions(tagging.runs, LABELS, task.places)
        }
        for tagging, task in zip(tagged, parts, strict=True)
    ]


def _parts(encoder: WordEncoder, sentences: Sentences, indices: Sequence[int]) -> list[TaskParts]:
    return encoder.encode([ExactText(sentences.texts[at]) for at in indices])
