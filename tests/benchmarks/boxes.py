"""How many images does the order of the queue save when boxes and key points are marked?

    python tests/benchmarks/boxes.py --report backend/docs/regions.md     # five minutes

Disks and stripes on a noisy ground, as the tests draw them. What is measured says `region_curves`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from active_learn_backend.learning.regions.cell_features import cell_features, grid_of
from active_learn_backend.learning.regions.cells import CELLS
from active_learn_backend.learning.regions.parts import TaskParts
from region_curves import DrawnTasks, Regions, measure
from report import measured_by, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from media_files import picture_with_boxes

NAMES = ("disk", "stripes")


def draw_boxes(rng: np.random.Generator) -> tuple[TaskParts, Regions]:
    image, boxes = picture_with_boxes(rng)
    rows, columns = grid_of(*image.size)
    places = np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)
    return TaskParts(cell_features(image), places), boxes


def draw_middles(rng: np.random.Generator) -> tuple[TaskParts, Regions]:
    parts, boxes = draw_boxes(rng)
    return parts, [[middle_of(*corners), middle_of(*corners), name] for *corners, name in boxes]


def middle_of(first: list[float], last: list[float]) -> list[float]:
    return [(low + high) / 2 for low, high in zip(first, last, strict=True)]


DRAWN: dict[str, DrawnTasks] = {
    "boxes": (CELLS["box"], NAMES, draw_boxes),
    "key points": (CELLS["point"], NAMES, draw_middles),
}


def main() -> None:
    arguments, found = measure(__doc__, DRAWN)
    publish(
        "boxes",
        f"{measured_by()}: F1 of boxes at IoU .5, of points within 6.25 %, {found}",
        arguments.report,
    )


if __name__ == "__main__":
    main()
