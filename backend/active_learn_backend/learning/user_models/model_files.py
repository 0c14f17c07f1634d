"""What an own model consists of on disk: its digest, a copy of it, and what a folder holds."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from ...errors import SettingsError
from ..encoders.folders import content_digest, content_files
from .files import FILES, digest_of_file, files_of_model

__all__ = ["copy_model", "digest_of_model", "files_by_name", "find_model"]


def digest_of_model(path: Path) -> str:
    """Return the digest of a model, by which its fingerprint names it, without loading it.

    Raises
    ------
    SettingsError
        When it lacks its JSON, or that is wrong.
    OSError
        When it cannot be read.
    """
    return content_digest(path) if path.is_dir() else digest_of_file(path)


def files_by_name(path: Path) -> dict[str, Path]:
    """Return the files of a model, by their names below its folder.

    Raises
    ------
    SettingsError
        When it reads files that do not lie beside it, or lacks its JSON.
    """
    top = path if path.is_dir() else path.parent
    found = {}
    for file in content_files(path) if path.is_dir() else files_of_model(path):
        if not file.is_relative_to(top) or ".." in file.relative_to(top).parts:
            raise SettingsError(
                f"MODEL '{path.name}' reads '{file.name}', which does not lie beside it; put it "
                "there, so that the model can be copied"
            )
        found[str(file.relative_to(top))] = file
    return found


def copy_model(path: Path, folder: Path) -> Path:
    """Copy a model into a folder, which is made; return the path of the copy.

    Raises
    ------
    SettingsError
        When it reads files that do not lie beside it.
    OSError
        When it cannot be read or written.
    """
    for name, file in files_by_name(path).items():
        target = folder / name
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Links are followed: a model of the hub's cache consists of them.
        shutil.copyfile(file, target)
    return folder if path.is_dir() else folder / path.name


def find_model(folder: Path) -> Path:
    """Return the model that a folder holds: the folder itself, or the one model file in it.

    Raises
    ------
    SettingsError
        When it holds none, or several.
    """
    if (folder / "config.json").is_file():
        return folder
    files = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in FILES]
    if len(files) == 1:
        return files[0]
    found = _names(files or sorted(folder.iterdir()))
    raise SettingsError(
        f"expected one model, a Hugging Face folder or a file ({', '.join(FILES)}) with its JSON; "
        f"found {found}"
    )


def _names(paths: Iterable[Path]) -> str:
    names = [path.name for path in paths]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if names[5:] else "") or "nothing"
