"""Where each kind of file of a project lies below ``MODEL_DIR``."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryFile

from ..errors import SettingsError
from ..settings import Settings

__all__ = [
    "DISK_LOW",
    "embeddings_folder",
    "heads_folder",
    "labeling_folder",
    "make_model_dir",
    "make_private_folder",
    "project_folder",
    "stream_folder",
    "training_folder",
    "versions_folder",
]

DISK_LOW = 256 * 2**20  # bytes left below which the backend reports a problem


def make_model_dir(settings: Settings) -> None:
    """Create ``MODEL_DIR``, unless it is there, and check that it can be written.

    Raises
    ------
    SettingsError
        When it cannot be created or written.
    """
    problem = "created"
    try:
        settings.model_dir.mkdir(parents=True, exist_ok=True)
        problem = "written"
        with TemporaryFile(dir=settings.model_dir):  # permissions do not tell, as a read-only disk
            pass
    except OSError as error:
        raise SettingsError(
            f"MODEL_DIR {settings.model_dir} cannot be {problem} ({error.strerror}); set MODEL_DIR "
            "to a folder that this user may write"
        ) from error


def make_private_folder(folder: Path) -> None:
    """Create a folder, with those above it, that only its owner may read; also if it is there."""
    for one in (*reversed(folder.parents), folder):
        if not one.exists():
            one.mkdir(mode=0o700, exist_ok=True)
    found = folder.stat()
    if found.st_mode & 0o077 and found.st_uid == os.geteuid():
        folder.chmod(0o700)  # of a version that let others read it


def project_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of everything on disk that belongs to a project."""
    return settings.model_dir / "projects" / str(project_id)


def heads_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of a project's trained heads."""
    return project_folder(settings, project_id) / "heads"


def embeddings_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of a project's embedding caches, one folder in it for each encoder."""
    return project_folder(settings, project_id) / "embeddings"


def labeling_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of the answers of a project's labeling runs."""
    return project_folder(settings, project_id) / "labeling"


def stream_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of the state of a project's stream."""
    return project_folder(settings, project_id) / "stream"


def versions_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of the versions of a project's own model."""
    return project_folder(settings, project_id) / "models"


def training_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of the training of a project's own model."""
    return project_folder(settings, project_id) / "training"
