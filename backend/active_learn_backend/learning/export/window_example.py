"""The example beside an exported head of segments, as the text of a Python file."""

from .region_example import example_of

__all__ = ["USAGE", "window_example"]

USAGE = """`python example.py FILE` prints the segments of a sound, or of a time series in a CSV or
JSON file. `find_segments` in `example.py` is what to call from another program. Borders are as
Label Studio stores them: seconds of a sound, of a series times of its time column, or rows.
"""

BEGINNING = '''"""Find the segments of a sound or a time series: python example.py FILE

It needs: pip install numpy scipy pillow safetensors (and av for sounds). With - it reads a JSON
list of files from its standard input.
"""

import json
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
from overlaps import join_runs
from safetensors.numpy import load_file
from transitions import Counts, best_tags, runs_of
'''

SOUND = '''from windows import SoundWindowEncoder, SoundWindows

encoder, kind = SoundWindowEncoder(), SoundWindows()


def windows_of(data):
    """Return the windows of a sound."""
    return encoder.prepare(data)


def value_of(start, end):
    """Return the borders of a segment, in seconds."""
    return {"start": start, "end": end, "channel": 0}
'''

SERIES = '''from time_formats import TimeFormat
from time_series import read_series
from windows import SeriesWindowEncoder, SeriesWindows

encoder, kind = SeriesWindowEncoder(), SeriesWindows()
written = TimeFormat(head["time_format"]) if head["time_format"] else None


def windows_of(data):
    """Return the windows of a time series."""
    names = ("columns", "separator", "time_column", "time_format")
    text = data.decode("utf-8", "replace")
    return encoder.prepare(read_series(text, *(head[name] for name in names)))


def value_of(start, end):
    """Return the borders of a segment, as its time column has them."""
    borders = {"start": time_of(start), "end": time_of(end)}
    return {**borders, "instant": start == end}


def time_of(border):
    if written:
        return written.write(border)
    return int(border) if border.is_integer() else border
'''

FIND = '''def find_segments(data):
    """Return the segments of a sound or a time series, of the bytes of its file."""
    windows = windows_of(data)
    return [
        {"label": one.label, "score": one.score, **value_of(one.start, one.end)}
        for one in kind.regions(all_runs(windows.features), labels, windows.places)
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        print(json.dumps([find_segments(Path(one).read_bytes()) for one in json.load(sys.stdin)]))
    else:
        print(json.dumps(find_segments(Path(sys.argv[1]).read_bytes()), ensure_ascii=False))
'''


def window_example(*, of_sound: bool) -> str:
    """Return the example for the windows of a sound, or of a time series."""
    return example_of(BEGINNING, SOUND if of_sound else SERIES, FIND)
