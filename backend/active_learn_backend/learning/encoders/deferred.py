"""An encoder that is loaded when something has to be encoded: what is cached needs only a name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...settings import Settings
from ...state.json_files import read_record, write_record
from .base import Encoder, FloatArray
from .folders import content_digest

__all__ = ["DeferredTextEncoder", "note_loaded"]


@dataclass(frozen=True)
class KnownEncoder:
    """What is known of an encoder that was loaded once, by any process."""

    fingerprint: str
    n_features: int


class DeferredTextEncoder(Encoder):
    """A text encoder that was loaded before with the same files, and is not loaded yet.

    Parameters
    ----------
    known : KnownEncoder
    load : callable
        Returns the encoder itself.
    """

    def __init__(self, known: KnownEncoder, load: Callable[[], Encoder]) -> None:
        self.fingerprint, self.n_features = known.fingerprint, known.n_features
        self._load = load
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def loaded(self) -> Encoder:
        """Return the encoder itself; may raise what loading it raises."""
        with self._lock:
            if self._encoder is None:
                self._encoder = self._load()
            return self._encoder

    def prepare(self, raw: str) -> Any:
        return self.loaded().prepare(raw)

    def run(self, prepared: Sequence[Any]) -> FloatArray:
        return self.loaded().run(prepared)

    @classmethod
    def of(cls, folder: Path, settings: Settings, load: Callable[[], Encoder]) -> Encoder:
        """Return an encoder that is loaded later where its files are known; else load it now."""
        known = read_record(_record(settings, content_digest(folder)), KnownEncoder)
        return load() if known is None else cls(known, load)


def note_loaded(settings: Settings, encoder: Encoder) -> None:
    """Record what is known of a text encoder that was loaded, for processes that defer it."""
    if settings.model_dir.is_dir():
        with suppress(OSError):  # then the next process loads it at once, too
            write_record(
                _record(settings, encoder.fingerprint.rpartition("-")[2]),
                KnownEncoder(encoder.fingerprint, encoder.n_features),
            )


def _record(settings: Settings, digest: str) -> Path:
    return settings.model_dir / "encoders" / f"{digest}.json"
