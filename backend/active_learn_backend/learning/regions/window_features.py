"""Windows of audio and of time series: where they lie, and their features, without a model.

A window is described by what happens in it, by what happens around it at two scales, and by how it
differs from the whole task. Random cosines of these numbers let a linear head tell what no line
separates (Rahimi & Recht, NIPS 2007).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import uniform_filter1d

from ..encoders.log_mel import HOP, RANGE, RATE, WINDOW, spectrogram

__all__ = ["N_FEATURES", "PLAIN", "series_windows", "sound_windows"]

FloatArray = npt.NDArray[np.float32]
Edges = npt.NDArray[np.int64]

NEAR, FAR = 5, 17  # windows, of which one is the middle
COSINES, WIDTH = 256, 1.5  # random cosines; how far their arguments spread
PLAIN = 128
N_FEATURES = PLAIN + COSINES
# Of a series.
MOST_OF_SERIES = 400  # windows of a task
OCTAVES = 6
OF_CHANNEL = 15 + OCTAVES
# Of a sound.
MOST_OF_SOUND = 1200
FRAMES = 6  # of a window, at least: 96 ms
BLOCK = 4096  # frames whose spectrum is computed at once
COARSE = 24  # groups of bands


def series_windows(channels: FloatArray) -> tuple[Edges, FloatArray]:
    """Return the rows between which windows lie, (m + 1,), and the features of m windows.

    A window of a short series is one row long, and there are at most `MOST_OF_SERIES`.

    Parameters
    ----------
    channels : array of shape (channels, rows)
        At least one row.
    """
    rows = channels.shape[1]
    m = min(MOST_OF_SERIES, max(rows - 1, 1))
    edges = np.round(np.linspace(0, rows - 1, m + 1)).astype(np.int64)
    of_channels = [_of_channel(one.astype(np.float64), edges) for one in channels]
    plain = np.concatenate(of_channels, axis=1)
    n = plain.shape[1]
    if n > PLAIN:
        draws = np.random.default_rng(0).standard_normal((n, PLAIN)) / np.sqrt(PLAIN)
        plain = plain @ draws
    return edges, _with_cosines(plain)


def _of_channel(values: npt.NDArray[np.float64], edges: Edges) -> npt.NDArray[np.float64]:
    """Return the features of the windows of one channel, (m, OF_CHANNEL)."""
    spread = values.std()
    flat = spread <= 1e-6 * max(float(np.abs(values).max()), 1e-9)
    relative = np.zeros_like(values) if flat else (values - values.mean()) / spread
    relative = np.clip(relative, -8, 8)
    steps = np.abs(np.diff(relative, append=relative[-1:]))
    own, squares, moves = (_means(one, edges) for one in (relative, relative**2, steps))
    near, far = _around(own, NEAR), _around(own, FAR)
    deviations = [
        np.sqrt(np.maximum(_around(squares, n) - _around(own, n) ** 2, 0)) for n in (1, NEAR, FAR)
    ]
    slopes = [_slope(own, 1), _slope(near, NEAR // 2), _slope(far, FAR // 2)]
    size = _means(values, edges)
    energies = []
    smooth = relative
    for octave in range(OCTAVES):
        smoother = uniform_filter1d(relative, 2 ** (octave + 1) + 1, mode="nearest")
        energies.append(_around(_means((smooth - smoother) ** 2, edges), NEAR))
        smooth = smoother
    columns = [
        own,
        near,
        far,
        own - near,
        near - far,
        *(2 * one for one in deviations),
        *slopes,
        *(np.log1p(4 * _around(moves, n)) for n in (1, NEAR, FAR)),
        0.2 * np.sign(size) * np.log1p(np.abs(size)),
        *(2 * np.sqrt(one) for one in energies),
    ]
    return np.stack(columns, axis=1)


def sound_windows(samples: FloatArray) -> tuple[npt.NDArray[np.float64], FloatArray]:
    """Return the seconds between which windows lie, (m + 1,), and the features of m windows.

    A window of a sound of up to two minutes has 96 ms, and there are at most `MOST_OF_SOUND`.

    Parameters
    ----------
    samples : array of shape (n,)
        `RATE` of them a second.
    """
    power = np.concatenate([*_spectrograms(samples)])
    frames = len(power)
    length = max(FRAMES, -(-frames // MOST_OF_SOUND))
    m = max(1, frames // length)
    edges = np.append(np.arange(m) * length, frames)
    seconds = np.round(edges * HOP / RATE, 3)
    seconds[-1] = max(round(len(samples) / RATE, 3), seconds[-2])
    loudest = max(float(power.max()), 1e-10)
    decibels = 10 * np.log10(np.maximum(power / loudest, 10 ** (-RANGE / 10))) / RANGE + 1
    change = np.abs(np.diff(decibels, axis=0, append=decibels[-1:])).mean(axis=1)
    bands = np.stack(
        [part.mean(axis=1) for part in np.array_split(decibels, COARSE, axis=1)], axis=1
    )
    own = _means(bands, edges)
    moves = np.sqrt(np.maximum(_means(bands**2, edges) - own**2, 0)).mean(axis=1)
    near, far = _around(own, NEAR), _around(own, FAR)
    level, flux = own.mean(axis=1), _means(change, edges)
    columns = [
        own - own.mean(axis=0),
        own - level[:, None],
        near - own.mean(axis=0),
        own - near,
        far - own.mean(axis=0),
        np.stack([level, moves, flux, _around(flux, NEAR), _around(flux, FAR)], axis=1),
    ]
    return seconds, _with_cosines(4 * np.concatenate(columns, axis=1))


def _spectrograms(samples: FloatArray) -> list[FloatArray]:
    """Return the power in bands of frames, block by block: a sound may be long."""
    frames = max(1, (len(samples) - WINDOW) // HOP + 1)
    return [
        spectrogram(samples[at * HOP : (min(at + BLOCK, frames) - 1) * HOP + WINDOW])
        for at in range(0, frames, BLOCK)
    ]


def _means(values: npt.NDArray[np.floating], edges: Edges) -> npt.NDArray[np.float64]:
    """Return the means between edges; of a single row that row."""
    n = np.maximum(np.diff(edges), 1)
    sums = np.add.reduceat(values, np.minimum(edges[:-1], len(values) - 1), axis=0)
    last = len(values) - edges[-2]  # the last window has what is left
    n[-1] = max(last, 1)
    return sums / (n if values.ndim == 1 else n[:, None])


def _around(values: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    return uniform_filter1d(values, n, axis=0, mode="nearest")


def _slope(values: npt.NDArray[np.float64], n: int) -> npt.NDArray[np.float64]:
    """Return how much values rise from n windows before to n behind."""
    padded = np.pad(values, n, mode="edge")
    return padded[2 * n :] - padded[: -2 * n]


def _with_cosines(plain: npt.NDArray[np.floating]) -> FloatArray:
    """Return numbers with zeros up to `PLAIN`, and random cosines of them."""
    n = plain.shape[1]
    weight, phase = _directions()
    spread = WIDTH / np.sqrt(max(n, 1))
    cosines = np.sqrt(2 / COSINES) * np.cos(plain @ (weight[:n] * spread) + phase)
    padded = np.pad(plain, ((0, 0), (0, PLAIN - n)))
    return np.concatenate([padded, 4 * cosines], axis=1).astype(np.float32)


@lru_cache(maxsize=1)
def _directions() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the directions and phases of the random cosines, always the same."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(PLAIN, COSINES)), rng.uniform(0, 2 * np.pi, COSINES)
