"""`active-learn unlabel`: take back what a labeling run wrote."""

from __future__ import annotations

from typing import Any

import click

from .options import project_option, read_settings, settings_options

__all__ = ["unlabel_command"]


@click.command("unlabel")
@project_option
@click.option(
    "--run", "number", type=click.IntRange(min=1), required=True, help="Number of the run."
)
@settings_options("label studio", "state", "logs")
def unlabel_command(project_id: int, number: int, **given: Any) -> None:
    """Take back what a labeling run wrote, but for what people changed."""
    from ..labelstudio.automatic_labels import AutomaticLabels
    from ..labelstudio.client import LabelStudioClient
    from ..state.folders import make_model_dir
    from ..state.store import Store

    settings = read_settings(given)
    client = LabelStudioClient(settings)
    client.require_token()
    make_model_dir(settings)
    store = Store(settings.store_url)
    try:
        done = AutomaticLabels(client, store, settings, project_id).remove(number)
        click.echo(f"project {project_id}: {done.describe(number)}")
    finally:
        client.close()
        store.close()
