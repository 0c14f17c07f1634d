"""The windows of audio and of time series as parts of a task, and segments by their classes."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...decoders.process import AT_ONCE, decode, require_decoder
from ...labeling.regions import ScoredRegion
from ..encoders.log_mel import RATE
from .intervals import interval_tags
from .part_kind import PartKind, Tags
from .parts import Parts, Places, TaskParts
from .window_features import N_FEATURES, PLAIN, series_windows, sound_windows

if TYPE_CHECKING:
    from ...labeling.time_series import Series

__all__ = [
    "SeriesWindowEncoder",
    "SeriesWindows",
    "SoundWindowEncoder",
    "SoundWindows",
    "places_between",
    "times_of",
]

SECONDS = 1800.0  # of a sound that are read


class _Windows(PartKind):
    """Windows, whose places are times: float64, bit for bit, see `places_between`."""

    sequential = True
    noun = "windows"
    metric = "F1 at IoU .5"
    #: Squared distance from the mean of a task that one window of ten has.
    far: ClassVar[float]

    def prior(self, parts: Parts) -> npt.NDArray[np.float32]:
        """Return how much each window differs from the mean of its task.

        What is marked is what happens; most windows hold what goes on all the time.
        """
        found = []
        for start, stop in pairwise(parts.offsets.tolist()):
            rows = np.asarray(parts.rows[start:stop, :PLAIN], np.float32)
            mean = rows.sum(axis=0) / max(len(rows), 1)
            distance = ((rows - mean) ** 2).sum(axis=1)
            found.append(distance / (distance + self.far))
        return np.concatenate([np.empty(0, np.float32), *found])

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        return interval_tags(regions, labels, times_of(places))

    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        """Return the segments that windows of one class in a row make."""
        times = times_of(places)
        return [
            ScoredRegion(
                float(times[run.start, 0]),
                float(times[run.stop - 1, 1]),
                labels[run.tag - 1],
                run.score,
            )
            for run in runs
        ]


class SoundWindows(_Windows):
    """The windows of a sound, all of one length but for the last; times are seconds."""

    far = 2.0


class SeriesWindows(_Windows):
    """The windows of all channels of a time series; times are those of its time column."""

    far = 20.0


class _WindowEncoder:
    """The features of windows, without a model."""

    n_features = N_FEATURES

    def encode(self, prepared: Sequence[TaskParts]) -> list[TaskParts]:
        return list(prepared)


class SoundWindowEncoder(_WindowEncoder):
    """The features of the windows of a sound, of which as many are in memory as are decoded."""

    fingerprint = "sound-windows1"

    def __init__(self) -> None:
        require_decoder("audio")
        self._slots = threading.BoundedSemaphore(AT_ONCE)

    def prepare(self, raw: bytes) -> TaskParts:
        with self._slots:
            samples = decode("audio", raw, rate=RATE, seconds=SECONDS)
            assert isinstance(samples, np.ndarray)
            seconds, features = sound_windows(samples)
        return TaskParts(features, places_between(seconds))


class SeriesWindowEncoder(_WindowEncoder):
    """The features of the windows of a time series."""

    fingerprint = "series-windows1"

    def prepare(self, raw: Series) -> TaskParts:
        edges, features = series_windows(raw.channels)
        return TaskParts(features, places_between(raw.times(edges)))


def places_between(times: npt.NDArray[np.float64]) -> Places:
    """Return the places of windows between times: those in float64, bit for bit, as int64."""
    return np.stack([times[:-1], times[1:]], axis=1).astype(np.float64).view(np.int64)


def times_of(places: Places) -> npt.NDArray[np.float64]:
    """Return the times in the places of windows, (n, 2)."""
    return np.ascontiguousarray(places).view(np.float64)
