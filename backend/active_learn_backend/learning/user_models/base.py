"""What every kind of own model is loaded into."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from active_learn.models import Adapter

from ...labeling.config import Field

__all__ = ["Inputs", "LoadedModel"]


class Inputs(ABC):
    """Turns what tasks hold into the inputs of a model."""

    @abstractmethod
    def choose(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        """Choose the fields that the model reads, in the order of its inputs.

        Raises
        ------
        SettingsError
            When the labeling config shows other kinds of data than the model takes.
        """

    @abstractmethod
    def prepare(self, fields: Sequence[Field], raws: Sequence[str | bytes]) -> Any:
        """Prepare one task, given those fields and their texts, or the bytes of image files.

        Called by several threads at once.

        Raises
        ------
        ContentError
            When the content cannot be read.
        """

    def collate(self, prepared: Sequence[Any]) -> Any:
        """Put prepared tasks, at least one, into the batch that the model takes."""
        return list(prepared)


@dataclass
class LoadedModel:
    """An own model, whichever kind it is, as a process holds it.

    Attributes
    ----------
    name : str
        As the setting names it, for messages.
    adapter : Adapter
        Of the library: gives logits and embeddings.
    inputs : Inputs
    classes : tuple of str or None
        Names of the outputs; None where they are the config's labels, in order.
    digest : str
        12 hexadecimal digits that name all that the outputs depend on.
    lock : Lock
        The model is not to be run by two threads at once.
    """

    name: str
    adapter: Adapter
    inputs: Inputs
    classes: tuple[str, ...] | None
    digest: str
    lock: threading.Lock = field(default_factory=threading.Lock)
