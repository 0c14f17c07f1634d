"""Audio, video, PDF and image files, made by the tests."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Array = npt.NDArray[np.floating]

RATE = 16_000
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "libopus", "mp4": "aac"}


def tone(frequency: float, seconds: float = 0.5, rate: int = RATE) -> Array:
    """A tone, as samples."""
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(int(seconds * rate)) / rate)


def audio_file(samples: Array, kind: str = "wav", rate: int = RATE) -> bytes:
    """Encode samples, of shape (n,) or (channels, n)."""
    samples = np.atleast_2d(samples).astype(np.float32)
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        coded = 48_000 if CODECS[kind] == "libopus" else rate
        layout = "mono" if len(samples) == 1 else "stereo"
        stream = container.add_stream(CODECS[kind], rate=coded, layout=layout)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate = rate
        resampler = av.AudioResampler(
            format=stream.format, layout=layout, rate=coded, frame_size=stream.frame_size or 1024
        )
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return file.getvalue()


def video_file(pictures: npt.NDArray[np.uint8], kind: str = "mp4", rate: int = 25) -> bytes:
    """Encode frames, of shape (n, height, width, 3)."""
    file = io.BytesIO()
    codec = {"mp4": "libx264", "webm": "libvpx", "avi": "mpeg4"}[kind]
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate)
        for at, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = at, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def pdf_file(*pages: str, size: tuple[float, float] = (612, 792)) -> bytes:
    """Write a PDF with a line of text on each page."""
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for at, text in enumerate(pages):
        drawn = f"BT /F1 24 Tf 20 {size[1] / 2:g} Td ({text}) Tj ET"
        objects += [
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {size[0]:g} {size[1]:g}] /Contents "
            f"{5 + 2 * at} 0 R /Resources << /Font << /F1 3 0 R >> >> >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        ]
    body = "%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{end}".encode("latin-1")


def png_file(seed: int, size: tuple[int, int] = (30, 20)) -> bytes:
    """Write an image of random pixels, of a width and a height."""
    pixels = np.random.default_rng(seed).integers(256, size=(*size[::-1], 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def picture_with_boxes(rng: np.random.Generator) -> tuple[Image.Image, list[list[Any]]]:
    """Draw disks and stripes on a noisy ground; return their boxes in percent, and their names."""
    width, height = (int(side) for side in rng.integers(240, 420, 2))
    ground = rng.normal(120, 35, (height, width, 3)) + rng.normal(0, 25, 3)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw, boxes = ImageDraw.Draw(image), []
    for _ in range(int(rng.integers(0, 4))):
        w, h = (int(side) for side in rng.integers(60, 110, 2))
        x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
        new = [100 * x / width, 100 * y / height], [100 * (x + w) / width, 100 * (y + h) / height]
        apart = (new[1][0] < a[0] or b[0] < new[0][0] or new[1][1] < a[1] or b[1] < new[0][1]
                 for a, b, _ in boxes)  # fmt: skip
        if not all(apart):
            continue
        color = tuple(int(one) for one in rng.integers(0, 256, 3))
        name = str(rng.choice(["disk", "stripes"]))
        if name == "disk":
            draw.ellipse([x, y, x + w, y + h], fill=color)
        else:
            for line in range(0, h, 6):
                draw.line([x, y + line, x + w, y + line], fill=color, width=3)
        boxes.append([*new, name])
    return image, boxes
