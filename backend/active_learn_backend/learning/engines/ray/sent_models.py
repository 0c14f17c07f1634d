"""An own model on its way to the encoders of a cluster, which need not see our files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from ....settings import Settings
from ...encoders.names import is_factory
from ...user_models.loading import find_model_path
from ...user_models.model_files import files_by_name

__all__ = ["SentModel", "received", "send_model"]

PIECE = 32 << 20  # bytes of a file that are sent at once
PREFIX = "active-learn-model-"


@dataclass(frozen=True)
class SentModel:
    """A model in the object store of the cluster, which brings it once to each machine.

    Attributes
    ----------
    file : str
        Name of the model file in its folder; empty: the folder is the model.
    pieces : dict of list of ObjectRef
        Of each file of the model, by its name below the folder.
    """

    file: str
    pieces: Mapping[str, Sequence[Any]]


def send_model(settings: Settings) -> SentModel | None:
    """Return the model that the setting ``model`` names, sent; None of a factory, or without one.

    Raises
    ------
    SettingsError
        When there is no such model, or its files do not lie beside it.
    OSError
        When it cannot be read.
    """
    if not settings.model or is_factory(settings.model):
        return None
    path = find_model_path(settings)
    pieces = {name: _put(file) for name, file in files_by_name(path).items()}
    return SentModel("" if path.is_dir() else path.name, pieces)


def _put(file: Path) -> list[Any]:
    with file.open("rb") as stream:
        return [ray.put(piece) for piece in iter(lambda: stream.read(PIECE), b"")]


@contextmanager
def received(settings: Settings, sent: SentModel | None) -> Iterator[Settings]:
    """Give settings whose ``model`` names what was sent, in files that go in the end.

    A model that was loaded needs them no more.
    """
    if sent is None:
        yield settings
        return
    with tempfile.TemporaryDirectory(prefix=PREFIX) as here:
        for name, pieces in sent.pieces.items():
            target = Path(here, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as stream:
                for piece in pieces:
                    stream.write(ray.get(piece))
        yield settings.model_copy(update={"model": os.path.join(here, sent.file)})
