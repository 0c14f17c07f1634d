"""The embedded audio encoder: statistics of a log-mel spectrogram, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from ...decoders.process import decode, require_decoder
from .base import Encoder, FloatArray

__all__ = ["AudioEncoder"]

RATE = 16_000  # samples a second, of which speech needs no more
SECONDS = 60.0  # of a file that are read
WINDOW, HOP, BANDS = 512, 256, 64
RANGE = 80.0  # dB below the loudest point of a file, under which all counts as silence
SEGMENTS, COARSE = 8, 16  # parts of the time, and groups of bands in them


class AudioEncoder(Encoder):
    """What a log-mel spectrogram is like over the time of a file, without a model.

    Decibels below the loudest point, so that the volume of a recording does not count. Of each of
    64 bands: the mean, the standard deviation and the mean change from one frame to the next; and
    the means of 16 groups of bands in each of eight parts of the time, which tell a rising tone
    from a falling one. All together has unit length. Silence is zero.
    """

    fingerprint = "audio-log-mel-1"
    n_features = 3 * BANDS + SEGMENTS * COARSE

    def __init__(self) -> None:
        require_decoder("audio")

    def prepare(self, raw: bytes) -> FloatArray:
        samples = decode("audio", raw, rate=RATE, seconds=SECONDS)
        assert isinstance(samples, np.ndarray)
        return statistics(samples)

    def run(self, prepared: Sequence[FloatArray]) -> FloatArray:
        return np.stack(prepared)


def statistics(samples: FloatArray) -> FloatArray:
    """Compute the vector of a sound from its samples, RATE of them a second."""
    power = spectrogram(samples)
    loudest = power.max()
    if loudest <= 1e-10:
        return np.zeros(AudioEncoder.n_features, np.float32)
    decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE / 10))) / RANGE + 1
    change = np.abs(np.diff(decibels, axis=0)) if len(decibels) > 1 else 0 * decibels
    coarse = decibels.reshape(len(decibels), COARSE, -1).mean(axis=2)
    parts = np.array_split(coarse, SEGMENTS) if len(coarse) >= SEGMENTS else [coarse] * SEGMENTS
    over_time = np.concatenate([part.mean(axis=0) for part in parts])
    mean = decibels.mean(axis=0)
    # The weights bring the parts to about one size; chosen on sounds made by formulas.
    vector = np.concatenate(
        [
            mean - mean.mean(),
            2 * decibels.std(axis=0),
            4 * change.mean(axis=0),
            over_time - over_time.mean(),
        ]
    )
    return (vector / max(float(np.linalg.norm(vector)), 1e-6)).astype(np.float32)


def spectrogram(samples: FloatArray) -> FloatArray:
    """Return the power in each band of each frame, shape (frames, BANDS)."""
    samples = np.pad(samples, (0, max(0, WINDOW - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic, as for any spectrum
    power: FloatArray = np.abs(np.fft.rfft(frames * window, axis=1)).astype(np.float32) ** 2
    found: FloatArray = power @ _bands()
    return found


@lru_cache(maxsize=1)
def _bands() -> FloatArray:
    """Return the weights of triangular bands, equally wide on the mel scale."""
    highest = 2595 * np.log10(1 + RATE / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, highest, BANDS + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(WINDOW, 1 / RATE)[:, None]
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    weights = np.maximum(0.0, np.minimum(rising, falling))
    # The lowest bands are narrower than the distance of two frequencies: each has one at least.
    nearest = np.abs(frequencies - edges[1:-1]).argmin(axis=0)
    weights[nearest, np.arange(BANDS)] = np.maximum(weights[nearest, np.arange(BANDS)], 1e-2)
    return weights.astype(np.float32)
