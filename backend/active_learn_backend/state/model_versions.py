"""The versions of a project's own model: copies of what MODEL named, and models that were trained.

Each lies in a numbered folder of the project: the model, and ``version.json`` about it. Which one
serves stands in the project state. A version is a copy, so it serves on whatever becomes of the
file that MODEL names.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

from ..project_settings import project_settings
from ..settings import Settings
from .folders import embeddings_folder, make_private_folder, versions_folder
from .json_files import read_record, write_record
from .schema import Project

__all__ = [
    "KEEP_MODELS",
    "ModelVersion",
    "RefusedModel",
    "add_version",
    "describe_version",
    "marked_served",
    "prune_versions",
    "read_refusal",
    "read_version",
    "read_versions",
    "record_refusal",
    "record_version",
    "remove_version",
    "served_settings",
    "version_path",
    "with_version",
]

KEEP_MODELS = 5  # to go back to; a small BERT has 100 MB, its embeddings of a million tasks 800 MB
RECORD, MODEL, REFUSED = "version.json", "model", "refused.json"


@dataclass(frozen=True)
class ModelVersion:
    """A version of a project's own model.

    Attributes
    ----------
    number : int
        1 for the first.
    origin : {'MODEL', 'training'}
        'MODEL': a copy of what that setting named.
    source : str
        What MODEL named, or the setting that the training came from.
    file : str
        Name of the model file in its folder; empty: the folder is the model.
    factory : str
        Of a model that a Python factory makes, its pinned name: there is no copy of it.
    digest : str
        Of everything that its answers depend on.
    made_at, served_at : float
        When it was made, and when it last began to serve, in seconds since 1970; 0: never.
    labels, audit : int
        Labels that it was trained on, and audit labels that it was compared on.
    metric : str
        Of the comparison: 'accuracy', 'label accuracy' or 'mean absolute error'.
    quality, served_quality : float or None
        On the audit labels: its own, and that of what served then.
    compared_with : str
        Version of what served then.
    undecided : bool
        It waits for audit labels to be compared on.
    reason : str
        Why it does not serve; empty where it may.
    """

    number: int
    origin: str
    source: str
    file: str
    digest: str
    made_at: float
    served_at: float = 0.0
    factory: str = ""
    labels: int = 0
    audit: int = 0
    metric: str = ""
    quality: float | None = None
    served_quality: float | None = None
    compared_with: str = ""
    undecided: bool = False
    reason: str = ""

    @property
    def name(self) -> str:
        """The version that its answers bear in Label Studio."""
        return f"model-{self.digest[:8]}"


@dataclass(frozen=True)
class RefusedModel:
    """What MODEL names now, where that cannot be used and the former version serves on.

    Attributes
    ----------
    reason : str
    at : float
        Seconds since 1970.
    """

    reason: str
    at: float


def version_path(settings: Settings, project_id: int, version: ModelVersion) -> Path:
    """Return the path of a version's model, as MODEL would name it."""
    folder = versions_folder(settings, project_id) / str(version.number) / MODEL
    return (folder / version.file if version.file else folder).resolve()


def read_versions(settings: Settings, project_id: int) -> list[ModelVersion]:
    """List the versions of a project's own model, the newest first."""
    numbers = sorted(_numbers(settings, project_id), reverse=True)
    found = (read_version(settings, project_id, number) for number in numbers)
    return [one for one in found if one is not None]


def read_version(settings: Settings, project_id: int, number: int) -> ModelVersion | None:
    """Return a version; None where there is no such one."""
    return read_record(versions_folder(settings, project_id) / str(number) / RECORD, ModelVersion)


