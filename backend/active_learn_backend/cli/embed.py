"""`active-learn embed`: embed tasks from files before Label Studio has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from ..security_checks import require_engine
from ..settings import Settings
from ..state.folders import make_model_dir
from .options import project_option, read_settings, settings_of_project, settings_options

__all__ = ["embed", "embed_command"]

SHOWN = 5  # failures that are listed one by one


@click.command("embed")
@project_option
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@settings_options("label studio", "state", "models", "content", "engine", "logs")
def embed_command(project_id: int, files: tuple[Path, ...], **given: Any) -> None:
    """Embed the tasks of FILES before Label Studio has them: JSON lines, or a JSON list.

    A project finds these embeddings when the tasks are imported, and so does this command.
    """
    settings = read_settings(given)
    require_engine(settings)
    make_model_dir(settings)
    with tqdm(unit=" tasks", disable=None) as bar:
        for line in embed(settings, project_id, files, lambda done: bar.update(done - bar.n)):
            bar.write(line)


def embed(
    settings: Settings, project_id: int, files: Sequence[Path], report: Callable[[int], None]
) -> Iterator[str]:
    """Embed, and yield the lines to print.

    Parameters
    ----------
    files : sequence of Path
        Of tasks, as Label Studio imports them.
    report : callable
        Called now and then with the number of tasks that are done.

    Raises
    ------
    DataError
        With file and line, when one cannot be read; what was embedded before is kept.
    SettingsError, EngineError, LabelStudioError
    """
    # These import torch, which takes seconds: not for --help.
    from ..labelstudio.client import LabelStudioClient
    from ..labelstudio.content_loader import ContentLoader
    from ..learning.engines.configured import configured_engine, engine_for
    from ..learning.regions.embedder import open_embedder
    from ..learning.selection.project_params import learned_task

    client = LabelStudioClient(settings)
    try:
        client.require_token()
        label_config = str(client.project(project_id)["label_config"] or "")
        settings = settings_of_project(settings, project_id)
        load = ContentLoader(settings, client).load
        task = learned_task(label_config, settings)
        embedder = open_embedder(settings, project_id, task, load)
        engine = engine_for(task, configured_engine(settings))
        before = len(embedder)
        failed = engine.fill_from_files(embedder, label_config, files, lambda done, _: report(done))
        now = len(embedder)
    finally:
        client.close()
    yield f"{now - before} embedded by {embedder.fingerprint}; the cache holds {now}"
    if failed:
        yield f"{len(failed)} could not be loaded:"
        yield from sorted({str(error) for error in failed.values()})[:SHOWN]
