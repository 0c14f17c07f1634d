"""Ten kinds of sounds, made by formulas, for the benchmarks of audio."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from active_learn_backend.learning.encoders.log_mel import RATE

Array = np.ndarray
Random = np.random.Generator


def tone(t: Array, f: float, random: Random) -> Array:
    return np.sin(2 * np.pi * f * t)


def buzz(t: Array, f: float, random: Random) -> Array:
    return np.sign(np.sin(2 * np.pi * f * t))


def rising(t: Array, f: float, random: Random) -> Array:
    return np.sin(2 * np.pi * f * (t + t**2 / t[-1] / 2))


def falling(t: Array, f: float, random: Random) -> Array:
    return np.sin(2 * np.pi * f * (2 * t - t**2 / t[-1] / 2))


def tremolo(t: Array, f: float, random: Random) -> Array:
    return tone(t, f, random) * (1 + np.sin(2 * np.pi * random.uniform(4, 9) * t))


def siren(t: Array, f: float, random: Random) -> Array:
    return np.sin(2 * np.pi * f * t + 60 * np.sin(2 * np.pi * random.uniform(1, 3) * t))


def hiss(t: Array, f: float, random: Random) -> Array:
    return random.normal(size=len(t))


def rumble(t: Array, f: float, random: Random) -> Array:
    return np.convolve(random.normal(size=len(t)), np.exp(-np.arange(2000) / 300), "same")


def clicks(t: Array, f: float, random: Random) -> Array:
    since = np.mod(t + random.uniform(0, 0.2), random.uniform(0.08, 0.2))
    return random.normal(size=len(t)) * np.exp(-since * 150)


def bell(t: Array, f: float, random: Random) -> Array:
    partials = sum(np.sin(2 * np.pi * f * ratio * t) / ratio for ratio in (1, 2.76, 5.4))
    return partials * np.exp(-t * random.uniform(3, 6))


KINDS: tuple[Callable[[Array, float, Random], Array], ...] = (
    tone, buzz, rising, falling, tremolo, siren, hiss, rumble, clicks, bell,
)  # fmt: skip


def sounds(count: int, seed: int = 0) -> tuple[list[Array], Array]:
    """Make sounds and their classes: of different pitch, length, loudness and noise.

    The first class has ten times the members of the last.
    """
    random = np.random.default_rng(seed)
    shares = 1 / np.linspace(1, 10, len(KINDS))
    classes = random.choice(len(KINDS), count, p=shares / shares.sum())
    made = []
    for kind in classes:
        t = np.arange(int(RATE * random.uniform(0.5, 2))) / RATE
        sound = KINDS[kind](t, random.uniform(200, 1500), random)
        sound = sound / np.sqrt(np.mean(sound**2))
        noise = random.normal(size=len(t)) * 10 ** (-random.uniform(5, 25) / 20)
        made.append(((sound + noise) * random.uniform(0.01, 0.2)).astype(np.float32))
    return made, classes
