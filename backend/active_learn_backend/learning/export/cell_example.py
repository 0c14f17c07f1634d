"""The example beside an exported head of regions of images, as the text of a Python file."""

from collections.abc import Sequence

from .region_example import example_of

__all__ = ["USAGE", "VALUES", "cell_example"]

USAGE = """`python example.py image.jpg` prints the regions. `find_regions` in `example.py` is what
to call from another program. Each region has a label, a score, and its place as Label Studio
stores it: numbers are percent of the image as it is shown, turned as its EXIF data says. A mask is
a PNG of the size of the image as a data URL: black where it is, transparent elsewhere.
"""

BEGINNING = '''"""Find the regions of an image: python example.py FILE

It needs: pip install numpy scipy pillow safetensors (and torch transformers, if there is a folder
"encoder"). With - it reads a JSON list of files from its standard input.
"""

import json
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
from cells import CELLS, CellEncoder
from overlaps import join_runs
from safetensors.numpy import load_file
from transitions import Counts, best_tags, runs_of
'''

EMBEDDED = """encoder = CellEncoder()
"""

OF_MODEL = """import threading

from patch_states import PatchStates
from patches import PatchEncoder
from transformers import AutoImageProcessor, AutoModel

processor = AutoImageProcessor.from_pretrained(folder / "encoder")
model = AutoModel.from_pretrained(folder / "encoder").float().eval()
encoder = PatchEncoder(PatchStates(model, processor, threading.Lock()), "")
"""

FIND = '''def find_regions(data):
    """Return the regions of an image, of the bytes of its file."""
    (cells,) = encoder.encode([encoder.prepare(data)])
    found = CELLS[head["shape"]].regions(all_runs(cells.features), labels, cells.places)
    return [
        {"label": one.label, "score": one.score, **value_of(one.start, one.end)} for one in found
    ]


if __name__ == "__main__":
    if sys.argv[1:] == ["-"]:
        print(json.dumps([find_regions(Path(file).read_bytes()) for file in json.load(sys.stdin)]))
    else:
        print(json.dumps(find_regions(Path(sys.argv[1]).read_bytes()), ensure_ascii=False))
'''

BOX = '''def value_of(start, end):
    """Return a box, in percent of the image."""
    (left, top), (right, bottom) = start, end
    box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    return {**{name: round(one, 3) for name, one in box.items()}, "rotation": 0}
'''

ELLIPSE = '''def value_of(start, end):
    """Return the ellipse in a box, in percent of the image."""
    (left, top), (right, bottom) = start, end
    ellipse = {"x": (left + right) / 2, "y": (top + bottom) / 2,
               "radiusX": (right - left) / 2, "radiusY": (bottom - top) / 2}
    return {**{name: round(one, 3) for name, one in ellipse.items()}, "rotation": 0}
'''

POINT = '''def value_of(start, end):
    """Return a point, in percent of the image; the width is that in which it is drawn."""
    return {"x": round(start[0], 3), "y": round(start[1], 3), "width": 1}
'''

POLYGON = '''from masks import mask_of, outline


def value_of(start, end):
    """Return the corners of a polygon, in percent of the image."""
    return {"points": [list(at) for at in outline(mask_of(start, end))], "closed": True}
'''

MASK = '''from bitmask_png import write_bitmask
from masks import mask_of


def value_of(start, end):
    """Return the pixels of a mask, as a PNG of the size of the image."""
    return {"imageDataURL": write_bitmask(mask_of(start, end), *end[3:])}
'''

#: How a region is told, by the tag of the control.
VALUES = {
    "RectangleLabels": BOX,
    "EllipseLabels": ELLIPSE,
    "KeyPointLabels": POINT,
    "PolygonLabels": POLYGON,
    "BrushLabels": MASK,
    "BitmaskLabels": MASK,
}


def cell_example(tag: str, *, of_model: bool) -> str:
    """Return the example for cells that are known by a model, or without one."""
    parts: Sequence[str] = (OF_MODEL if of_model else EMBEDDED, VALUES[tag], FIND)
    return example_of(BEGINNING, *parts)
