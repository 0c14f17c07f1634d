"""The settings as options of the command line: each command has those that it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from ..logs import context, set_up
from ..settings import SECRETS, Settings, load_settings

__all__ = [
    "GROUPS",
    "log_project",
    "project_option",
    "read_settings",
    "settings_of_project",
    "settings_options",
]

#: Every setting stands in one group; a command takes whole groups.
GROUPS: dict[str, tuple[str, ...]] = {
    "label studio": (
        "label_studio_url",
        "label_studio_api_key",
        "label_studio_ca_file",
        "label_studio_proxy",
        "request_timeout",
    ),
    "state": ("model_dir", "database_url"),
    "address": ("host", "port", "backend_url", "basic_auth_user", "basic_auth_pass"),
    "web": ("web_processes", "web_threads", "allowed_hosts"),
    "worker": ("worker_threads", "poll_interval", "advice_url"),
    "selection": (
        "budget",
        "reserve",
        "retrain_every",
        "strategy",
        "controls",
        "class_weight",
        "audit",
        "prelabel",
    ),
    "models": ("encoder", "model", "model_use", "device"),
    "training": ("train", "train_command", "train_every", "train_timeout"),
    "content": (
        "max_content_mb",
        "max_video_mb",
        "content_hosts",
        "content_private",
        "content_roots",
        "label_studio_public_url",
    ),
    "engine": (
        "engine",
        "ray_address",
        "ray_workers",
        "ray_gpus",
        "ray_train_cpus",
        "ray_train_gpus",
        "ray_shards",
        "partition_rows",
    ),
    "logs": ("log_level", "log_format"),
}

Command = Callable[..., Any]


def log_project(ctx: click.Context, _option: click.Parameter, project_id: int | None) -> int | None:
    """Let every line that the command logs bear the number of its project."""
    if project_id is not None:
        # The root's context is closed also after a usage error in the command.
        ctx.find_root().with_resource(context(project=project_id))
    return project_id


project_option = click.option(
    "--project", "project_id", type=int, required=True, callback=log_project, help="Project id."
)


def settings_options(*groups: str) -> Callable[[Command], Command]:
    """Return a decorator that adds one option for each setting of these groups, but for secrets.

    An option that is not given is None: the environment decides then, or the default.
    """
    names = [name for group in groups for name in GROUPS[group] if name not in SECRETS]

    def decorate(command: Command) -> Command:
        for name in reversed(names):
            command = _option(name, Settings.model_fields[name])(command)
        return command

    return decorate


def read_settings(given: dict[str, Any]) -> Settings:
    """Return the settings with these options over the environment, and set the logs up.

    Raises
    ------
    SettingsError
        When one of them has a value that cannot be used.
    """
    settings = load_settings(**given)
    set_up(settings)
    return settings


def settings_of_project(settings: Settings, project_id: int) -> Settings:
    """Return a project's own settings over those of the environment, where it is connected."""
    from ..state.folders import make_model_dir
    from ..state.model_versions import served_settings
    from ..state.store import Store

    make_model_dir(settings)
    store = Store(settings.store_url)
    try:
        project = store.project(project_id)
    finally:
        store.close()
    return served_settings(settings, project) if project else settings


def _option(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    default = field.get_default(call_default_factory=True)
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    shown = "" if default in ("", None) else f"; default {default}"
    choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
    return click.option(
        f"--{name.replace('_', '-')}",
        name,
        default=None,
        type=click.Choice(choices, case_sensitive=name != "log_level") if choices else None,
        metavar=None if choices else "VALUE",
        help=f"{field.description} [{name.upper()}{shown}]",
    )
