"""Small records as JSON files in a project's folder: each is whole, or as it was before."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from .folders import make_private_folder

__all__ = ["read_record", "write_record"]

log = logging.getLogger(__name__)

Record = TypeVar("Record")

_told: set[Path] = set()


def write_record(path: Path, record: Any) -> None:
    """Write a dataclass to a file at once.

    Raises
    ------
    OSError
        When it cannot be written; the file is as it was then.
    """
    make_private_folder(path.parent)
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def read_record(path: Path, kind: type[Record]) -> Record | None:
    """Read a dataclass from a file; None where there is none, or none that can be read."""
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        if path not in _told:  # it is read again and again
            _told.add(path)
            log.warning("%s cannot be read (%s); it counts as missing", path, type(error).__name__)
        return None
