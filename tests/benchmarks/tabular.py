"""Tables of numbers for regression: one that scikit-learn ships, and nine made by formulas.

The made ones have the traits of tables that are often used: few levels, no noise, heavy tails.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn import datasets

__all__ = ["TABLES", "Table"]

Table = tuple[np.ndarray, np.ndarray]
ROWS = 1500


def diabetes() -> Table:
    """442 patients; noisy, and nearly linear."""
    return datasets.load_diabetes(return_X_y=True)


def friedman_1() -> Table:
    """Ten features, five of them without effect; noisy."""
    return datasets.make_friedman1(ROWS, noise=1.0, random_state=0)


def friedman_2() -> Table:
    """An impedance: features of very different scales; noisy."""
    return datasets.make_friedman2(ROWS, noise=125.0, random_state=0)


def friedman_3() -> Table:
    """A phase: nearly a step; noisy."""
    return datasets.make_friedman3(ROWS, noise=0.1, random_state=0)


def heavy_tailed() -> Table:
    """The first Friedman function, with noise of Student's t of two degrees of freedom."""
    X, y = datasets.make_friedman1(ROWS, noise=0.0, random_state=1)
    return X, y + np.random.default_rng(1).standard_t(2, ROWS)


def propulsion() -> Table:
    """Sixteen sensors of an engine at nine levels and of two kinds of decay, one of them the label.

    Exact, and hardly visible in any one sensor (like naval-propulsion).
    """
    rng = np.random.default_rng(2)
    lever = rng.integers(1, 10, ROWS) / 9
    compressor, turbine = rng.uniform(0.95, 1, ROWS), rng.uniform(0.975, 1, ROWS)
    powers, effects = rng.uniform(0.5, 4, 16), rng.normal(size=(2, 16))
    decayed = np.outer(1 - compressor, effects[0]) + np.outer(1 - turbine, effects[1])
    return lever[:, None] ** powers * (1 + decayed), compressor


def arm() -> Table:
    """The distance of the end of an arm of eight joints from a point; some noise (like kin8nm)."""
    rng = np.random.default_rng(3)
    angles = rng.uniform(-np.pi / 4, np.pi / 4, (ROWS, 8))
    turned = np.cumsum(angles, axis=1)
    end = np.stack([np.cos(turned).sum(axis=1), np.sin(turned).sum(axis=1)], axis=1) / 8
    return angles, np.linalg.norm(end - [0.1, 0.1], axis=1) + rng.normal(0, 0.02, ROWS)


def building() -> Table:
    """Twelve shapes in all settings of four dials, 768 in all; nearly exact (like energy)."""
    rng = np.random.default_rng(4)
    shape, side, glass, spread = np.meshgrid(
        np.arange(12), np.arange(4), [0, 0.1, 0.25, 0.4], np.arange(4), indexing="ij"
    )
    compact = 0.62 + 0.03 * shape.ravel()
    surface, height = 500 / compact, np.where(shape.ravel() < 6, 3.5, 7.0)
    walls, roof = 245 + 30 * (shape.ravel() % 5), surface / 4
    X = np.stack(
        [compact, surface, walls, roof, height, side.ravel(), glass.ravel(), spread.ravel()], axis=1
    )
    load = 0.02 * walls + 3 * height * (1 + glass.ravel()) + 15 * (compact - 0.75) ** 2 / 0.02
    return X, load + 0.3 * np.sin(spread.ravel() + side.ravel()) + rng.normal(0, 0.4, len(X))


def hull() -> Table:
    """22 hulls at 14 speeds; the resistance grows by powers of the speed (like yacht)."""
    rng = np.random.default_rng(5)
    hulls, speed = rng.normal(size=(22, 5)), np.linspace(0.125, 0.45, 14)
    form = 1 + 0.2 * np.tanh(hulls @ rng.normal(size=5))
    X = np.column_stack([np.repeat(hulls, 14, axis=0), np.tile(speed, 22)])
    return X, np.repeat(form, 14) * np.exp(20 * (X[:, 5] - 0.25)) + rng.normal(0, 0.1, len(X))


def power_plant() -> Table:
    """Four correlated measures of the air, a nearly linear label; noisy."""
    rng = np.random.default_rng(6)
    heat = rng.normal(size=ROWS)
    X = np.stack([heat, 0.8 * heat + 0.6 * rng.normal(size=ROWS), *rng.normal(size=(2, ROWS))], 1)
    label = -14 * X[:, 0] - 3 * X[:, 1] + X[:, 2] - 2 * X[:, 3] + 1.5 * X[:, 0] ** 2
    return X, label + rng.normal(0, 4, ROWS)


TABLES: dict[str, Callable[[], Table]] = {
    "diabetes": diabetes,
    "Friedman 1": friedman_1,
    "Friedman 2": friedman_2,
    "Friedman 3": friedman_3,
    "heavy-tailed": heavy_tailed,
    "propulsion": propulsion,
    "arm": arm,
    "building": building,
    "hull": hull,
    "power plant": power_plant,
}
