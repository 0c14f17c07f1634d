"""`active-learn doctor`: checks of the connection with Label Studio, and repairs."""

from .finding import Finding, Verdict, exit_status
from .run import examine, repair

__all__ = ["Finding", "Verdict", "examine", "exit_status", "repair"]
