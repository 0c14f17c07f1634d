"""The heads of a round on disk: all in one file, whatever each of them answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from ..errors import DataError, StateError
from .files import head_path, read_file, write_file
from .metadata import HeadMetadata
from .nested import NestedMetadata, NestedTaggingHead, TrainedTagger
from .tagging import TaggingHead, TaggingMetadata
from .trained import REGISTRY, TrainedHead

__all__ = ["SavedHead", "load_head", "load_heads", "save_heads"]

#: A head that a round trains: of one answer a task, or of one a part.
SavedHead = TrainedHead | TrainedTagger

Metadata = HeadMetadata | TaggingMetadata | NestedMetadata
METADATA: TypeAdapter[Metadata] = TypeAdapter(
    Annotated[Metadata, Field(discriminator="problem_type")]
)


def save_heads(folder: Path, heads: Mapping[str, SavedHead]) -> None:
    """Write the heads of one round, by the names of the tasks that they answer for.

    They are one file, ``head-<round>.safetensors``, written completely or not at all.
    """
    (number,) = {head.round for head in heads.values()}
    stored = {
        name: (head.metadata.model_dump_json(), head.weight, head.bias)
        for name, head in heads.items()
    }
    write_file(head_path(folder, number), stored)


def load_heads(folder: Path, round: int) -> dict[str, SavedHead]:
    """Read the heads of one round, by the names of the tasks that they answer for.

    Raises
    ------
    StateError
        When the file is missing, damaged, or no head.
    """
    path = head_path(folder, round)
    heads: dict[str, SavedHead] = {}
    for name, (text, weight, bias) in read_file(path).items():
        try:
            metadata = METADATA.validate_json(text)
            if isinstance(metadata, TaggingMetadata):
                heads[name] = TaggingHead(metadata, weight, bias, round)
            elif isinstance(metadata, NestedMetadata):
                heads[name] = NestedTaggingHead(metadata, weight, bias, round)
            else:
                heads[name] = REGISTRY[metadata.problem_type](metadata, weight, bias, round)
        except (ValidationError, DataError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
            raise StateError(
                f"{path.name} is no head of this version ({reason}); the next round trains a new "
                "one"
            ) from error
    return heads


def load_head(folder: Path, round: int) -> SavedHead:
    """Read the head of one round, the first by name where there are several.

    Raises
    ------
    StateError
        When the file is missing, damaged, or no head.
    """
    return next(iter(load_heads(folder, round).values()))
