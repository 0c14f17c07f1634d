"""Check whether Label Studio counts the predictions of all tasks anew when a queue is stored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..labelstudio.client import LabelStudioClient
from .finding import Finding, ok, warning

__all__ = ["QUICK_IMPORTS", "check_recounts"]

#: A feature flag of Label Studio 1.23, off by default; a variable of its environment sets it.
QUICK_IMPORTS = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
LARGE = 5_000  # tasks; the count of fewer takes less than half a second


def check_recounts(client: LabelStudioClient, remote: Mapping[str, Any]) -> Iterator[Finding]:
    """Report that each queue makes Label Studio count all tasks of a large project.

    Nothing is said where the flag cannot be read: Label Studio shows it to personal access tokens
    only.
    """
    n_tasks = int(remote.get("task_number") or 0)
    if n_tasks <= LARGE:
        return
    flags = client.feature_flags()
    if QUICK_IMPORTS not in flags:
        return
    if flags[QUICK_IMPORTS]:
        yield ok("Label Studio counts only the tasks of a queue when it stores one")
        return
    yield warning(
        f"each queue makes Label Studio count the predictions of all {n_tasks:,} tasks, and "
        "annotators wait meanwhile",
        f"start Label Studio with {QUICK_IMPORTS}=true in its environment",
    )
