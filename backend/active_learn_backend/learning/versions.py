"""Trained heads over time: what each was worth, and how to go back to one."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from ..errors import StoreError
from ..settings import Settings
from ..store import Store
from .embedding import project_folder
from .heads import load_head, saved_heads

__all__ = ["list_versions", "roll_back"]


def list_versions(settings: Settings, store: Store, project_id: int) -> list[str]:
    """Describe the heads that are kept, one line each, the newest first.

    Raises
    ------
    StoreError
        When the project is not known.
    """
    project = store.known_project(project_id)
    reports = {report["round"]: report for report in store.rounds(project_id)}
    lines = []
    for number in saved_heads(project_folder(settings, project_id) / "heads"):
        report = reports.get(number)
        words = [f"head-{number}"]
        if report is not None:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(report["finished_at"]))
            words += [when, f"{report['labeled']} labels", _quality(report)]
        if number == project.head_round:
            words.append("(pinned)" if project.pinned_round else "(in use)")
        lines.append("  ".join(word for word in words if word))
    return lines or ["no head is trained yet"]


def roll_back(settings: Settings, store: Store, project_id: int, version: str) -> str:
    """Answer and order with an earlier head from now on, until going back to the latest.

    Parameters
    ----------
    version : str
        ``head-<round>``, or ``latest``: rounds train again.

    Raises
    ------
    StoreError
        When that head is not kept or cannot be read.
    """
    store.known_project(project_id)
    if version == "latest":
        store.update(project_id, pinned_round=0, stale=True)
        store.mark_changed(project_id)
        return "every round trains a head again; a new round starts at once"
    match = re.fullmatch(r"head-(\d{1,9})", version)
    folder = project_folder(settings, project_id) / "heads"
    kept = saved_heads(folder)
    if match is None or int(match[1]) not in kept:
        names = ", ".join(f"head-{number}" for number in kept) or "none"
        raise StoreError(f"{version!r} is not kept; expected `latest` or one of: {names}")
    number = int(match[1])
    load_head(folder, number)  # refuses a damaged one
    store.update(
        project_id,
        head_round=number,
        pinned_round=number,
        live_version=version,
        stale=True,
    )
    store.mark_changed(project_id)
    return f"{version} answers and orders from now on; `--to latest` trains again"


def _quality(report: Mapping[str, Any]) -> str:
    """Say what the audit set measured of a round's head."""
    estimate = (report.get("evaluation") or {}).get("audit")
    if not estimate:
        return ""
    return (
        f"{estimate['metric']} {estimate['value']:.3f} "
        f"({estimate['low']:.3f} to {estimate['high']:.3f}, {estimate['n']} audited)"
    )
