"""`active-learn connect`, `disconnect`, `pause` and `resume`: the connection of one project."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ..errors import SettingsError
from ..settings import parse_params
from .options import project_option, read_settings, settings_options

__all__ = ["connect_command", "disconnect_command", "pause_command", "resume_command"]

# Registering needs to know our address as Label Studio sees it.
_registration = settings_options("label studio", "state", "address", "logs")
_sampling = settings_options("label studio", "state", "logs")


@click.command("connect")
@project_option
@click.option("--pull", is_flag=True, help="Register nothing in Label Studio; only poll it.")
@click.option(
    "--params",
    metavar="JSON",
    help='The project\'s own settings, such as \'{"strategy": "margin"}\'; "{}" removes them.',
)
@_registration
def connect_command(project_id: int, pull: bool, params: str | None, **given: Any) -> None:
    """Connect a project, or repair its connection."""
    from ..labelstudio.connection import connect

    own = None if params is None else parse_params(params)
    _run(connect, project_id, given, pull=pull, params=own)


@click.command("disconnect")
@project_option
@_registration
def disconnect_command(project_id: int, **given: Any) -> None:
    """Restore a project's former state and remove what is ours."""
    from ..labelstudio.connection import disconnect

    _run(disconnect, project_id, given)


@click.command("pause")
@project_option
@_sampling
def pause_command(project_id: int, **given: Any) -> None:
    """Stop ordering a project's stream for now."""
    from ..labelstudio.connection import pause

    _run(pause, project_id, given)


@click.command("resume")
@project_option
@_sampling
def resume_command(project_id: int, **given: Any) -> None:
    """Order a project's stream again."""
    from ..labelstudio.connection import resume

    _run(resume, project_id, given)


def _run(
    command: Callable[..., list[str]], project_id: int, given: dict[str, Any], **options: Any
) -> None:
    """Run one command on a project, and print what it did."""
    from ..labelstudio.client import LabelStudioClient
    from ..state.store import Store

    settings = read_settings(given)
    if not settings.label_studio_api_key.get_secret_value():
        raise SettingsError(
            "no token for Label Studio; set LABEL_STUDIO_API_KEY (Account & Settings, Access token)"
        )
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    client, store = LabelStudioClient(settings), Store(settings.store_url)
    try:
        for line in command(client, store, settings, project_id, **options):
            click.echo(f"project {project_id}: {line}")
    finally:
        client.close()
        store.close()
