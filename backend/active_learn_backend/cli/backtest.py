"""`active-learn backtest`: replay a labeled project by every strategy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from active_learn.errors import DataError

from ..errors import SettingsError
from ..labeling.controls import RegionTag
from ..settings import Settings
from .options import log_project, read_settings, settings_of_project, settings_options

if TYPE_CHECKING:
    from ..learning.quality.backtest import Backtest, LabeledSet
    from ..learning.quality.region_backtest import LabeledRegions

__all__ = ["Source", "backtest_command", "replay"]

OF_EXPORTS = 0  # the project whose embedding cache exports share

_file = click.Path(exists=True, dir_okay=False, path_type=Path)
_folder = click.Path(file_okay=False, path_type=Path)


@click.command("backtest")
@click.option("--project", "project_id", type=int, callback=log_project, help="A labeled project.")
@click.option("--export", type=_file, help="Or a file that Label Studio exported as JSON.")
@click.option("--label-config", type=_file, help="The labeling config (XML) of the export.")
@click.option("--strategies", default="", help="Only these, separated by commas.")
@click.option(
    "--seeds",
    type=click.IntRange(2, 50),
    default=5,
    show_default=True,
    help="Replays of each strategy.",
)
@click.option("--quick", is_flag=True, help="A first look: at most 600 labels and 3 seeds.")
@click.option("--output", type=_folder, default=Path(), help="Folder of the table and the plot.")
@settings_options("label studio", "state", "selection", "models", "content", "logs")
def backtest_command(
    project_id: int | None,
    export: Path | None,
    label_config: Path | None,
    strategies: str,
    seeds: int,
    quick: bool,
    output: Path,
    **given: Any,
) -> None:
    """Replay a labeled project by every strategy: which would have saved labels?"""
    source = Source(project_id, export, label_config)
    for line in replay(read_settings(given), source, strategies, seeds, quick, output):
        click.echo(line)


@dataclass(frozen=True)
class Source:
    """Where the labels are: in a project of Label Studio, or in an export with its config."""

    project_id: int | None = None
    export: Path | None = None
    label_config: Path | None = None

    def read(self, settings: Settings) -> tuple[LabeledSet | LabeledRegions, Settings]:
        """Embed what is labeled; return it with the settings, the project's own over ours.

        Raises
        ------
        SettingsError
            When both places of the labels are named, or none.
        """
        from ..labelstudio.client import LabelStudioClient
        from ..labelstudio.content_loader import ContentLoader
        from ..labelstudio.exports import read_export, read_project
        from ..learning.quality.backtest import LabeledSet
        from ..learning.quality.region_backtest import LabeledRegions

        if (self.project_id is None) == (self.export is None):
            raise SettingsError("give either --project, or --export with --label-config")
        client = LabelStudioClient(settings)
        try:
            if self.project_id is not None:
                client.require_token()
                settings = settings_of_project(settings, self.project_id)
                task, rows = read_project(client, self.project_id)
            else:
                task, rows = read_export(self._given(self.export), self._config())
            load = ContentLoader(settings, client).load
            control = task.only(settings.controls).controls[0]
            kind = LabeledRegions if isinstance(control, RegionTag) else LabeledSet
            return kind.embed(settings, self.project_id or OF_EXPORTS, task, rows, load), settings
        finally:
            client.close()

    def _config(self) -> str:
        path = self._given(self.label_config)
        try:
            return path.read_text(encoding="utf-8-sig")  # a byte order mark is no part of it
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read: {error}") from error

    @staticmethod
    def _given(path: Path | None) -> Path:
        if path is None:
            raise SettingsError("give the labeling config of the export, by --label-config")
        return path


def replay(
    settings: Settings, source: Source, strategies: str, seeds: int, quick: bool, output: Path
) -> Iterator[str]:
    """Replay, write ``backtest.csv`` and ``backtest.png``, and yield the lines to print.

    Parameters
    ----------
    strategies : str
        Names, separated by commas; empty: all that fit.
    output : Path
        Folder of the two files.
    """
    # These import torch, which takes seconds: not for --help.
    from ..learning.quality.backtest import backtest, candidates_for
    from ..learning.quality.region_backtest import (
        LabeledRegions,
        backtest_regions,
        region_candidates,
    )

    data, settings = source.read(settings)
    names = [name.strip() for name in strategies.split(",") if name.strip()]
    given: dict[str, Any] = {
        "batch": settings.batch,
        "seeds": seeds,
        "quick": quick,
        "progress": True,
    }
    if isinstance(data, LabeledRegions):
        candidates = region_candidates(names, auto=data.begins_at_random)
        of_regions = backtest_regions(data, candidates, **given)
        yield of_regions.report()
        # The page counts labels, which are tasks; what was read is said in words.
        verdicts = [of_regions.by_tasks.verdict[0], of_regions.by_parts.verdict[0]]
        yield from _keep(settings, source, data.control.from_name, of_regions.by_tasks, verdicts)
        yield from _write(output, of_regions.rows, [of_regions.by_parts, of_regions.by_tasks])
        return
    found = backtest(data, candidates_for(data.problem_type, names), **given)
    yield found.report()
    if data.problem_type == "classification":  # other scores are not those of the page
        yield from _keep(settings, source, data.control, found, found.verdict[:1])
    yield from _write(output, list(found.curves.rows()), [found])


def _keep(
    settings: Settings, source: Source, control: str, found: Backtest, verdicts: Sequence[str]
) -> Iterator[str]:
    """Keep the mean curves of a project for its page, and yield that they are there."""
    from ..learning.quality.replayed_curves import ReplayedCurves, save_replayed_curves

    if source.project_id is None:
        return
    means = {name: one.mean(axis=0).tolist() for name, one in found.curves.scores.items()}
    labels = [int(one) for one in found.curves.labels]
    curves = ReplayedCurves(control, labels, means, " ".join(verdicts))
    save_replayed_curves(settings, source.project_id, curves)
    yield "the status page shows the curve of random beside the project's own"


def _write(
    output: Path, rows: Sequence[Mapping[str, Any]], pictures: Sequence[Backtest]
) -> Iterator[str]:
    """Write the files of a backtest, and yield where they are."""
    from ..learning.quality.backtest_files import draw, write_csv

    output.mkdir(parents=True, exist_ok=True)
    write_csv(output / "backtest.csv", rows)
    yield f"every score: {output / 'backtest.csv'}"
    try:
        draw(output / "backtest.png", pictures)
    except SettingsError as error:  # the numbers are there all the same
        yield str(error)
    else:
        yield f"the curves: {output / 'backtest.png'}"
