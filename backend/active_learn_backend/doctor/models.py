"""Checks of a project's settings, and that what embeds its tasks can be loaded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from active_learn.errors import MissingOptionalDependencyError, ParameterError

from ..errors import LabelConfigError, SettingsError
from ..labeling.config import LabelingTask, parse_label_config
from ..labelstudio.client import LabelStudioClient
from ..labelstudio.content_loader import ContentLoader
from ..project_settings import project_settings
from ..settings import Settings
from ..state.model_versions import read_refusal, served_settings
from ..state.store import Project
from ..state.training_status import output_file, read_training
from .finding import Finding, not_checked, ok, warning, wrong

if TYPE_CHECKING:
    from ..learning.user_models import BoundRegionModel

__all__ = ["check_model", "check_usable", "check_versions"]


def check_model(
    client: LabelStudioClient, settings: Settings, project: Project
) -> Iterator[Finding]:
    """Check the settings of a project, and load its model or encoders, as its rounds do."""
    for finding in _check(client, settings, project):
        yield replace(finding, project=project.id)


def _check(client: LabelStudioClient, settings: Settings, project: Project) -> Iterator[Finding]:
    if not project.label_config:
        yield not_checked("what it loads", "its first turn is not done yet")
        return
    params = project.params
    try:
        task = parse_label_config(project.label_config)
    except LabelConfigError:
        return  # said where the project itself is checked
    try:
        _check_params(settings, task, params)
    except (ParameterError, SettingsError) as error:
        yield wrong(str(error), "correct its settings (`connect --params`)")
        return
    yield from check_versions(settings, project)
    began = time.monotonic()
    try:
        own = served_settings(settings, project)
        found = _load(client, own, task.only(own.controls))
    except (SettingsError, MissingOptionalDependencyError) as error:
        yield wrong(str(error), "its rounds wait for that")
        return
    yield replace(found, what=f"{found.what} ({time.monotonic() - began:.1f} s)")


def check_versions(settings: Settings, project: Project) -> Iterator[Finding]:
    """Report a new file of MODEL that is not used, and the last training."""
    serves = project.model_version or "what served before"
    refused = read_refusal(settings, project.id)
    if refused is not None and project_settings(settings, project.params).model:
        yield warning(
            f"what MODEL names now is not used, {serves} serves on: {refused.reason}",
            "correct the file; the worker looks at it again by itself",
        )
    if (settings.train_command or settings.train != "off") and not _audit(settings, project):
        yield warning(
            "AUDIT is 0, so a model that is trained cannot be compared and never serves by itself",
            "set AUDIT, or take a model by `active-learn rollback --to`",
        )
    training = read_training(settings, project.id)
    if training is None:
        return
    if training.state == "failed":
        yield warning(
            f"the last training gave no model, {serves} serves on: {training.reason}",
            f"its last lines are in {output_file(settings, project.id)}",
        )
    elif training.state == "done":
        ended = training.reason or "it may serve"
        yield ok(f"the last training made version {training.version} of its model: {ended}")
    else:
        share = "" if training.progress is None else f", {100 * training.progress:.0f} % are done"
        yield ok(f"a training on {training.labels} labels is {training.state}{share}")


def _audit(settings: Settings, project: Project) -> float:
    return project_settings(settings, project.params).audit


def check_usable(
    client: LabelStudioClient, settings: Settings, task: LabelingTask, params: Mapping[str, Any]
) -> Finding:
    """Check settings, with a project's own over them, and load the model or encoder they name.

    Raises
    ------
    SettingsError, ParameterError, MissingOptionalDependencyError
        When a round could not use them.
    """
    _check_params(settings, task, params)
    own = project_settings(settings, params)
    needs_no_package = all(field.kind not in ("audio", "video", "pdf") for field in task.fields)
    if needs_no_package and not (own.model or own.encoder):
        return ok("the embedded encoders need no check")
    return _load(client, own, task)


def _check_params(settings: Settings, task: LabelingTask, params: Mapping[str, Any]) -> None:
    default = Settings.model_fields["strategy"].default
    if not params and settings.strategy == default and isinstance(settings.budget, int):
        return  # fits every project, and the strategies import torch, which takes seconds
    from ..learning.selection.project_params import check_params

    check_params(settings, task, params)


def _load(client: LabelStudioClient, settings: Settings, task: LabelingTask) -> Finding:
    if not settings.model:
        return _encoders(settings, task)
    # It imports ONNX, which takes seconds.
    from ..learning.user_models import BoundRegionModel, load_model_of_project

    model = load_model_of_project(settings, task, ContentLoader(settings, client).load)
    found = f"its model '{settings.model}' loads"
    if isinstance(model, BoundRegionModel):
        return ok(found + _regions_of(model))
    if len(task.controls) > 1 and model.head() is not None:
        found += f" and answers for '{model.control.from_name}'; the other controls get heads"
    return ok(found)


def _regions_of(model: BoundRegionModel) -> str:
    """Say what a model that finds regions does."""
    of = f"the regions of '{model.control.from_name}'"
    if model.classes is None:
        return f" and makes the features for {of}"
    names = ", ".join(f"'{name[:40]}'" for name in model.unused[:5])
    more = f" and {len(model.unused) - 5} more" if model.unused[5:] else ""
    left = f"; no label stands for its classes {names}{more}, which are left out" if names else ""
    return f" and proposes {of}{left}"


def _encoders(settings: Settings, task: LabelingTask) -> Finding:
    from ..learning.encoders import configured_encoders, readable_fields  # imports scikit-learn
    from ..learning.encoders.names import split_encoders

    fields = readable_fields(task.fields)
    encoders = configured_encoders(settings, {field.kind for field in fields})
    names = ", ".join(sorted(encoder.fingerprint for encoder in encoders.values()))
    absent = [name for name in split_encoders(settings.encoder) if _is_absent(name, settings)]
    if absent:
        return warning(
            f"its encoder {', '.join(absent)} is not on this machine; until then it is {names}",
            "the worker downloads it; where there is no internet, name a folder",
        )
    return ok(f"its encoder {names} loads")


def _is_absent(name: str, settings: Settings) -> bool:
    from ..learning.encoders.hub import hub_folder
    from ..learning.encoders.names import find_path

    packaged = name == "minilm" or find_path(name, settings) is not None
    return not packaged and hub_folder(name) is None
