"""`active-learn embed`: tasks are embedded from files, before Label Studio has them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..labeling.config import parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.content_loader import ContentLoader
from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.configured import configured_engine
from ..settings import Settings
from .backtest import own_settings

__all__ = ["run"]

SHOWN = 5  # failures that are told one by one


def run(
    settings: Settings, project_id: int, files: Sequence[Path], report: Callable[[int], None]
) -> Iterator[str]:
    """Embed, and give the lines to show.

    Parameters
    ----------
    files : sequence of Path
        Of tasks, as Label Studio imports them.
    report : callable
        Told now and then how many tasks are done.

    Raises
    ------
    DataError
        With file and line, when one cannot be read; what was embedded till then is kept.
    SettingsError, EngineError, LabelStudioError
    """
    client = LabelStudioClient(settings)
    try:
        client.require_token()
        label_config = str(client.project(project_id)["label_config"] or "")
        settings = own_settings(settings, project_id)
        load = ContentLoader(settings, client).load
        embedder = TaskEmbedder(settings, project_id, parse_label_config(label_config), load)
        before = len(embedder.cache)
        failed = configured_engine(settings).fill_from_files(
            embedder, label_config, files, lambda done, _: report(done)
        )
        now = len(embedder.cache)
    finally:
        client.close()
    yield f"{now - before} embedded by {embedder.fingerprint}; the cache holds {now}"
    if failed:
        yield f"{len(failed)} could not be loaded:"
        yield from sorted({str(error) for error in failed.values()})[:SHOWN]
