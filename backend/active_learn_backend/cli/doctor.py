"""`active-learn doctor`: checks of the connection, with what to do about each problem."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

import click

from .options import read_settings, settings_options

__all__ = ["doctor_command"]


@click.command("doctor")
@click.option("--project", "project_id", type=int, help="Only this one; else all connected ones.")
@click.option("--fix", is_flag=True, help="Repair what is safe to repair: only what is ours.")
@click.option("--seconds", type=float, default=9.0, show_default=True, help="Time for all checks.")
@settings_options("label studio", "state", "address", "models", "content", "engine", "logs")
def doctor_command(project_id: int | None, fix: bool, seconds: float, **given: Any) -> None:
    """Check the connection with Label Studio in both directions, and say what to do.

    Exit status: 0 no problem, 1 a problem, 2 something could not be checked.
    """
    began = time.monotonic()
    # Read when the hub's library is loaded: an examination downloads no models.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    settings = read_settings({**given, "log_level": given["log_level"] or "ERROR"})
    from ..doctor import examine, exit_status, repair

    findings = examine(settings, project_id, began + seconds)
    done = repair(settings, findings, project_id) if fix else []
    for line in done:
        click.echo(f"fix: {line}")
    if done:
        findings = examine(settings, project_id, time.monotonic() + seconds)
    for finding in findings:
        click.echo(str(finding))
    sys.exit(exit_status(findings))
