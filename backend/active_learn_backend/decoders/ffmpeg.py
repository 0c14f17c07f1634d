"""Opens files of sound and pictures by FFmpeg (PyAV)."""

from __future__ import annotations

import io

import av
from av.container import InputContainer

__all__ = ["open_file"]


def open_file(data: bytes, formats: str, problem: str) -> InputContainer:
    """Open a file in memory.

    Parameters
    ----------
    formats : str
        FFmpeg's names of those that are read: files only, and none that name further files or
        addresses (playlists, sets of pictures).
    problem : str
        The message where it is none of them.

    Raises
    ------
    ValueError
        When it cannot be read.
    """
    try:
        return av.open(io.BytesIO(data), "r", options={"format_whitelist": formats})
    except av.FFmpegError as error:
        raise ValueError(problem) from error