def record_version(settings: Settings, project_id: int, version: ModelVersion) -> None:
    """Record what became known of a version.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    folder = versions_folder(settings, project_id) / str(version.number)
    if folder.is_dir():  # else it was removed meanwhile
        write_record(folder / RECORD, version)


def add_version(
    settings: Settings, project_id: int, version: ModelVersion, fill: Callable[[Path], None]
) -> ModelVersion:
    """Add a version, completely or not at all; return it with its number.

    Parameters
    ----------
    version : ModelVersion
        Its number does not count.
    fill : callable
        Puts the model into a folder, which it has to make; may raise any error.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    folder = versions_folder(settings, project_id)
    make_private_folder(folder)
    number = 1 + max(_numbers(settings, project_id), default=0)
    draft = folder / f"{number}.part"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        make_private_folder(draft)
        fill(draft / MODEL)
        added = replace(version, number=number)
        write_record(draft / RECORD, added)
        draft.rename(folder / str(number))
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return added


def remove_version(settings: Settings, project_id: int, version: ModelVersion) -> None:
    """Remove a version."""
    folder = versions_folder(settings, project_id) / str(version.number)
    shutil.rmtree(folder, ignore_errors=True)


def read_refusal(settings: Settings, project_id: int) -> RefusedModel | None:
    """Return why what MODEL names now does not serve; None where that is not so."""
    return read_record(versions_folder(settings, project_id) / REFUSED, RefusedModel)


def record_refusal(settings: Settings, project_id: int, refused: RefusedModel | None) -> None:
    """Record that what MODEL names now cannot be used, or that it can.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    path = versions_folder(settings, project_id) / REFUSED
    if refused is None:
        path.unlink(missing_ok=True)
    else:
        write_record(path, refused)


def prune_versions(settings: Settings, project_id: int, keep: Collection[int]) -> None:
    """Remove the oldest versions above `KEEP_MODELS`, and their embeddings, but for some."""
    versions = read_versions(settings, project_id)
    kept = {one.digest for one in versions[:KEEP_MODELS]}
    kept |= {one.digest for one in versions if one.number in keep}
    for one in versions:
        if one.digest in kept:
            continue
        remove_version(settings, project_id, one)
        # Of vectors, of those of an encoder, and of the parts of each field.
        for cache in embeddings_folder(settings, project_id).glob(f"*model-{one.digest}*"):
            shutil.rmtree(cache, ignore_errors=True)


def with_version(settings: Settings, project_id: int, number: int) -> Settings:
    """Return a project's settings with ``model`` naming one of its versions, where that applies.

    A copy of what MODEL named does not apply once MODEL names nothing.
    """
    version = read_version(settings, project_id, number) if number else None
    if version is None or (version.origin == "MODEL" and not settings.model):
        return settings
    model = version.factory or str(version_path(settings, project_id, version))
    return settings.model_copy(update={"model": model})


def served_settings(settings: Settings, project: Project) -> Settings:
    """Return a project's own settings, with ``model`` naming the version that serves.

    Raises
    ------
    SettingsError
        See `project_settings`.
    """
    return with_version(
        project_settings(settings, project.params), project.id, project.served_model
    )


def marked_served(version: ModelVersion) -> ModelVersion:
    """Return a version as one that serves from now on."""
    return replace(version, served_at=time.time(), undecided=False, reason="")


def describe_version(version: ModelVersion, project: Project) -> str:
    """Describe a version in one line."""
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version.made_at))
    made = f"trained on {version.labels} labels" if version.labels else "of MODEL"
    words = [version.name, when, made]
    if version.quality is not None:
        words.append(f"{version.metric} {version.quality:.3f} on {version.audit} audit labels")
        if version.served_quality is not None:
            words.append(f"{version.compared_with} then: {version.served_quality:.3f}")
    if version.number == project.served_model:
        words.append("(serves)")
    elif version.reason:
        words.append(f"does not serve: {version.reason}")
    return "  ".join(words)


def _numbers(settings: Settings, project_id: int) -> list[int]:
    folder = versions_folder(settings, project_id)
    if not folder.is_dir():
        return []
    return [int(one.name) for one in folder.iterdir() if one.name.isdigit()]
