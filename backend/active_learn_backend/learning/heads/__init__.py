"""The heads of a project: one for each control that is learned."""

from .control_heads import ControlHeads, TaskAnswer, stored_heads
from .training import train_heads

__all__ = ["ControlHeads", "TaskAnswer", "stored_heads", "train_heads"]
