"""Time series and sounds with events that the tests draw, and where these are."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating]
Segments = list[list[Any]]

RATE = 16_000
EVENTS = ("burst", "step", "sway")
SOUNDS = ("tone", "clicks", "hiss")
SHARES = (0.6, 0.25, 0.15)  # of the kinds: the last one is rare


def _lie(
    rng: np.random.Generator, n: int, least: int, most: int, count: int
) -> list[tuple[int, int]]:
    """Return where some events lie in n rows, apart from one another and in order."""
    found: list[tuple[int, int]] = []
    for _ in range(count):
        length = int(rng.integers(least, most))
        start = int(rng.integers(0, max(n - length, 1)))
        gap = least // 2
        if all(start + length + gap <= a or b + gap <= start for a, b in found):
            found.append((start, start + length))
    return sorted(found)


def series_with_events(rng: np.random.Generator) -> tuple[dict[str, list[float]], Segments]:
    """Draw a series of two channels, x and y; return its columns, and its events by row."""
    n = int(rng.integers(150, 350))
    x, y = (np.cumsum(rng.normal(0, 0.08, n)) + rng.normal(0, 0.3, n) for _ in range(2))
    scale, shift = rng.uniform(0.5, 5), rng.normal(0, 5)
    segments: Segments = []
    for start, end in _lie(rng, n, 12, 40, int(rng.integers(0, 4))):
        name = str(rng.choice(EVENTS, p=SHARES))
        at, size = np.arange(end - start), rng.uniform(1, 2)
        if name == "burst":
            x[start:end] += size * np.sin(at * rng.uniform(1.5, 2.5))
        elif name == "step":
            y[start:end] += 1.6 * size * rng.choice([-1, 1])
        else:
            wave = 1.4 * size * np.sin(at * rng.uniform(0.4, 0.7))
            x[start:end] += wave
            y[start:end] -= wave
        segments.append([float(start), float(end), name])
    columns = {"x": scale * x + shift, "y": scale * y - shift}
    return {name: np.round(one, 4).tolist() for name, one in columns.items()}, segments


def sound_with_events(rng: np.random.Generator, seconds: float = 6.0) -> tuple[Array, Segments]:
    """Draw a sound over noise; return its samples, and its events in seconds."""
    n = int(seconds * RATE)
    sound = rng.normal(0, 1, n)
    sound = 0.02 * np.convolve(sound, np.exp(-np.arange(60) / rng.uniform(2, 20)), "same")
    segments: Segments = []
    for start, end in _lie(rng, n, RATE // 2, 3 * RATE // 2, int(rng.integers(0, 4))):
        name = str(rng.choice(SOUNDS, p=SHARES))
        t, loud = np.arange(end - start) / RATE, rng.uniform(0.05, 0.3)
        if name == "tone":
            made = np.sin(2 * np.pi * rng.uniform(200, 2000) * t)
        elif name == "clicks":
            made = rng.normal(size=len(t)) * np.exp(-np.mod(t, rng.uniform(0.06, 0.15)) * 150)
        else:
            made = rng.normal(size=len(t)) * 0.5
        sound[start:end] += loud * made
        segments.append([start / RATE, end / RATE, name])
    return sound.astype(np.float32), segments
