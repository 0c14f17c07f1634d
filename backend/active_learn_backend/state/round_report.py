"""The report of a round: written once, by the worker, and read by attribute everywhere else."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ..wording import first_fault
from .task_cost import TaskCost

__all__ = [
    "AuditGain",
    "AutomaticShare",
    "Automation",
    "ControlReport",
    "Estimate",
    "Evaluation",
    "HeadAgreement",
    "LabelError",
    "ReportFormatError",
    "RoundReport",
    "Stability",
    "StrategyChoice",
]

FORMAT_VERSION = 2  # of the JSON; add one when a field changes its name or meaning
OF_ONE_CONTROL = 1  # a report of this version is about one control, which it does not name


class ReportFormatError(ValueError):
    """A stored report is damaged or of another format version."""


@dataclass(frozen=True)
class Estimate:
    """An estimate of a head's quality on all tasks.

    Attributes
    ----------
    name : str
        'audit', 'importance_weighted' or 'cross_validation'.
    metric : str
        'accuracy', 'label accuracy' (share of the labels correctly set or missing) or
        'mean absolute error'.
    value : float
    low, high : float
        Ends of the 95 % confidence interval.
    n : int
        Labels used.
    n_effective : float
        Labels drawn by chance that would be as informative.
    method : str
        How value and interval were computed, in words for a reader.
    """

    name: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    n_effective: float
    method: str = ""


@dataclass(frozen=True)
class Evaluation:
    """The quality of a round's head; an estimate is None where there are too few labels.

    Attributes
    ----------
    labels : int
        Training labels at the last cross-validation; it is repeated only now and then.
    """

    audit: Estimate | None = None
    importance_weighted: Estimate | None = None
    cross_validation: Estimate | None = None
    labels: int = 0


@dataclass(frozen=True)
class LabelError:
    """A label that is likely wrong.

    Attributes
    ----------
    label, suggested : Any
        As labels are stored: a name, a list of names, or a number.
    confidence : float or None
        Calibrated probability of what is suggested; None in regression.
    region : list, optional
        What `label` names, as it is kept: borders and label.
    """

    task_id: int
    label: Any
    suggested: Any
    confidence: float | None
    region: Any = None


@dataclass(frozen=True)
class HeadAgreement:
    """Agreement of a head with an earlier one: `step` labels before, on `n` tasks."""

    agreement: float
    step: int
    n: int


@dataclass(frozen=True)
class AuditGain:
    """By how much the loss on the audit tasks fell since an earlier head.

    Attributes
    ----------
    gain, low, high : float
        The difference, and the ends of its 95 % interval.
    n : int
        Audit tasks.
    loss : float
        Mean loss of the present head.
    step : int
        Training labels between the two heads.
    """

    gain: float
    low: float
    high: float
    n: int
    loss: float
    step: int


@dataclass(frozen=True)
class Stability:
    """How much a round's head differs from earlier ones.

    Attributes
    ----------
    trained : int
        Labels that the head was trained on.
    agreement : HeadAgreement or None
        With the latest head of sufficiently fewer labels.
    gain : AuditGain or None
        Over the longest stretch of labels.
    """

    trained: int
    agreement: HeadAgreement | None = None
    gain: AuditGain | None = None


@dataclass(frozen=True)
class ControlReport:
    """What a round found about one control.

    Attributes
    ----------
    control : str
        Its name; empty in reports of earlier versions, which knew one control.
    labeled : int
        Tasks that it is labeled in.
    audit : int
        Those of the audit set among them.
    regions : bool
        Whether it labels regions: the gain is that of their F1, and a label error is about one
        region, which `label` names.
    """

    control: str
    labeled: int = 0
    audit: int = 0
    evaluation: Evaluation = field(default_factory=Evaluation)
    label_errors: tuple[LabelError, ...] = ()
    stability: Stability | None = None
    regions: bool = False


@dataclass(frozen=True)
class StrategyChoice:
    """The strategy that `auto` stands for in a project, and why, since it had `labels` labels."""

    name: str
    reason: str
    labels: int


@dataclass(frozen=True)
class AutomaticShare:
    """How many tasks the heads could label at an accuracy, after a verification.

    Attributes
    ----------
    accuracy : float
    tasks : int
        Unlabeled tasks that the heads could label.
    sample : int
        Tasks that people would have to label first, for the verification; 0 where `tasks` is.
    """

    accuracy: float
    tasks: int = 0
    sample: int = 0


@dataclass(frozen=True)
class Automation:
    """How many of the unlabeled tasks the heads could label, when there were `labels` labels."""

    labels: int
    unlabeled: int
    shares: tuple[AutomaticShare, ...] = ()


@dataclass(frozen=True)
class RoundReport:
    """What a finished round did and found.

    Attributes
    ----------
    finished_at : float
        In seconds since 1970.
    labeled, unlabeled : int
        Tasks with a label of any control, and without.
    audit : int
        Labeled tasks of the audit set.
    queue_version : str
        The queue that was published; empty when nothing was left to queue.
    head_version : str
        The head that answers; it may be an older round's, or the team's own model. Empty: none.
    seconds : mapping
        Time of each stage.
    controls : tuple of ControlReport
        One for each control that is learned, in the order of the config.
    audit_share : float or None
        The share of the audit set when the queue was chosen; None in reports of earlier versions.
    automation : Automation or None
        None where nothing answers, and of numbers, which are never exactly right.
    cost : TaskCost or None
        None while too few times are known.
    """

    round: int
    labeled: int
    unlabeled: int = 0
    audit: int = 0
    queue_version: str = ""
    head_version: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)
    controls: tuple[ControlReport, ...] = ()
    strategy: StrategyChoice | None = None
    audit_share: float | None = None
    automation: Automation | None = None
    cost: TaskCost | None = None
    finished_at: float = field(default_factory=time.time)

    def of(self, control: str | None) -> ControlReport:
        """Return what was found about a control, by name; about the first when it is None."""
        for one in self.controls:
            if control is None or one.control in (control, ""):
                return one
        return ControlReport(control or "")

    def to_json(self) -> dict[str, Any]:
        """Return what the store keeps beside the round's number and time."""
        body = asdict(self)
        del body["round"], body["finished_at"]
        return {"format": FORMAT_VERSION} | body

    @classmethod
    def from_json(cls, text: str, *, round: int, finished_at: float) -> RoundReport:
        """Read a stored report.

        Raises
        ------
        ReportFormatError
            When it is damaged or of another format version.
        """
        try:
            body = json.loads(text)
        except ValueError as error:
            raise ReportFormatError(f"it is no JSON ({error})") from error
        found = body.pop("format", None) if isinstance(body, dict) else None
        if found == OF_ONE_CONTROL:
            body = _with_controls(body)
        elif found != FORMAT_VERSION:
            raise ReportFormatError(f"its format is {found}, this version reads {FORMAT_VERSION}")
        try:
            return _adapter().validate_python(body | {"round": round, "finished_at": finished_at})
        except ValidationError as error:
            raise ReportFormatError(first_fault(error, "the report")) from error


def _with_controls(body: dict[str, Any]) -> dict[str, Any]:
    """Convert a report of the format that was about one control."""
    names = ("evaluation", "label_errors", "stability")
    found = {name: body.pop(name) for name in names if name in body}
    counts = {name: body[name] for name in ("labeled", "audit") if name in body}
    return body | {"controls": [{"control": ""} | counts | found]}


@cache
def _adapter() -> TypeAdapter[RoundReport]:
    return TypeAdapter(RoundReport)  # takes some milliseconds
