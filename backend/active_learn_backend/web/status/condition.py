"""Whether a project is ordered, and if not, why and what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ...labelstudio.connection import MODEL_DELETED, PROJECT_DELETED
from ...state.schema import BEING_CONNECTED
from ...state.status_queries import TaskCounts
from ...state.store import Project

__all__ = ["Condition", "condition_of"]


@dataclass(frozen=True)
class Condition:
    """The condition of a project.

    Attributes
    ----------
    state : str
        A few words, such as 'Connected' or 'Paused'.
    color : {'green', 'gray', 'amber', 'violet', 'red', 'blue', 'orange'}
        Green only where nothing is wrong, and the same for no two of the others.
    sentence : str
        What it means; empty where all is well.
    command : str
        What puts it right; empty where no command does.
    resumable : bool
        Whether it is paused, so that a button can take it up again.
    """

    state: str
    color: str
    sentence: str = ""
    command: str = ""
    resumable: bool = False


def condition_of(project: Project, error: str, counts: TaskCounts, unreadable: int) -> Condition:
    """Return the condition of a project, the most serious one where there are several.

    Parameters
    ----------
    error : str
        What hinders the worker; empty if nothing does.
    unreadable : int
        The tasks that cannot be read.
    """
    if project.status != "active":
        return _stopped(project)
    if error:
        return Condition("Error", "red", "The last try failed. The worker tries again by itself.")
    if project.polled_at and not counts.total:
        return Condition("Empty", "blue", "Label Studio has no tasks in this project: import some.")
    if unreadable:
        return Condition(
            "Tasks unreadable",
            "orange",
            f"{unreadable:,} of {counts.total:,} tasks cannot be read, so they are not queued.",
        )
    return Condition("Connected", "green")


def _stopped(project: Project) -> Condition:
    resume = f"active-learn resume --project {project.id}"
    if project.status == "disconnected":
        return _disconnected(project)
    if project.status == "paused_by_user":
        why = _sentence(project.reason)
        return Condition(
            "Paused: sampling changed",
            "amber",
            f"{why} In the Community edition its settings page cannot set it back.",
            resume,
            resumable=True,
        )
    if project.reason == MODEL_DELETED:
        return Condition(
            "Model deleted",
            "violet",
            "The model of this project was deleted in Label Studio, so its tasks are not ordered. "
            "Resume to go on by polling, or connect again to register the model anew.",
            resume,
            resumable=True,
        )
    sentence = _sentence(f"paused {project.reason}")
    return Condition("Paused", "gray", sentence, resume, resumable=True)


def _disconnected(project: Project) -> Condition:
    if project.reason == BEING_CONNECTED:
        return Condition("Not connected", "gray", "It is being connected now.")
    verb = "disconnect" if project.reason == PROJECT_DELETED else "connect"
    command = f"active-learn {verb} --project {project.id}"
    return Condition("Not connected", "gray", _sentence(f"disconnected: {project.reason}"), command)


def _sentence(words: str) -> str:
    words = words.strip(" :")
    return f"{words[:1].upper()}{words[1:]}."
