"""Decisions that are certified label by label: for which tasks is yes or no of a label granted?

Each decision has a set of its own, at an equal share of the probability of error (Bonferroni). So
all bounds hold together, whichever of them somebody looks at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ..selection.snapshot import Mask
from .certification import Certificate, certify, upper_bound
from .decisions import Array, Decision, Decisions

__all__ = ["CertifiedDecisions"]

MOST_SHOWN = 60


@dataclass(frozen=True)
class CertifiedDecisions:
    """For each decision the tasks for which it is granted.

    Attributes
    ----------
    decisions : Decisions
    certificates : list of Certificate or None, length k
        None for a decision of which no set passes.
    accuracy : float
        Share of right decisions in each set.
    significance : float
        Probability with which one set or more may have fewer.
    """

    decisions: Decisions
    certificates: list[Certificate | None]
    accuracy: float
    significance: float

    @classmethod
    def find(cls, decisions: Decisions, accuracy: float, significance: float) -> CertifiedDecisions:
        """Certify each decision by the audit labels."""
        columns = zip(
            decisions.audit_scores.T, decisions.wrong.T, decisions.scores.T, strict=True
        )  # fmt: skip
        of_each = significance / len(decisions.names)
        found = [certify(*column, accuracy, of_each) for column in columns]
        return cls(decisions, found, accuracy, significance)

    @property
    def granted(self) -> Mask:
        """Which decisions are granted for which tasks, (m, k)."""
        return self._inside(self.decisions.scores)

    def of_task(self, at: int, granted: Mask) -> Mapping[str, Mapping[str, bool] | bool]:
        """Return what is granted for a task: yes or no by label, by control.

        Parameters
        ----------
        granted : array of shape (k,), bool
            The row of the task in `granted`.
        """
        found: dict[str, dict[str, bool] | bool] = {}
        for column in np.flatnonzero(granted):
            control, label = self.decisions.names[column]
            if not label:
                found[control] = True
                continue
            of_control = found.setdefault(control, {})
            assert isinstance(of_control, dict)
            of_control[label] = bool(self.decisions.yes[at, column])
        return found

    def describe(self) -> Iterator[str]:
        """Yield a line for each decision: what is granted, and what is wrong in it."""
        granted, inside = self.granted, self._inside(self.decisions.audit_scores)
        for at, (name, certificate) in enumerate(
            zip(self.decisions.names[:MOST_SHOWN], self.certificates, strict=False)
        ):
            if certificate is None:
                yield f"  {name}: no set of decisions is certified"
                continue
            bound = upper_bound(
                certificate.wrong, certificate.sample, certificate.tasks,
                self.significance / len(self.decisions.names),
            )  # fmt: skip
            yield (
                f"  {name}: {certificate.tasks} tasks ({certificate.tasks / len(granted):.0%}): "
                f"{self._sides(name, at, granted[:, at], inside[:, at])}; at most {bound:.1%}"
            )
        if (more := len(self.decisions.names) - MOST_SHOWN) > 0:
            yield f"  and {more} more labels"

    def _sides(self, name: Decision, at: int, granted: Mask, inside: Mask) -> str:
        """Describe what is granted, yes and no apart, with the errors that are expected of each."""
        decisions = self.decisions
        parts = []
        for word, side in (("yes", True), ("no", False)) if name.label else (("", True),):
            chosen = granted & (decisions.yes[:, at] == side)
            measured = inside & (decisions.audit_yes[:, at] == side)
            expected = float((1 - decisions.scores[chosen, at]).sum())
            parts.append(
                f"{f'{chosen.sum()} {word}, ' if word else ''}{expected:.1f} probably wrong "
                f"({decisions.wrong[measured, at].sum()} of {measured.sum()} audit tasks are)"
            )
        return ", ".join(parts)

    def _inside(self, scores: Array) -> Mask:
        least = [np.inf if one is None else one.threshold for one in self.certificates]
        found: Mask = scores >= np.array(least)
        return found
