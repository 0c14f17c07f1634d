"""The command line, `active-learn`: every setting is an environment variable and a flag."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from active_learn.errors import ActiveLearnError
from pydantic import SecretStr
from tqdm import tqdm

from ..logs import context, set_up
from ..security_checks import unsafe_packages, unsafe_settings
from ..settings import Settings, load_settings, parse_params, require_engine
from ..state.rounds import read_rounds
from .select import select

if TYPE_CHECKING:
    from ..labelstudio.connection import Connection
    from ..state.store import Store

__all__ = ["main"]

log = logging.getLogger(__name__)

WORKER_NICENESS = 10  # a round on every core must not make a webhook wait


def _with_settings(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add one flag per setting."""
    for name, field in reversed(Settings.model_fields.items()):
        command = click.option(
            f"--{name.replace('_', '-')}",
            name,
            default=None,
            help=f"{field.description} [{name.upper()}]",
            metavar="VALUE",
        )(command)
    return command


def _settings(given: dict[str, Any]) -> Settings:
    settings = load_settings(**given)
    set_up(settings)
    return settings


class _Group(click.Group):
    """Shows an error of ours as one line, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ActiveLearnError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.version_option(package_name="label-studio-active-sampler", prog_name="active-learn")
def main() -> None:
    """Active learning for Label Studio: the annotation queue orders itself."""


@main.command()
@_with_settings
def serve(**given: Any) -> None:
    """Run the backend: web process and worker."""
    from .serve import serve as run

    settings = _settings(given)
    require_engine(settings)
    warn_of_what_is_unsafe(settings)
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    log.info("state is kept in %s", settings.model_dir.resolve())
    environment = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings.model_dump(include=_given_names(given)).items()
    }
    sys.exit(run(settings, environment))


@main.command()
@_with_settings
def worker(**given: Any) -> None:
    """Run the worker alone, where another server hosts the web part."""
    # Read when torch is loaded: threads that wait by spinning make a ranking ten times slower on
    # a machine where Label Studio is at work too.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from ..labelstudio.client import LabelStudioClient
    from ..state.recovery import DAMAGED_EXIT
    from ..state.store import Store
    from ..worker.loop import Worker

    settings = _settings(given)
    os.nice(WORKER_NICENESS)
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    running = Worker(settings, Store(settings.store_url), LabelStudioClient(settings))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: running.stopping.set())
    running.run()
    if running.damaged:
        sys.exit(DAMAGED_EXIT)


def _log_project(
    ctx: click.Context, _option: click.Parameter, project_id: int | None
) -> int | None:
    """Let every line that the command logs bear the number of its project."""
    if project_id is not None:
        ctx.with_resource(context(project=project_id))
    return project_id


_project = click.option(
    "--project", "project_id", type=int, required=True, callback=_log_project, help="Project id."
)


@main.command()
@_project
@click.option("--pull", is_flag=True, help="Register nothing in Label Studio; only poll it.")
@click.option(
    "--params",
    metavar="JSON",
    help='The project\'s own settings, such as \'{"strategy": "margin"}\'; "{}" takes them back.',
)
@_with_settings
def connect(project_id: int, pull: bool, params: str | None, **given: Any) -> None:
    """Connect a project, or repair its connection."""
    if params is None:
        _change_connection(project_id, given, lambda connection: connection.connect(pull=pull))
        return
    from ..learning.selection.project_params import check_params  # loads the strategies

    own = parse_params(params)
    _change_connection(
        project_id,
        given,
        lambda connection: connection.connect(pull=pull, params=own, check_params=check_params),
    )


@main.command()
@_project
@_with_settings
def disconnect(project_id: int, **given: Any) -> None:
    """Give a project back as it was, and remove what is ours."""
    _change_connection(project_id, given, lambda connection: connection.disconnect())


@main.command()
@_project
@_with_settings
def pause(project_id: int, **given: Any) -> None:
    """Stop ordering a project's stream for now."""
    _change_connection(project_id, given, lambda connection: connection.pause())


@main.command()
@_project
@_with_settings
def resume(project_id: int, **given: Any) -> None:
    """Order a project's stream again."""
    _change_connection(project_id, given, lambda connection: connection.resume())


