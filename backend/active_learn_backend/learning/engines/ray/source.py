"""Where the cluster reads tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Source"]


@dataclass(frozen=True)
class Source:
    """Where tasks are read.

    Attributes
    ----------
    project_id : int
        Of Label Studio.
    ranges : sequence of (int, int)
        The first and the last id of each page there; at most 500 tasks lie between.
    files : sequence of Path
        Read instead, where there are some.
    """

    project_id: int
    ranges: Sequence[tuple[int, int]] = ()
    files: Sequence[Path] = ()
