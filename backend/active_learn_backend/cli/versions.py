"""`active-learn versions` and `rollback`: the heads and own models of a project."""

from __future__ import annotations

from typing import Any

import click

from .options import project_option, read_settings, settings_options

__all__ = ["rollback_command", "versions_command"]


@click.command("versions")
@project_option
@settings_options("state", "logs")
def versions_command(project_id: int, **given: Any) -> None:
    """List the heads and models that are kept, and the labeling runs."""
    from ..learning.quality.head_versions import list_versions
    from ..state.labeling_runs import describe_runs
    from ..state.store import Store

    settings = read_settings(given)
    store = Store(settings.store_url)
    for line in [*list_versions(settings, store, project_id), *describe_runs(store, project_id)]:
        click.echo(line)


@click.command("rollback")
@project_option
@click.option(
    "--to",
    "version",
    required=True,
    metavar="VERSION",
    help="head-<round>, model-<digest>, or latest.",
)
@settings_options("state", "logs")
def rollback_command(project_id: int, version: str, **given: Any) -> None:
    """Go back to an earlier head or model; a head answers until `--to latest`."""
    from ..learning.quality.head_versions import roll_back
    from ..state.store import Store

    settings = read_settings(given)
    done = roll_back(settings, Store(settings.store_url), project_id, version)
    click.echo(f"project {project_id}: {done}")
