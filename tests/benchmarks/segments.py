"""How many tasks does the order of the queue save when segments are labeled?

    python tests/benchmarks/segments.py --report backend/docs/regions.md     # four minutes

What is measured says `region_curves`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from active_learn_backend.labeling.time_series import Series
from active_learn_backend.learning.regions.parts import TaskParts
from active_learn_backend.learning.regions.window_features import sound_windows
from active_learn_backend.learning.regions.windows import (
    SeriesWindowEncoder,
    SeriesWindows,
    SoundWindows,
    places_between,
)
from region_curves import DrawnTasks, measure
from report import measured_by, publish

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from drawn_segments import EVENTS, SOUNDS, Segments, series_with_events, sound_with_events


def draw_series(rng: np.random.Generator) -> tuple[TaskParts, Segments]:
    columns, segments = series_with_events(rng)
    channels = np.array([columns["x"], columns["y"]], np.float32)
    return SeriesWindowEncoder().prepare(Series(channels)), segments


def draw_sound(rng: np.random.Generator) -> tuple[TaskParts, Segments]:
    samples, segments = sound_with_events(rng)
    seconds, features = sound_windows(samples)
    return TaskParts(features, places_between(seconds)), segments


DRAWN: dict[str, DrawnTasks] = {
    "time series": (SeriesWindows(), EVENTS, draw_series),
    "sounds": (SoundWindows(), SOUNDS, draw_sound),
}


def main() -> None:
    arguments, found = measure(__doc__, DRAWN)
    publish("segments", f"{measured_by()}: F1 at IoU .5 of segments, {found}", arguments.report)


if __name__ == "__main__":
    main()
