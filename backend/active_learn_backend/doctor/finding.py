"""One line of a doctor's report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from active_learn.errors import ActiveLearnError

__all__ = ["Finding", "Verdict", "exit_status", "not_checked", "ok", "warning", "wrong"]


class Verdict(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    NOT_CHECKED = "not checked"


@dataclass(frozen=True)
class Finding:
    """What one check found.

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
        """Write one line, whatever others put into their messages."""
        about = "" if self.project is None else f"project {self.project}: "
        line = f"{self.verdict.value}: {about}{self.what}" + (
            f"; {self.remedy}" if self.remedy else ""
        )
        return " ".join(line.split())


def ok(what: str) -> Finding:
    """Say that something is as it should be."""
    return Finding(Verdict.OK, what)


def warning(what: str, remedy: str, *, repairable: bool = False) -> Finding:
    """Say that something works, but not as well as it could, or not for long."""
    return Finding(Verdict.WARNING, what, remedy, repairable)


def wrong(what: str, remedy: str, *, repairable: bool = False) -> Finding:
    """Say that something does not work."""
    return Finding(Verdict.WRONG, what, remedy, repairable)


def not_checked(what: str, why: ActiveLearnError | str) -> Finding:
    """Say that a check could not be made; an error of ours says what to do."""
    return Finding(Verdict.NOT_CHECKED, what, str(why))


def exit_status(findings: Iterable[Finding]) -> int:
    """Give 1 when something is wrong, else 2 when something could not be checked, else 0."""
    verdicts = {finding.verdict for finding in findings}
    if Verdict.WRONG in verdicts:
        return 1
    return 2 if Verdict.NOT_CHECKED in verdicts else 0
