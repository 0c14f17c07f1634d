"""`active-learn advise`: whether to label on."""

from __future__ import annotations

from typing import Any

import click

from .options import project_option, read_settings, settings_options

__all__ = ["advise_command"]


@click.command("advise")
@project_option
@click.option(
    "--target",
    type=float,
    help="Accuracy that is good enough, such as 0.95; of numbers, the mean absolute error.",
)
@settings_options("state", "logs")
def advise_command(project_id: int, target: float | None, **given: Any) -> None:
    """Say whether more labels are worth it. It only advises."""
    from ..learning.quality.stopping import advise, describe
    from ..state.rounds import read_rounds
    from ..state.store import Store

    settings = read_settings(given)
    store = Store(settings.store_url)
    store.known_project(project_id)
    for line in describe(advise(read_rounds(store, project_id), target)):
        click.echo(f"project {project_id}: {line}")
