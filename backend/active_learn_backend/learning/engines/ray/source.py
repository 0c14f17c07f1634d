"""Where the cluster reads tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ....labelstudio.client import PAGE_SIZE

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Where tasks are read.

    Attributes
    ----------
    project_id : int
        Of Label Studio.
    ranges : sequence of (int, int)
        The first and the last id of each page there; at most `PAGE_SIZE` tasks lie between.
    files : sequence of Path
        Read instead, where there are some.
    """

    project_id: int
    ranges: Sequence[tuple[int, int]] = ()
    files: Sequence[Path] = ()

    @classmethod
    def of_project(cls, project_id: int, ids: Sequence[int], missing: Sequence[int]) -> Source:
        """Return the pages of a project that hold a missing task.

        Parameters
        ----------
        project_id : int
        ids : sequence of int
            Of all its tasks, ascending.
        missing : sequence of int
            Positions in `ids`.
        """
        pages = sorted({at // PAGE_SIZE for at in missing})
        last = len(ids) - 1
        ranges = [
            (ids[page * PAGE_SIZE], ids[min((page + 1) * PAGE_SIZE - 1, last)]) for page in pages
        ]
        return cls(project_id, ranges)
