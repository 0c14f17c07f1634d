"""What it costs people to label a task, by the times that Label Studio took of their annotations.

A task takes a fixed time, a time for each part that is read and one for each region that is drawn:
none of them is negative, so they are fitted by non-negative least squares (Lawson & Hanson 1974).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import nnls

from ...labeling.config import LabelingTask
from ...state.task_cost import TaskCost
from ..regions.kinds import PartKind
from ..regions.parts import PartedVectors
from ..selection.snapshot import Snapshot

__all__ = ["fit_cost", "measure_cost"]

LEAST_TIMES = 20
BREAKS = 0.95  # quantile of the times above which people are taken to have had a break

Array = npt.NDArray[np.float64]


def measure_cost(
    snapshot: Snapshot, task: LabelingTask, kind: PartKind | None = None
) -> TaskCost | None:
    """Return what a task of a project costs; None with fewer than 20 times.

    Parameters
    ----------
    snapshot : Snapshot
    kind : PartKind, optional
        Of the parts of the first control that labels regions.
    """
    at = np.flatnonzero(snapshot.rows.where(lambda row: bool(row.labels and row.lead_time)))
    rows = [snapshot.rows[position] for position in at]
    times = np.array([row.lead_time for row in rows], np.float64)
    if kind is None or not isinstance(snapshot.embeddings, PartedVectors):
        return fit_cost(times)
    names = [one.from_name for one in task.regions]
    sizes = snapshot.embeddings.parts[names[0]].sizes.astype(np.float64)
    regions = [sum(len((row.labels or {}).get(name, ())) for name in names) for row in rows]
    left = sizes[~snapshot.labeled]
    return fit_cost(
        times,
        sizes[at],
        np.array(regions, np.float64),
        float(left.mean()) if len(left) else None,
        kind.noun,
    )


def fit_cost(
    times: Array,
    parts: Array | None = None,
    regions: Array | None = None,
    parts_left: float | None = None,
    noun: str = "",
) -> TaskCost | None:
    """Fit seconds = a + b parts + c regions; None with fewer than 20 times.

    Parameters
    ----------
    times : array of shape (n,)
        Seconds of labeled tasks.
    parts, regions : arrays of shape (n,), optional
        How many each has; without them only a is fitted.
    parts_left : float, optional
        Mean number of parts of the tasks that the cost is said for; of the labeled ones if omitted.
    noun : str
        What parts are called.
    """
    if len(times) < LEAST_TIMES:
        return None
    kept = times <= np.quantile(times, BREAKS)
    columns = [np.ones(len(times)), *(one for one in (parts, regions) if one is not None)]
    design = np.stack(columns, axis=1)[kept]
    found, _ = nnls(design, times[kept])
    means = design.mean(axis=0)
    if parts_left is not None and parts is not None:
        means[1] = parts_left
    fixed, *more = (float(one) for one in found)
    per_part, per_region = more if len(more) == 2 else (0.0, 0.0)
    return TaskCost(float(found @ means), fixed, per_part, per_region, noun, int(kept.sum()))
