"""A project's own settings: what a user of Label Studio may choose, checked before it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from active_learn.strategies import build_strategy
from active_learn.validation import check_problem_type

from ...errors import SettingsError
from ...labeling.config import LabelingTask, parse_label_config
from ...project_settings import project_settings
from ...settings import REMOVED, Settings
from ..encoders.names import check_project_value

__all__ = ["check_params", "learned_task", "settings_for"]


def learned_task(label_config: str, settings: Settings) -> LabelingTask:
    """Read a labeling config, with the controls that a project learns by its settings.

    Raises
    ------
    LabelConfigError
        When the config cannot be learned.
    SettingsError
        When the settings name a control that it cannot learn.
    """
    return parse_label_config(label_config).only(settings.controls)


def settings_for(task: LabelingTask, settings: Settings) -> Settings:
    """Return a project's settings as they hold for its labeling task.

    Where nothing can be learned, `auto` stands for coverage, which needs no model, and there is
    no audit set: no answers are predicted whose quality it could measure.
    """
    if task.learned:
        return settings
    strategy = "coverage" if settings.strategy == "auto" else settings.strategy
    return settings.model_copy(update={"strategy": strategy, "audit": 0.0})


def check_params(settings: Settings, task: LabelingTask, params: Mapping[str, Any]) -> None:
    """Check that a round can use the settings, and that none is reserved for the operator.

    Parameters
    ----------
    settings : Settings
        Of the environment.
    task : LabelingTask
        The labeling task of the project.
    params : mapping
        The project's own, by name.

    Raises
    ------
    SettingsError
        For a name or value that cannot be used.
    ParameterError
        For a strategy that does not support the problem type, or streams.
    """
    if removed := sorted({name.lower() for name in params}.intersection(REMOVED)):
        raise SettingsError(f"no project can set {', '.join(removed)} any more; leave it out")
    own = project_settings(settings, params)
    for name in {name.lower() for name in params} & {"encoder", "model"}:
        check_project_value(name, getattr(own, name), settings)
    task = task.only(own.controls)
    strategy = build_strategy(own.strategy, {})
    settings_for(task, own)
    outputs = [(one.problem_type, 1) for one in task.others]
    problem = check_problem_type("tagging" if task.regions else outputs)
    strategy.check(problem)
    if isinstance(own.budget, float):
        strategy.scorer(problem, 1.0)
