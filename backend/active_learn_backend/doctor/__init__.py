"""`active-learn doctor`: what is wrong between Label Studio and us, in words, and its repair."""

from .finding import Finding, Verdict, exit_status
from .run import examine, repair

__all__ = ["Finding", "Verdict", "examine", "exit_status", "repair"]
