"""Audio, video and PDF files, made by the tests."""

from __future__ import annotations

import io

import av
import numpy as np
import numpy.typing as npt

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
