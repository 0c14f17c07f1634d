"""How long a published queue has to be, so that nobody waits for a task.

Label Studio serves tasks outside the queue only when all of it is labeled. A task that somebody
opened is kept for that person, for a day, and is labeled by nobody else. So the queue has to hold
more tasks than people can keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...settings import Settings

__all__ = ["LEAST_RESERVE", "QueueSize", "queue_size"]

LEAST_RESERVE = 30
# Of a larger organization rarely all label one project; those who do are seen by what they keep.
MOST_MEMBERS = 250


@dataclass(frozen=True)
class QueueSize:
    """The length of a queue.

    Attributes
    ----------
    ranked : int
        Rows that the ranking orders, the batch among them.
    rows : int
        All rows. Those behind the ranked ones are drawn at random: people get them only if they
        come in such numbers that the ranked ones do not suffice, and ranking takes time.
    """

    ranked: int
    rows: int


def queue_size(settings: Settings, *, members: int = 0, kept: int = 0) -> QueueSize:
    """Return how long the queue of a round has to be.

    Parameters
    ----------
    settings : Settings
        A number as ``reserve`` is taken as it is.
    members : int
        People of Label Studio's organization, 0 where they are not known. Each can keep one task of
        the queue, with or without a draft, and submit one before the next queue is published.
    kept : int
        Tasks that somebody seems to keep now, see `count_kept`. They stay at the head of the queue.
    """
    if settings.reserve is not None:
        length = settings.batch + settings.reserve
        return QueueSize(length, length)
    if members:
        kept = min(kept, members)
    ranked = settings.batch + LEAST_RESERVE + kept
    people = max(min(members, MOST_MEMBERS), kept)
    return QueueSize(ranked, max(ranked, settings.batch + 2 * people))
