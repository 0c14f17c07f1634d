"""One line of a doctor's report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from active_learn.errors import ActiveLearnError

__all__ = ["Finding", "Verdict", "exit_status", "not_checked", "ok", "warning", "wrong"]


class Verdict(Enum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    what : str
        In plain words.
    remedy : str
        What to do; empty where nothing has to be done.
    repairable : bool
        `repair` can put it right.
    project : int or None
        The project that it is about.
    """

    verdict: Verdict
    what: str
    remedy: str = ""
    repairable: bool = False
    project: int | None = None

    def __str__(self) -> str:
        """Write one line, also of a message with line breaks."""
        about = "" if self.project is None else f"project {self.project}: "
        line = f"{self.verdict.value}: {about}{self.what}" + (
            f"; {self.remedy}" if self.remedy else ""
        )
        return " ".join(line.split())


def ok(what: str) -> Finding:
    """Return the finding that something is as it should be."""
    return Finding(Verdict.OK, what)


def warning(what: str, remedy: str, *, repairable: bool = False) -> Finding:
    """Return the finding that something works, but not as well as it could, or not for long."""
    return Finding(Verdict.WARNING, what, remedy, repairable)


def wrong(what: str, remedy: str, *, repairable: bool = False) -> Finding:
    """Return the finding that something does not work."""
    return Finding(Verdict.WRONG, what, remedy, repairable)


def not_checked(what: str, why: ActiveLearnError | str) -> Finding:
    """Return the finding that a check could not be made; our errors name the remedy."""
    return Finding(Verdict.NOT_CHECKED, what, str(why))


def exit_status(findings: Iterable[Finding]) -> int:
    """Return 1 when something is wrong, else 2 when something could not be checked, else 0."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.WRONG in verdicts:
        return 1
    return 2 if Verdict.NOT_CHECKED in verdicts else 0
