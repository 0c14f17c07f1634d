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
    from ..learning.quality.certified_labels import By, CertifiedLabels
    from ..learning.quality.verification_sample import VerifiedLabels
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
    "--by",
    type=click.Choice(["task", "label"]),
    default="task",
    show_default=True,
    help="What has to be right: all labels of a task, or each label by itself.",
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
@click.option(
    "--verify",
    is_flag=True,
    help="Where no set passes: let people label a sample of one first, blind.",
)
@settings_options("label studio", "state", "selection", "models", "content", "logs")
def label_command(
    project_id: int,
    accuracy: float,
    by: By,
    confidence: float,
    tolerance: float,
    path: Path | None,
    kind: Kind | None,
    verify: bool,
    **given: Any,
) -> None:
    """Label the rest automatically, as far as the accuracy is certified."""
    from ..learning.quality.certified_labels import CertifiedLabels
    from ..learning.quality.verification_sample import VerifiedLabels, begin_verification
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
        elif verified := VerifiedLabels.read(settings, store, project_id):
            _use(settings, store, project_id, verified, path, kind, say)
            if verified.failed or (kind and verified.granted):
                _close(settings, store, project_id)
        else:
            found = CertifiedLabels.find(
                settings,
                store,
                project_id,
                accuracy,
                confidence,
                tolerance,
                by=by,
            )
            _use(settings, store, project_id, found, path, kind, say)
            if verify and not found.granted:
                begun = begin_verification(settings, store, project_id, found, tolerance)
                say(
                    f"a verification is begun: {len(begun.sample)} tasks are served first and show "
                    f"no answer; at most {begun.most_wrong} answers may be wrong"
                )
    finally:
        store.close()


def _use(
    settings: Settings,
    store: Store,
    project_id: int,
    found: CertifiedLabels | VerifiedLabels,
    path: Path | None,
    kind: Kind | None,
    say: Callable[[str], None],
) -> None:
    """Say what is certified, and export and write it if that is asked for."""
    for line in found.describe():
        say(line)
    granted = found.granted
    if path is not None and (written := _export(found, path)):
        say(f"{written} answers are written to {path}")
    if kind and granted:
        say(f"{len(granted)} answers are being written as {kind}")
        _write(
            settings,
            store,
            project_id,
            lambda labels: labels.begin(
                kind, granted, accuracy=found.accuracy, confidence=found.confidence
            ),
            say,
        )


def _export(found: CertifiedLabels | VerifiedLabels, path: Path) -> int:
    """Write what is certified as JSON lines; return of how many tasks."""
    from ..learning.quality.answer_export import export, export_decisions
    from ..learning.quality.certified_labels import CertifiedLabels

    if not isinstance(found, CertifiedLabels) or found.decisions is None:
        return export(found.granted, found.head_version, path) if found.granted else 0
    if not found.granted and not found.decisions.granted.any():
        return 0
    return export_decisions(
        found.pool.answers, found.decisions, found.granted, found.head_version, path
    )


def _close(settings: Settings, store: Store, project_id: int) -> None:
    """Close a verification: a round trains on its labels."""
    from ..state.verification import close

    close(settings, project_id)
    store.mark_changed(project_id, request_round=True)


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
