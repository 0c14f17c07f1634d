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
@click.option("--control", help="Only this one, where several controls are learned.")
@settings_options("state", "logs")
def advise_command(
    project_id: int, target: float | None, control: str | None, **given: Any
) -> None:
    """Say whether more labels are worth it. It only advises."""
    from ..errors import SettingsError
    from ..learning.quality.stopping import advise, describe
    from ..state.rounds import read_rounds
    from ..state.store import Store

    settings = read_settings(given)
    store = Store(settings.store_url)
    store.known_project(project_id)
    reports = read_rounds(store, project_id)
    names = [one.control for one in reports[-1].controls] if reports else []
    if control is not None and control not in names:
        raise SettingsError(
            f"--control is '{control}', which no round has learned; expected one of: "
            f"{', '.join(names) or 'none yet'}"
        )
    if target is not None and control is None and len(names) > 1:
        raise SettingsError(
            f"--target needs --control, as several are learned; expected one of: {', '.join(names)}"
        )
    for line in describe(advise(reports, target, control)):
        click.echo(f"project {project_id}: {line}")
    if reports and (cost := reports[-1].cost):
        click.echo(f"project {project_id}: a task takes {cost.about} ({cost.detail})")
