"""What the settings ``encoder`` and ``model`` may name: folders, files, the hub, factories.

An operator names anything. A project's own setting is written by a user of Label Studio, so it
names only what an operator laid below ``MODEL_DIR/models``, or an encoder on the hub.
"""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import SettingsError
from ...settings import Settings

__all__ = ["check_project_value", "find_path", "is_factory", "is_hub_name", "split_encoders"]

HUB_NAME = re.compile(
    r"(?!.*(--|\.\.))[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII
)
# After the @ stands which version of it is meant, see `factory.pinned`.
FACTORY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(@[0-9a-f]+)?")


def models_folder(settings: Settings) -> Path:
    """Folder of the models that projects may name."""
    return settings.model_dir / "models"


def find_path(value: str, settings: Settings) -> Path | None:
    """Find the file or folder that a setting names.

    ``/..``, ``./..`` and ``~/..`` are paths; any other value is looked for below
    ``MODEL_DIR/models``.

    Returns
    -------
    Path or None
        None when there is nothing of that name below ``MODEL_DIR/models``.

    Raises
    ------
    SettingsError
        When a path leads to nothing.
    """
    if not value.startswith(("/", "./", "../", "~")):
        path = models_folder(settings) / value
        return path if path.exists() else None
    path = Path(value).expanduser()
    if not path.exists():
        raise SettingsError(f"there is no file or folder '{value}'; correct its path")
    return path


def is_factory(value: str) -> bool:
    """Return whether a name is ``module:function`` and no path."""
    return FACTORY.fullmatch(value) is not None


def is_hub_name(value: str) -> bool:
    """Return whether a name is ``name`` or ``owner/name``, as the hub has them."""
    return HUB_NAME.fullmatch(value) is not None


def split_encoders(value: str) -> list[str]:
    """Split the setting ``encoder`` into its names."""
    return [name.strip() for name in value.split(",") if name.strip()]


def check_project_value(name: str, value: str, settings: Settings) -> None:
    """Check what a project names for itself as its ``encoder`` or ``model``.

    Raises
    ------
    SettingsError
        When it is anything but the name of something below ``MODEL_DIR/models`` or, of an
        encoder, a name on the hub.
    """
    for part in split_encoders(value) if name == "encoder" else [value] * bool(value):
        if _below_models(part, settings):
            continue
        if name == "encoder" and is_hub_name(part) and find_path(part, settings) is None:
            continue
        allowed = "or the name of a Hugging Face encoder" if name == "encoder" else "of the backend"
        raise SettingsError(
            f"{name}: a project may not name '{part[:80]}'; expected the name of a model below "
            f"MODEL_DIR/models {allowed}"
        )


def _below_models(value: str, settings: Settings) -> bool:
    parts = Path(value).parts
    if not parts or "\0" in value or "\\" in value or value.startswith(("/", "~", ".")):
        return False
    root = models_folder(settings).resolve()
    try:
        target = (root / value).resolve()
        exists = target.exists()
    except (OSError, UnicodeError):  # no name that a file can have: too long, a lone surrogate
        return False
    return ".." not in parts and target.is_relative_to(root) and target != root and exists
