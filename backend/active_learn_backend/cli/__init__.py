"""The command line, `active-learn`: one module a command, `main` joins them."""

from .main import main

__all__ = ["main"]
