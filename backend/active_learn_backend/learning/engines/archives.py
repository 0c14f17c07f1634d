"""Folders as tar files, to send them between machines: plain files only, of limited size."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

from ...errors import EngineError

__all__ = ["MOST_BYTES", "pack", "unpack"]

MOST_BYTES = 8 << 30  # of a folder that is sent: a model, its checkpoints, the labels


def pack(folder: Path, archive: Path) -> None:
    """Write the files below a folder into a tar file; links become what they name.

    Raises
    ------
    EngineError
        When they are larger than is sent.
    """
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if size > MOST_BYTES:
        raise EngineError(
            f"{folder.name} has {size / 2**30:.1f} GiB, and at most {MOST_BYTES >> 30} GiB are "
            "sent to or from a cluster; train a smaller model, or with ENGINE=local"
        )
    with tarfile.open(archive, "w", dereference=True) as file:
        file.add(folder, arcname=".")


def unpack(archive: Path, folder: Path) -> None:
    """Write the files of a tar file below a folder, and nothing anywhere else.

    Raises
    ------
    EngineError
        When it holds other things than plain files and folders, or too much.
    """
    try:
        with tarfile.open(archive, "r:") as file:
            members = file.getmembers()
            if not all(member.isfile() or member.isdir() for member in members):
                raise EngineError("a folder from the cluster holds links or devices; not taken")
            if sum(member.size for member in members) > MOST_BYTES:
                raise EngineError(f"a folder from the cluster has over {MOST_BYTES >> 30} GiB")
            for member in members:
                _write(file, member, folder)
    except tarfile.TarError as error:
        raise EngineError(f"a folder from the cluster cannot be read: {error}") from error


def _write(file: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write a file or a folder of a tar file. Python before 3.11.4 has no filter for that."""
    path = (folder / member.name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise EngineError("a folder from the cluster names files outside of it; not taken")
    content = file.extractfile(member)
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as written:
        shutil.copyfileobj(content, written)
