"""The trained heads that are saved: the quality of each, and how to go back to one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from active_learn.heads import head_name, load_head, round_of_head, saved_heads

from ...errors import StoreError
from ...project_settings import project_settings
from ...settings import Settings
from ...state.folders import heads_folder
from ...state.model_versions import describe_version, read_versions
from ...state.round_report import RoundReport
from ...state.rounds import read_rounds
from ...state.store import Project, Store
from .learning_curve import Point, latest_points

__all__ = ["KEEP_VERSIONS", "Version", "kept_versions", "list_versions", "roll_back"]

KEEP_VERSIONS = 20  # to go back to; a head of 77 classes and 384 features has 120 KB


@dataclass(frozen=True)
class Version:
    """Heads of one round that are saved, with the quality of each control's."""

    name: str
    finished_at: float | None
    labels: int | None
    quality: list[Point]
    in_use: bool
    pinned: bool


def kept_versions(
    settings: Settings, project: Project, reports: Sequence[RoundReport]
) -> list[Version]:
    """List the saved heads of a project, the newest first.

    Parameters
    ----------
    reports : sequence of RoundReport
        Of all rounds; a head may be without one.
    """
    by_round = {report.round: report for report in reports}
    found = []
    for number in saved_heads(heads_folder(settings, project.id)):
        report = by_round.get(number)
        found.append(
            Version(
                name=head_name(number),
                finished_at=report.finished_at if report else None,
                labels=report.labeled if report else None,
                quality=latest_points(report),
                in_use=number == project.head_round,
                pinned=number == project.pinned_round,
            )
        )
    return found


def list_versions(settings: Settings, store: Store, project_id: int) -> list[str]:
    """Describe the saved heads, one line each, the newest first.

    Raises
    ------
    StoreError
        When the project is not known.
    """
    project = store.known_project(project_id)
    of_model = [describe_version(one, project) for one in read_versions(settings, project_id)]
    lines = [_line(one) for one in kept_versions(settings, project, read_rounds(store, project_id))]
    if not lines and project.model_version:
        lines = [f"your own model answers ({project.model_version}); no head is trained beside it"]
    return [*of_model, *(lines or ["no head is trained yet"])]


def roll_back(settings: Settings, store: Store, project_id: int, version: str) -> str:
    """Use an earlier head from now on, until going back to the latest; return a message.

    Parameters
    ----------
    version : str
        ``head-<round>``, or ``latest``: rounds train again. ``model-<digest>``: a version of the
        team's own model, until another one comes.

    Raises
    ------
    StoreError
        When that head or version is not saved or cannot be read.
    """
    project = store.known_project(project_id)
    if version.startswith("model-"):
        return _take_model(settings, store, project, version)
    if version == "latest":
        store.update(project_id, pinned_round=0, request_round=True)
        store.mark_changed(project_id)
        return "every round trains a head again; a new round starts at once"
    number = round_of_head(version)
    folder = heads_folder(settings, project_id)
    kept = saved_heads(folder)
    if number is None or number not in kept:
        names = ", ".join(head_name(one) for one in kept) or "none"
        raise StoreError(f"{version!r} is not kept; expected `latest` or one of: {names}")
    load_head(folder, number)  # raises an error if it is damaged
    # Without MODEL, the head answers instead of a model that was trained.
    of_model = {} if project_settings(settings, project.params).model else {"next_model": 0}
    store.update(
        project_id,
        **of_model,
        head_round=number,
        pinned_round=number,
        model_version="",
        request_round=True,
    )
    store.mark_changed(project_id)
    return f"{version} answers and orders from now on; `--to latest` trains again"


def _take_model(settings: Settings, store: Store, project: Project, version: str) -> str:
    versions = read_versions(settings, project.id)
    found = next((one for one in versions if one.name == version), None)
    if found is None:
        names = ", ".join(dict.fromkeys(one.name for one in versions)) or "none"
        raise StoreError(f"{version!r} is not kept; expected one of: {names}")
    store.update(project.id, next_model=found.number, pinned_round=0, request_round=True)
    store.mark_changed(project.id)
    return f"{version} answers and orders from the next round on, until another version comes"


def _line(version: Version) -> str:
    words = [version.name]
    if version.finished_at is not None:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(version.finished_at))
        words += [when, f"{version.labels} labels"]
    for known in version.quality:
        name = f"{known.control}: " if len(version.quality) > 1 else ""
        words.append(
            f"{name}{known.metric} {known.value:.3f} "
            f"({known.low:.3f} to {known.high:.3f}, {known.audited} audited)"
        )
    if version.in_use:
        words.append("(pinned)" if version.pinned else "(in use)")
    return "  ".join(words)
