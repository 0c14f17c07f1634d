"""The embedded encoder of time series: statistics, segments and spectrum, without a model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .base import Encoder, FloatArray

__all__ = ["TimeSeriesEncoder"]

SEGMENTS, BANDS = 8, 16


class TimeSeriesEncoder(Encoder):
    """What each channel of a series is like, without a model.

    Of a channel: where its values lie and how much they move, on a logarithmic scale; mean and
    deviation in each of eight parts of the time, relative to the whole; and the share of its power
    in 16 bands of frequencies, down to a thousandth of the highest, on a logarithmic scale. Each of
    the three has unit length. The vectors of the channels stand behind one another, followed by
    zeros; of more than six channels they are projected by a fixed random matrix. All together has
    unit length.
    """

    fingerprint = "time-series-segments-spectrum-1"
    n_features = 256

    def prepare(self, raw: npt.NDArray[np.float32]) -> FloatArray:
        features = np.concatenate([channel_features(channel) for channel in raw])
        if len(features) <= self.n_features:
            vector = np.pad(features, (0, self.n_features - len(features)))
        else:
            draws = np.random.default_rng(0).standard_normal((len(features), self.n_features))
            vector = features @ draws
        return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32)

    def run(self, prepared: Sequence[FloatArray]) -> FloatArray:
        return np.stack(prepared)


def channel_features(channel: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Compute the features of one channel, at least one value."""
    values = channel.astype(np.float64)
    mean, deviation = values.mean(), values.std()
    step = np.abs(np.diff(values)).mean() if len(values) > 1 else 0.0
    where = np.array([mean, deviation, values.min(), values.max(), np.median(values), step])
    relative = (
        (values - mean) / deviation if deviation > 1e-6 * max(abs(mean), 1e-9) else 0 * values
    )
    parts = np.array_split(np.resize(relative, max(len(relative), SEGMENTS)), SEGMENTS)
    course = [part.mean() for part in parts] + [part.std() for part in parts]
    return np.concatenate(
        [
            _unit(np.sign(where) * np.log1p(np.abs(where))),
            _unit(np.array(course)),
            _unit(_spectrum(relative)),
        ]
    )


def _spectrum(relative: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the square roots of the shares of power in bands from slow to fast."""
    power = np.abs(np.fft.rfft(relative * np.hanning(len(relative) + 2)[1:-1]))[1:] ** 2
    if power.sum() < 1e-12:
        return np.zeros(BANDS)
    # Frequencies as shares of the highest, the lowest of them 1e-3 or less.
    place = np.log10(np.arange(1, len(power) + 1) / len(power)) / 3 + 1
    band = np.clip((place * BANDS).astype(int), 0, BANDS - 1)
    return np.sqrt(np.bincount(band, power, BANDS) / power.sum())


def _unit(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)
