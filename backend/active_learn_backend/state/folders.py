"""Where each kind of file of a project lies below ``MODEL_DIR``."""

from __future__ import annotations

from pathlib import Path

from ..settings import Settings

__all__ = ["DISK_LOW", "embeddings_folder", "heads_folder", "project_folder", "stream_folder"]

DISK_LOW = 256 * 2**20  # bytes left below which the backend reports a problem


def project_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of everything on disk that belongs to a project."""
    return settings.model_dir / "projects" / str(project_id)


def heads_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of a project's trained heads."""
    return project_folder(settings, project_id) / "heads"


def embeddings_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of a project's embedding caches, one folder in it for each encoder."""
    return project_folder(settings, project_id) / "embeddings"


def stream_folder(settings: Settings, project_id: int) -> Path:
    """Return the folder of the state of a project's stream."""
    return project_folder(settings, project_id) / "stream"
