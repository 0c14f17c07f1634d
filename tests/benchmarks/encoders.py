"""How many tasks a second the embedded encoders embed, decoding of their files included.

    python tests/benchmarks/encoders.py                  # two minutes
    python tests/benchmarks/encoders.py --report FILE    # a Markdown file with marks for it

The files are made here and lie in memory, so what a network costs is not in it.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from active_learn_backend.labeling.data_objects import Field
from active_learn_backend.learning.encoders import TaskEncoder, configured_encoders
from active_learn_backend.settings import Settings
from PIL import Image
from report import add_report_option, measured_by, publish

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from media_files import audio_file, pdf_file, video_file

WORDS = ("card", "account", "lost", "shop", "station", "nobody", "found", "near", "was", "and")


@dataclass(frozen=True)
class Case:
    """Tasks with one field, whose files are all of the same size."""

    what: str
    kind: str
    make: Callable[[np.random.Generator], bytes]
    many: int = 1
    columns: tuple[str, ...] = ()


def text(n: int) -> Callable[[np.random.Generator], bytes]:
    return lambda random: " ".join(random.choice(WORDS, n)).encode()


def picture(width: int, height: int, kind: str) -> Callable[[np.random.Generator], bytes]:
    def make(random: np.random.Generator) -> bytes:
        small = random.integers(256, size=(height // 16, width // 16, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize((width, height)).save(file, kind)
        return file.getvalue()

    return make


def sound(seconds: float, kind: str) -> Callable[[np.random.Generator], bytes]:
    def make(random: np.random.Generator) -> bytes:
        return audio_file(random.normal(size=int(seconds * 44_100)) / 10, kind, 44_100)

    return make


def film(seconds: int, width: int, height: int) -> Callable[[np.random.Generator], bytes]:
    def make(random: np.random.Generator) -> bytes:
        block = random.integers(256, size=(height, width, 3), dtype=np.uint8)
        block = block.reshape(height // 8, 8, width // 8, 8, 3)[:, :1, :, :1]
        still = np.broadcast_to(block, (height // 8, 8, width // 8, 8, 3)).reshape(height, width, 3)
        return video_file(np.stack([np.roll(still, at, 1) for at in range(25 * seconds)]))

    return make


def document(random: np.random.Generator) -> bytes:
    return pdf_file(*(" ".join(random.choice(WORDS, 400)) for _ in range(5)))


def table(rows: int) -> Callable[[np.random.Generator], bytes]:
    def make(random: np.random.Generator) -> bytes:
        values = random.normal(size=(rows, 3))
        lines = (",".join(f"{one:.5f}" for one in row) for row in values)
        return ("x,y,z\n" + "\n".join(lines)).encode()

    return make


CASES = (
    Case("text of 12 words", "text", text(12)),
    Case("text of 1,000 words", "text", text(1000)),
    Case("JPEG of 640 x 480", "image", picture(640, 480, "JPEG")),
    Case("JPEG of 4,000 x 3,000", "image", picture(4000, 3000, "JPEG")),
    Case("four JPEG of 640 x 480", "images", picture(640, 480, "JPEG"), many=4),
    Case("WAV of 10 s", "audio", sound(10, "wav")),
    Case("MP3 of 60 s", "audio", sound(60, "mp3")),
    Case("MP4 of 10 s, 640 x 360", "video", film(10, 640, 360)),
    Case("MP4 of 60 s, 640 x 360", "video", film(60, 640, 360)),
    Case("PDF of 5 pages with text", "pdf", document),
    Case("PDF of a scan, 1,600 x 2,000", "pdf", picture(1600, 2000, "PDF")),
    Case("CSV of 1,000 x 3", "time series", table(1000), columns=("x", "y", "z")),
    Case("CSV of 100,000 x 3", "time series", table(100_000), columns=("x", "y", "z")),
)


def measure(case: Case, seconds: float) -> str:
    random = np.random.default_rng(0)
    files = [case.make(random) for _ in range(2)]
    by_url = case.kind == "time series"
    shown = Field("f", case.kind, by_url=by_url, columns=case.columns)  # type: ignore[arg-type]

    def load(address: str, *, video: bool = False) -> bytes:
        return files[int(address)]

    def content(at: int) -> str:
        address = str(at % len(files))
        if case.kind == "text":
            return f"{at} {files[at % len(files)].decode()}"
        return json.dumps([address] * case.many) if case.kind == "images" else address

    encoder = TaskEncoder([shown], load, configured_encoders(Settings(), {case.kind}))
    encoder.encode([{"f": content(at)} for at in range(4)])  # processes start, libraries load
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        _, failed = encoder.encode([{"f": content(done + at)} for at in range(16)])
        assert not failed, failed
        done += 16
    rate = done / (time.monotonic() - began)
    size = len(files[0]) * case.many / 1000
    return f"| {case.what} | {number(size)} kB | {number(rate)} | {number(1e6 / rate / 3600)} h |"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="of each case, at least")
    add_report_option(parser)
    options = parser.parse_args()
    rows = [measure(case, options.seconds) for case in CASES]
    text = (
        f"{measured_by()}: embedded encoders, files in memory.\n\n"
        "| task | size | tasks a second | a million tasks |\n|---|---|---|---|\n" + "\n".join(rows)
    )
    publish("encoders", text, options.report)


if __name__ == "__main__":
    main()
