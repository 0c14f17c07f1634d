"""`active-learn export-model`: encoder and head as one ONNX model that runs without us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .options import project_option, read_settings, settings_options

__all__ = ["export_model_command"]


@click.command("export-model")
@project_option
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--control", default="", help="Only the head of this control; all when omitted.")
@settings_options("label studio", "state", "selection", "models", "content", "logs")
def export_model_command(project_id: int, folder: Path, control: str, **given: Any) -> None:
    """Write encoder and trained head as one ONNX model into FOLDER.

    A head of spans, of regions of images or of segments is written as Python code with its weights.
    Beside it stand a model card, an example, and what prepares its inputs. Each control has a
    folder of its own where several have a head.
    """
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.content_loader import ContentLoader
    from ..learning.export import export_controls
    from ..state.folders import make_model_dir
    from ..state.store import Store

    settings = read_settings(given)
    make_model_dir(settings)
    store = Store(settings.store_url)
    client = LabelStudioClient(settings)
    try:
        load = ContentLoader(settings, client).load
        folder = folder.expanduser().absolute()
        written = export_controls(settings, store, project_id, folder, load, control=control)
    finally:
        client.close()
        store.close()
    for one in written:
        click.echo(
            f"project {project_id}: '{one.control}' is written to {one.folder}; on "
            f"{one.compared.tasks} tasks it answers as the backend does (difference "
            f"{one.compared.difference:.1g}, {one.compared.from_stored:.1g} from its stored "
            "embeddings in half precision)"
        )
