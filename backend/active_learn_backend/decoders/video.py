"""Decodes a few frames of a video, by FFmpeg (PyAV)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame

from .ffmpeg import open_file

__all__ = ["decode_frames"]

FORMATS = "mov,mp4,m4a,3gp,3g2,matroska,webm,avi,ogg,mpeg,mpegts,flv,asf"
MAX_MEGAPIXELS = 36.0  # of a frame: 8K; a decoder holds up to 17 of them
MOST_DECODED = 1_000  # frames; in longer videos it is sought, to save time
AFTER_SEEK = 60  # frames that are decoded at most behind one that stands for itself
SIDE = 384  # pixels of the longer side of a result


def decode_frames(data: bytes, frames: int) -> npt.NDArray[np.uint8]:
    """Decode some frames, evenly over the time of a video.

    Parameters
    ----------
    frames : int
        How many; fewer of a video that has fewer.

    Returns
    -------
    array of shape (n, height, width, 3)

    Raises
    ------
    ValueError
        When it is no video that can be read.
    """
    problem = "it is no video that can be read; expected MP4, MOV, WebM, MKV, AVI, Ogg or MPEG"
    with open_file(data, FORMATS, problem) as container:
        if not container.streams.video:
            raise ValueError("it holds no picture")
        stream = container.streams.video[0]
        if stream.width * stream.height > MAX_MEGAPIXELS * 1e6:
            raise ValueError(
                f"it has {stream.width} x {stream.height} pixels, more than the "
                f"{MAX_MEGAPIXELS:g} megapixels that are decoded"
            )
        stream.thread_type = "AUTO"
        seconds = (container.duration or 0) / av.time_base
        rate = float(stream.average_rate or 25)
        if seconds * rate <= MOST_DECODED:
            found = _evenly(container, frames)
        else:
            times = [(at + 0.5) / frames * seconds for at in range(frames)]
            sought = (_sought(container, time) for time in times)
            found = [picture for picture in sought if picture is not None]
            if not found:  # its length is a wrong one
                container.seek(0)
                found = _evenly(container, frames)
    if not found:
        raise ValueError("it holds no picture, or is damaged")
    height, width = found[0].shape[:2]
    return np.stack([picture for picture in found if picture.shape == (height, width, 3)])


def _evenly(container: InputContainer, frames: int) -> list[npt.NDArray[np.uint8]]:
    """Decode all frames, however many a file without an index has, and keep some."""
    kept: list[npt.NDArray[np.uint8]] = []
    step = 1
    for number, frame in enumerate(_decoded(container, MOST_DECODED)):
        if number % step:
            continue
        kept.append(_picture(frame))
        if len(kept) >= 4 * frames:
            kept, step = kept[::2], 2 * step
    places = (np.arange(frames) + 0.5) / frames * len(kept)
    return [kept[at] for at in np.unique(places.astype(int))] if kept else []


def _sought(container: InputContainer, second: float) -> npt.NDArray[np.uint8] | None:
    """Return the frame at a time, or one a little before it; None where the file is damaged."""
    found: VideoFrame | None = None
    with suppress(av.FFmpegError):
        container.seek(int(second * av.time_base))
        for frame in _decoded(container, AFTER_SEEK):
            found = frame
            if frame.time is None or frame.time >= second:
                break
    return None if found is None else _picture(found)


def _decoded(container: InputContainer, most: int) -> Iterator[VideoFrame]:
    """Yield the next frames; of a damaged file those before the damage."""
    frames = container.decode(video=0)
    for _ in range(most):
        try:
            yield next(frames)
        except (av.FFmpegError, StopIteration):
            return


def _picture(frame: VideoFrame) -> npt.NDArray[np.uint8]:
    """Return a frame as RGB, small, and turned as it is shown."""
    scale = min(1.0, SIDE / max(frame.width, frame.height))
    width, height = (max(1, round(length * scale)) for length in (frame.width, frame.height))
    picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    return np.rot90(picture, frame.rotation // 90)
