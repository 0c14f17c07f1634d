"""`active-learn connect`, `disconnect`, `pause` and `resume`: the connection of one project."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from active_learn.errors import ActiveLearnError

from ..project_settings import parse_params
from ..settings import Settings
from .options import project_option, read_settings, settings_options

if TYPE_CHECKING:
    from ..labeling.config import LabelingTask
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.connection import Connection

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
    own = None if params is None else parse_params(params)

    def connect(connection: Connection, client: LabelStudioClient) -> list[str]:
        done = connection.connect(pull=pull, params=own, check_params=partial(_check, client))
        return _with_contents(done, client, read_settings(given), project_id)

    _change(project_id, given, connect)


def _with_contents(
    done: list[str], client: LabelStudioClient, settings: Settings, project_id: int
) -> list[str]:
    """Add whether the first tasks can be read; while none can be, the stream is not ordered."""
    from ..doctor.contents import check_contents
    from ..doctor.finding import Verdict
    from ..labelstudio.connection import STREAM_IS_ORDERED

    try:
        finding = check_contents(client, settings, project_id)
    except ActiveLearnError as error:
        return [*done, f"not checked whether its tasks can be read: {error}"]
    if finding.verdict == Verdict.OK:
        return [*done, finding.what]
    if finding.verdict == Verdict.WRONG:
        waits = "the annotation stream will be ordered once a task can be read"
        done = [line.replace(STREAM_IS_ORDERED, waits) for line in done]
    return [*done, str(finding)]


def _check(
    client: LabelStudioClient, settings: Settings, task: LabelingTask, params: Mapping[str, Any]
) -> None:
    """Check what the rounds will use, and say what they lack."""
    from ..doctor.models import check_usable

    finding = check_usable(client, settings, task, params)
    if finding.remedy:
        click.echo(str(finding), err=True)


@click.command("disconnect")
@project_option
@_registration
def disconnect_command(project_id: int, **given: Any) -> None:
    """Restore a project's former state and remove what is ours."""
    _change(project_id, given, lambda connection, _: connection.disconnect())


@click.command("pause")
@project_option
@_sampling
def pause_command(project_id: int, **given: Any) -> None:
    """Stop ordering a project's stream for now."""
    _change(project_id, given, lambda connection, _: connection.pause())


@click.command("resume")
@project_option
@_sampling
def resume_command(project_id: int, **given: Any) -> None:
    """Order a project's stream again."""
    _change(project_id, given, lambda connection, _: connection.resume())


def _change(
    project_id: int,
    given: dict[str, Any],
    change: Callable[[Connection, LabelStudioClient], list[str]],
) -> None:
    """Change the connection of one project, and print what was done."""
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.connection import Connection
    from ..state.folders import make_model_dir
    from ..state.store import Store

    settings = read_settings(given)
    client = LabelStudioClient(settings)
    client.require_token()
    make_model_dir(settings)
    store = Store(settings.store_url)
    try:
        for line in change(Connection(client, store, settings, project_id), client):
            click.echo(f"project {project_id}: {line}")
    finally:
        client.close()
        store.close()