@main.command()
@click.option("--project", "project_id", type=int, help="Only this one; else all connected ones.")
@click.option("--fix", is_flag=True, help="Repair what is safe to repair: only what is ours.")
@click.option("--seconds", type=float, default=9.0, help="Time for all checks. [9]")
@_with_settings
def doctor(project_id: int | None, fix: bool, seconds: float, **given: Any) -> None:
    """Check the connection with Label Studio both ways, and say what to do.

    Exit status: 0 all is well, 1 something is wrong, 2 something could not be checked.
    """
    began = time.monotonic()
    # Read when the hub's library is loaded: an examination downloads no models.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    settings = _settings({**given, "log_level": given["log_level"] or "ERROR"})
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


@main.command()
@_project
@_with_settings
def versions(project_id: int, **given: Any) -> None:
    """List the trained heads that are kept, newest first."""
    from ..learning.quality.head_versions import list_versions

    for line in list_versions(*_state(given), project_id):
        click.echo(line)


@main.command()
@_project
@click.option("--to", "version", required=True, metavar="VERSION", help="head-<round>, or latest.")
@_with_settings
def rollback(project_id: int, version: str, **given: Any) -> None:
    """Go back to an earlier head: it answers and orders until `--to latest`."""
    from ..learning.quality.head_versions import roll_back

    click.echo(f"project {project_id}: {roll_back(*_state(given), project_id, version)}")


@main.command()
@_project
@click.option(
    "--target",
    type=float,
    help="Accuracy that is good enough, such as 0.95; of numbers, the mean absolute error.",
)
@_with_settings
def advise(project_id: int, target: float | None, **given: Any) -> None:
    """Say whether labeling on is worth it. It only advises."""
    from ..learning.quality.stopping import advise as ask
    from ..learning.quality.stopping import describe

    _, store = _state(given)
    store.known_project(project_id)
    for line in describe(ask(read_rounds(store, project_id), target)):
        click.echo(f"project {project_id}: {line}")


_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


@main.command()
@click.option("--project", "project_id", type=int, callback=_log_project, help="A labeled project.")
@click.option("--export", type=_file, help="Or a file that Label Studio exported as JSON.")
@click.option("--label-config", type=_file, help="The labeling config (XML) of the export.")
@click.option("--strategies", default="", help="Only these, separated by commas.")
@click.option("--seeds", type=click.IntRange(2, 50), default=5, help="Replays of each strategy.")
@click.option("--quick", is_flag=True, help="A first look: at most 600 labels and 3 seeds.")
@click.option("--output", type=_folder, default=Path(), help="Folder of the table and the plot.")
@_with_settings
def backtest(
    project_id: int | None,
    export: Path | None,
    label_config: Path | None,
    strategies: str,
    seeds: int,
    quick: bool,
    output: Path,
    **given: Any,
) -> None:
    """Label a labeled project again by every strategy: which would have saved labels?"""
    from .backtest import Source, run

    source = Source(project_id, export, label_config)
    for line in run(_settings(given), source, strategies, seeds, quick, output):
        click.echo(line)


@main.command()
@_project
@click.argument("files", nargs=-1, required=True, type=_file)
@_with_settings
def embed(project_id: int, files: tuple[Path, ...], **given: Any) -> None:
    """Embed the tasks of FILES ahead, as Label Studio imports them: JSON lines, or a JSON list.

    What is embedded is found again when the tasks come to the project, and by this command.
    """
    settings = _settings(given)
    require_engine(settings)
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    from .embed import run

    with tqdm(unit=" tasks", disable=None) as bar:
        for line in run(settings, project_id, files, lambda done: bar.update(done - bar.n)):
            bar.write(line)


def _state(given: dict[str, Any]) -> tuple[Settings, Store]:
    from ..state.store import Store

    settings = _settings(given)
    return settings, Store(settings.store_url)


def _change_connection(
    project_id: int, given: dict[str, Any], change: Callable[[Connection], list[str]]
) -> None:
    """Change the connection of one project, and print what was done."""
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.connection import Connection
    from ..state.store import Store

    settings = _settings(given)
    client = LabelStudioClient(settings)
    client.require_token()
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store_url)
    try:
        for line in change(Connection(client, store, settings, project_id)):
            click.echo(f"project {project_id}: {line}")
    finally:
        client.close()
        store.close()


def _given_names(given: dict[str, Any]) -> set[str]:
    return {name for name, value in given.items() if value is not None}


def warn_of_what_is_unsafe(settings: Settings) -> None:
    """Say in the log what is unsafe, before serving."""
    for danger in [*unsafe_packages(), *unsafe_settings(settings)]:
        log.warning("%s; %s", danger.what, danger.remedy)


main.add_command(select)


if __name__ == "__main__":
    main()
