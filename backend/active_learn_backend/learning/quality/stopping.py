"""When to stop labeling: what published criteria say about the rounds so far. It only advises."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...state.round_report import ControlReport, Estimate, HeadAgreement, RoundReport
from .learning_curve import LEAST_AUDITED

__all__ = ["Advice", "advise", "describe", "verdict"]

WINDOW = 3  # comparisons of successive heads
STABLE = 0.99
WORTH = 0.01  # gain per 100 labels: a point of accuracy, in regression a share of the error
PER = 100


@dataclass(frozen=True)
class Advice:
    """The result of one criterion.

    Attributes
    ----------
    criterion : str
        'stabilizing predictions', 'performance convergence' or 'target performance'.
    says_stop : bool or None
        None: too early to tell.
    words : str
        The reason, in a sentence for the team.
    source : str
        Where it was published.
    control : str
        Name of the control that it is about.
    """

    criterion: str
    says_stop: bool | None
    words: str
    source: str
    control: str = ""


def advise(
    reports: Sequence[RoundReport], target: float | None = None, control: str | None = None
) -> list[Advice]:
    """Evaluate every criterion, for each control.

    Parameters
    ----------
    reports : sequence of RoundReport
        Of the finished rounds, oldest first.
    target : float, optional
        Accuracy (regression: largest mean absolute error) that is good enough.
    control : str, optional
        Name of the only control to look at; all of the last round when omitted.

    Returns
    -------
    list of Advice
        Always 'stabilizing predictions' and 'performance convergence'; with a target also that.
    """
    if control is None:
        last = reports[-1].controls if reports else ()
        names = [one.control for one in last] or [""]
        return [one for name in names for one in advise(reports, target, name)]
    of_control = [report.of(control) for report in reports]
    found = [_stabilizing(of_control), _convergence(of_control)]
    if target is not None:
        found.append(_target(of_control, target))
    return [replace(one, control=control) for one in found]


def verdict(advice: Iterable[Advice]) -> bool:
    """Return whether to stop: for each control a criterion says so, and none says to go on."""
    said: dict[str, list[bool]] = {}
    for one in advice:
        said.setdefault(one.control, []).extend([] if one.says_stop is None else [one.says_stop])
    return bool(said) and all(found and all(found) for found in said.values())


def describe(advice: Sequence[Advice]) -> list[str]:
    """Write the advice in words: the verdict, then a line for each criterion."""
    said = {True: "stop", False: "go on", None: "cannot tell"}
    conclusion = "you may stop" if verdict(advice) else "go on labeling"
    several = len({one.control for one in advice}) > 1
    lines = [
        f"{one.control + ', ' if several else ''}{one.criterion}: {said[one.says_stop]}: "
        f"{one.words} [{one.source}]"
        for one in advice
    ]
    return [f"advice: {conclusion}", *lines]


def _stabilizing(reports: Sequence[ControlReport]) -> Advice:
    """Check whether successive heads agree on a fixed set of tasks; this needs no labels."""

    def say(says_stop: bool | None, words: str) -> Advice:
        source = (
            "Bloodgood & Vijay-Shanker, A Method for Stopping Active Learning Based on Stabilizing "
            "Predictions and the Need for User-Adjustable Stopping, CoNLL 2009"
        )
        return Advice("stabilizing predictions", says_stop, words, source)

    steps = _disjoint_steps(reports)
    if len(steps) < WINDOW:
        return say(
            None,
            f"it compares successive heads {WINDOW} times, and {len(steps)} of these comparisons "
            "were made so far",
        )
    mean = float(np.mean([step.agreement for step in steps]))
    labels = sum(step.step for step in steps)
    measured = (
        f"over the last {labels} labels, successive heads agreed by {mean:.3f} on average on "
        f"{steps[0].n} tasks"
    )
    if mean >= STABLE:
        return say(True, f"{measured}: the answers have settled")
    return say(False, f"{measured}; below {STABLE} the answers still change")


def _disjoint_steps(reports: Sequence[ControlReport]) -> list[HeadAgreement]:
    """Return the last comparisons that share no labels; steps of successive rounds may overlap."""
    steps: list[HeadAgreement] = []
    limit = float("inf")
    for report in reversed(reports):
        stability = report.stability
        if stability and stability.agreement and stability.trained <= limit:
            steps.append(stability.agreement)
            limit = stability.trained - stability.agreement.step
        if len(steps) == WINDOW:
            break
    return steps


def _convergence(reports: Sequence[ControlReport]) -> Advice:
    """Check whether the performance still rises, by tasks that were drawn by chance."""

    def say(says_stop: bool | None, words: str) -> Advice:
        source = (
            "Laws & Schütze, Stopping Criteria for Active Learning of Named Entity Recognition, "
            "COLING 2008 (performance convergence), on the audit set"
        )
        return Advice("performance convergence", says_stop, words, source)

    stability = reports[-1].stability if reports else None
    gain = stability.gain if stability else None
    if gain is None:
        return say(None, "too few audit labels, or no earlier head to compare with")
    numbers = _is_regression(reports)
    unit = gain.loss if numbers else 1.0
    if unit <= 0:
        return say(True, f"no error is left on {gain.n} audit tasks")
    low, value, high = (one / unit * PER / gain.step for one in (gain.low, gain.gain, gain.high))
    name = "error" if numbers else "F1" if reports[-1].regions else "accuracy"
    verb = "fell" if numbers == (value >= 0) else "rose"
    # "fell by 2.4 (-4.0 to 8.5)": the interval in the direction of the verb.
    ends = (low, high) if value >= 0 else (-high, -low)
    percent = "%" if numbers else "points"
    measured = (
        f"over the last {gain.step} labels the {name} {verb} by {100 * abs(value):.1f} {percent} "
        f"per {PER} labels ({100 * ends[0]:.1f} to {100 * ends[1]:.1f}, {gain.n} audit tasks)"
    )
    if high < WORTH:
        return say(True, f"{measured}: hardly anything")
    if low > WORTH:
        return say(False, f"{measured}: each label still pays")
    return say(
        None, f"{measured}: too wide to tell whether it is more than {100 * WORTH:.0f} {percent}"
    )


def _target(reports: Sequence[ControlReport], target: float) -> Advice:
    """Check whether the performance that was asked for is reached, with confidence."""

    def say(says_stop: bool | None, words: str) -> Advice:
        source = (
            "Laws & Schütze, COLING 2008 (minimum absolute performance), on the lower end of the "
            "audit set's exact interval"
        )
        return Advice("target performance", says_stop, words, source)

    audit = _last_audit(reports)
    if audit is None:
        return say(None, "nothing is measured yet; AUDIT must be above 0")
    if audit.n < LEAST_AUDITED:
        return say(
            None, f"nothing is measured yet: {audit.n} of {LEAST_AUDITED} audit labels are there"
        )
    numbers = _is_regression(reports)
    least, most = (-audit.high, -audit.low) if numbers else (audit.low, audit.high)
    wanted = -target if numbers else target
    measured = (
        f"{audit.metric} is {audit.value:.3f} ({audit.low:.3f} to {audit.high:.3f}, "
        f"{audit.n} audit tasks), {target:g} is wanted"
    )
    if least >= wanted:
        return say(True, f"{measured}: reached")
    if most < wanted:
        return say(False, f"{measured}: not reached")
    return say(None, f"{measured}: too wide to tell")


def _last_audit(reports: Sequence[ControlReport]) -> Estimate | None:
    return reports[-1].evaluation.audit if reports else None


def _is_regression(reports: Sequence[ControlReport]) -> bool:
    """Return whether the audit measures an error, which is better when it is lower."""
    audit = _last_audit(reports)
    return audit is not None and audit.metric == "mean absolute error"
