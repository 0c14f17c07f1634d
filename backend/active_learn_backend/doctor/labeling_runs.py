"""Checks what `active-learn label` wrote, and whether it was broken off."""

from __future__ import annotations

from collections.abc import Iterator

from ..state.labeling_runs import count_automatic, unfinished
from ..state.store import Project, Store
from .finding import Finding, ok, warning

__all__ = ["check_labeling_runs"]


def check_labeling_runs(store: Store, project: Project) -> Iterator[Finding]:
    """Report what was labeled automatically, and a run that was broken off."""
    for run, count in count_automatic(store, project.id).items():
        yield ok(f"{count:,} tasks are labeled automatically by run {run}")
    if (left := unfinished(store, project.id)) is not None:
        yield warning(
            f"labeling run {left.run} was begun and is not finished",
            "run `active-learn label` again, unless it is still at work, or take the run back by "
            f"`active-learn unlabel --project {project.id} --run {left.run}`",
        )
