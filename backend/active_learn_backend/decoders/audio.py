"""Decodes audio files, by FFmpeg (PyAV)."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
import numpy.typing as npt
from av.container import InputContainer

from .ffmpeg import open_file

__all__ = ["decode_audio"]

FORMATS = "wav,w64,aiff,mp3,flac,ogg,aac,mov,mp4,m4a,3gp,matroska,webm"
RATES = range(1_000, 400_001)


def decode_audio(data: bytes, rate: int, seconds: float) -> npt.NDArray[np.float32]:
    """Decode the beginning of an audio file.

    Parameters
    ----------
    rate : int
        Samples a second of the result.
    seconds : float
        How much is decoded at most.

    Returns
    -------
    array of shape (n,)
        One channel, the mean of all.

    Raises
    ------
    ValueError
        When it is no audio file that can be read.
    """
    problem = "it is no audio file that can be read; expected WAV, MP3, FLAC, Ogg or M4A"
    with open_file(data, FORMATS, problem) as container:
        if not container.streams.audio:
            raise ValueError("it holds no sound")
        stream = container.streams.audio[0]
        if stream.rate not in RATES:
            raise ValueError(f"it claims {stream.rate} samples a second")
        wanted = int(rate * seconds)
        parts: list[npt.NDArray[np.float32]] = []
        for part in _samples(container, rate):
            parts.append(part)
            wanted -= len(part)
            if wanted <= 0:
                break
    if not parts:
        raise ValueError("it holds no sound, or is damaged")
    return np.nan_to_num(np.concatenate(parts)[: int(rate * seconds)])


def _samples(container: InputContainer, rate: int) -> Iterator[npt.NDArray[np.float32]]:
    """Yield the samples of the first stream; of a damaged file those before the damage."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
    frames = container.decode(audio=0)
    while True:
        try:
            frame = next(frames, None)
        except av.FFmpegError:
            return
        for resampled in resampler.resample(frame):
            yield resampled.to_ndarray()[0]
        if frame is None:
            return
