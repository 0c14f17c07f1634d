"""Scikit-learn's handwritten digits as PNG files: a pool to upload, and a held-out rest."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from .label_studio import LabelStudioServer

__all__ = ["LABEL_CONFIG", "Digits", "create_project", "digit_index", "load", "upload"]

LABELS = tuple("0123456789")
LABEL_CONFIG = (
    '<View><Image name="image" value="$image" zoom="true"/>'
    '<Choices name="label" toName="image" choice="single" showInLine="true" required="true">'
    + "".join(f'<Choice value="{label}" hotkey="{label}"/>' for label in LABELS)
    + "</Choices></View>"
)
UPLOAD_LIMIT = 100  # files in one request that Label Studio takes
ENLARGE = 8  # 8 x 8 pixels are too few for a person to see on a screen


@dataclass(frozen=True)
class Digits:
    """Images by their index in the data set, the truth, and who is in which part.

    Attributes
    ----------
    png : tuple of bytes
        All 1,797 images as PNG files, 64 x 64 grey.
    truth : tuple of str
        Their labels, "0" to "9".
    pool, held_out : ndarray of int, shape (n,)
        Indices of the two parts, in the order in which the pool is uploaded.
    """

    png: tuple[bytes, ...]
    truth: tuple[str, ...]
    pool: np.ndarray
    held_out: np.ndarray


def load(pool: int = 1400, seed: int = 0) -> Digits:
    """Split the digits at random into ``pool`` images to label and a held-out rest.

    The order of the pool is random too: the data set comes in runs of 0, 1, 2, ..., which would
    hand the plain queue balanced classes for nothing.
    """
    images, classes = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(classes))
    return Digits(
        png=tuple(_png(image.reshape(8, 8)) for image in images),
        truth=tuple(str(label) for label in classes),
        pool=order[:pool],
        held_out=order[pool:],
    )


def create_project(server: LabelStudioServer, title: str, **fields: object) -> int:
    """Create an empty project for digits and return its id."""
    body = {"title": title, "label_config": LABEL_CONFIG, **fields}
    return int(server.api("POST", "/api/projects/", body)["id"])


def upload(
    server: LabelStudioServer, project: int, png: Sequence[bytes], indices: Sequence[int]
) -> None:
    """Upload images as a person would drop files on the import page, 100 at a time.

    Files are named by index (``digit-0042.png``), never by class: the name shows in the task.
    """
    for start in range(0, len(indices), UPLOAD_LIMIT):
        part = indices[start : start + UPLOAD_LIMIT]
        # One field name a file: of several files under one name Label Studio keeps the last.
        files = {f"f{i}": (f"digit-{i:04d}.png", png[i], "image/png") for i in part}
        answer = server.api("POST", f"/api/projects/{project}/import", files=files)
        if answer["task_count"] != len(part):
            raise RuntimeError(
                f"Label Studio made {answer['task_count']} tasks of {len(part)} images"
            )


def digit_index(task: Mapping[str, dict[str, str]]) -> int:
    """Read from a task which image it shows."""
    found = re.search(r"digit-(\d+)\.png$", task["data"]["image"])
    if found is None:
        raise ValueError(f"no digit's file name in {task['data']['image']!r}")
    return int(found[1])


def _png(pixels: np.ndarray) -> bytes:
    """Encode an (8, 8) image of the grey levels 0..16 as PNG, dark ink on white, enlarged."""
    grey = (255 - pixels * (255 / 16)).round().astype(np.uint8)
    image = Image.fromarray(grey).resize((8 * ENLARGE, 8 * ENLARGE), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
