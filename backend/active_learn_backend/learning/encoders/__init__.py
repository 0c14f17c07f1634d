"""Encoders: the content of tasks in, embeddings out; one file per encoder.

The embedded ones, of texts and of images, need no download and no training, so an embedding never
changes under a cache.
"""

from .base import Encoder
from .configured import configured_encoders
from .gradients import ImageEncoder
from .ngrams import TextEncoder
from .task import TaskEncoder

__all__ = ["Encoder", "ImageEncoder", "TaskEncoder", "TextEncoder", "configured_encoders"]
