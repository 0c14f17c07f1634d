"""`active-learn label`: let the heads label the rest, at an accuracy that is certified."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import project_option, read_settings, settings_options

if TYPE_CHECKING:
    from ..labelstudio.automatic_labels import AutomaticLabels
    from ..settings import Settings
    from ..state.labeling_runs import Kind, LabelingRun
    from ..state.store import Store

__all__ = ["label_command"]


class _Share(click.FloatRange):
    """A number in a range; NaN, which no comparison finds, is in none."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number", param, ctx)
        return number


@click.command("label")
@project_option
@click.option(
    "--accuracy",
    type=_Share(0.5, 1, min_open=True, max_open=True),
    required=True,
    help="Share of right answers that the labeled tasks must have, such as 0.98.",
)
@click.option(
    "--confidence",
    type=_Share(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="Probability with which the bound must hold.",
)
@click.option(
    "--tolerance",
    type=_Share(0),
    default=0.0,
    help="Of numbers: an answer is right if it is no farther from the label.",
)
@click.option(
    "--export",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the answers as JSON lines.",
)
@click.option(
    "--write",
    "kind",
    type=click.Choice(["predictions", "annotations"]),
    help="Write the answers into Label Studio. Without it nothing is written there.",
)
@settings_options("label studio", "state", "selection", "models", "content", "logs")
def label_command(
    project_id: int,
    accuracy: float,
    confidence: float,
    tolerance: float,
    path: Path | None,
    kind: Kind | None,
    **given: Any,
) -> None:
    """Label the rest automatically, as far as the accuracy is certified."""
    from ..learning.quality.certified_labels import CertifiedLabels, describe, export
    from ..state.folders import make_model_dir
    from ..state.labeling_runs import unfinished
    from ..state.store import Store

    settings = read_settings(given)
    make_model_dir(settings)
    store = Store(settings.store_url)
    say = partial(_say, project_id)
    try:
        if kind and (run := unfinished(store, project_id)):
            say(f"run {run.run} was broken off; it is finished first, call again for another one")
            _write(settings, store, project_id, lambda _: run, say)
            return
        found = CertifiedLabels.find(settings, store, project_id, accuracy, confidence, tolerance)
        for line in describe(found):
            say(line)
        if path is not None:
            export(found, path)
            say(f"{len(found.granted)} answers are written to {path}")
        if kind and found.granted:
            say(f"{len(found.granted)} answers are being written as {kind}")
            _write(
                settings,
                store,
                project_id,
                lambda labels: labels.begin(
                    kind, found.granted, accuracy=accuracy, confidence=confidence
                ),
                say,
            )
    finally:
        store.close()


def _write(
    settings: Settings,
    store: Store,
    project_id: int,
    begin: Callable[[AutomaticLabels], LabelingRun],
    say: Callable[[str], None],
) -> None:
    """Write a run into Label Studio, and say what is there now."""
    from ..labelstudio.automatic_labels import AutomaticLabels
    from ..labelstudio.client import LabelStudioClient

    client = LabelStudioClient(settings)
    try:
        client.require_token()
        labels = AutomaticLabels(client, store, settings, project_id)
        run = labels.write(begin(labels))
    finally:
        client.close()
    say(
        f"run {run.run} is done: {run.written} of {run.granted} answers are {run.kind} in Label "
        f"Studio; `active-learn unlabel --project {project_id} --run {run.run}` takes them back"
    )


def _say(project_id: int, line: str) -> None:
    click.echo(f"project {project_id}: {line}")
