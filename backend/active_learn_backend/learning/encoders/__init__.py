"""Encoders: the content of tasks in, embeddings out; one file per encoder.

The embedded ones need no download and no training, so an embedding never changes under a cache.
"""

from .base import Encoder
from .configured import configured_encoders, embedded_encoders, readable_fields
from .gradients import ImageEncoder
from .log_mel import AudioEncoder
from .ngrams import TextEncoder
from .segments_and_spectrum import TimeSeriesEncoder
from .task import TaskEncoder

__all__ = [
    "AudioEncoder",
    "Encoder",
    "ImageEncoder",
    "TaskEncoder",
    "TextEncoder",
    "TimeSeriesEncoder",
    "configured_encoders",
    "embedded_encoders",
    "readable_fields",
]
