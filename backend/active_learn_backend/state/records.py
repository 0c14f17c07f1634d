"""Records of the project state about what happened: counts of events, labeling runs, requests."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

__all__ = ["ConnectionRequest", "EventCount", "LabelingRun"]


@dataclass(frozen=True)
class EventCount:
    """How often something happened in a project; kept for metrics, which outlive the processes.

    Attributes
    ----------
    event : {'round', 'stage', 'error'}
    name : str
        The stage, or the class of the error; empty for a whole round.
    seconds : float
        Total time that it took; 0 for errors.
    last_at : float
        When it last happened, in seconds since 1970.
    """

    project_id: int
    event: str
    name: str
    count: int = 0
    seconds: float = 0.0
    last_at: float = 0.0


@dataclass(frozen=True)
class LabelingRun:
    """A call of `active-learn label` that wrote its answers into Label Studio.

    Attributes
    ----------
    run : int
        Its number, unique in the project; its predictions are of version ``label-<run>``.
    kind : {'predictions', 'annotations'}
        As what the answers are written.
    accuracy, confidence : float
        What was granted: at least this share is right, with this confidence.
    granted : int
        Number of its answers.
    status : {'begun', 'done', 'removed'}
        'begun': it was broken off, unless it is still at work.
    begun_at : float
        Seconds since 1970.
    written, removed : int
        How many answers Label Studio stored, and how many were taken back.
    """

    run: int
    kind: str
    accuracy: float
    confidence: float
    granted: int
    status: str = "begun"
    begun_at: float = field(default_factory=time.time)
    written: int = 0
    removed: int = 0


@dataclass(frozen=True)
class ConnectionRequest:
    """A project that /setup named, until the worker has asked Label Studio about it.

    Attributes
    ----------
    requested_at : float
        When it was first named, in seconds since 1970.
    """

    project_id: int
    requested_at: float
