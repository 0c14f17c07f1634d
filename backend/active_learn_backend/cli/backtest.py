"""The command `backtest`: reads a labeled project, replays it, writes down what was found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from active_learn.errors import DataError

from ..errors import SettingsError
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.content_loader import ContentLoader
from ..labelstudio.labeled_tasks import read_export, read_project
from ..learning.quality.backtest import LabeledSet, backtest, candidates_for, draw, write_csv
from ..settings import Settings, project_settings
from ..state.store import Store

__all__ = ["Source", "own_settings", "run"]

OF_EXPORTS = 0  # the project whose embedding cache exports share


@dataclass(frozen=True)
class Source:
    """Where the labels are: in a project of Label Studio, or in an export with its config."""

    project_id: int | None = None
    export: Path | None = None
    label_config: Path | None = None

    def read(self, settings: Settings) -> tuple[LabeledSet, Settings]:
        """Embed what is labeled; gives also the settings, the project's own over ours.

        Raises
        ------
        SettingsError
            When it is said twice, or not at all, where the labels are.
        """
        if (self.project_id is None) == (self.export is None):
            raise SettingsError("give either --project, or --export with --label-config")
        client = LabelStudioClient(settings)
        try:
            if self.project_id is not None:
                client.require_token()
                settings = own_settings(settings, self.project_id)
                task, rows = read_project(client, self.project_id)
            else:
                task, rows = read_export(self._given(self.export), self._config())
            load = ContentLoader(settings, client).load
            return LabeledSet.embed(
                settings, self.project_id or OF_EXPORTS, task, rows, load
            ), settings
        finally:
            client.close()

    def _config(self) -> str:
        path = self._given(self.label_config)
        try:
            return path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error

    @staticmethod
    def _given(path: Path | None) -> Path:
        if path is None:
            raise SettingsError("give the labeling config of the export, by --label-config")
        return path


def own_settings(settings: Settings, project_id: int) -> Settings:
    """Apply a project's own settings over those of the environment, where it is connected."""
    settings.model_dir.mkdir(parents=True, exist_ok=True)
    store = Store(settings.store_url)
    try:
        project = store.project(project_id)
    finally:
        store.close()
    return project_settings(settings, project.params) if project else settings


def run(
    settings: Settings, source: Source, strategies: str, seeds: int, quick: bool, output: Path
) -> Iterator[str]:
    """Replay, and write ``backtest.csv`` and ``backtest.png``; gives the lines to show.

    Parameters
    ----------
    strategies : str
        Names, separated by commas; empty: all that fit.
    output : Path
        Folder of the two files.
    """
    data, settings = source.read(settings)
    names = [name.strip() for name in strategies.split(",") if name.strip()]
    candidates = candidates_for(data.problem_type, names)
    found = backtest(
        data, candidates, batch=settings.batch, seeds=seeds, quick=quick, progress=True
    )
    yield found.report()
    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / "backtest.csv", found.curves)
    yield f"every score: {output / 'backtest.csv'}"
    try:
        draw(output / "backtest.png", found)
    except SettingsError as error:  # the numbers are there all the same
        yield str(error)
    else:
        yield f"the curves: {output / 'backtest.png'}"
