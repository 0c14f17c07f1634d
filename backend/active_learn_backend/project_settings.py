"""Settings of one project: the extra params of its model, over those of the environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .errors import SettingsError
from .settings import REMOVED, Settings, load_settings

__all__ = ["PROJECT_SETTINGS", "parse_params", "project_settings"]

#: What a project may set for itself, by the extra params of its model in Label Studio.
PROJECT_SETTINGS = (
    "strategy",
    "budget",
    "reserve",
    "retrain_every",
    "encoder",
    "model",
    "model_use",
    "controls",
    "class_weight",
    "audit",
    "prelabel",
)


def parse_params(params: object) -> dict[str, Any]:
    """Read a model's extra params as Label Studio sends them: a JSON object, maybe as text.

    Raises
    ------
    SettingsError
    """
    if isinstance(params, str):
        text = params.strip()
        try:
            params = json.loads(text) if text else None
        except (ValueError, RecursionError):
            params = text[:40]
    if params is None:
        return {}
    if not isinstance(params, dict):
        raise SettingsError(
            f"the extra params are {str(params)[:40]!r}; expected a JSON object such as "
            '{"strategy": "margin"}'
        )
    return params


def project_settings(settings: Settings, params: Mapping[str, Any]) -> Settings:
    """Apply a project's own settings over those of the environment.

    Parameters
    ----------
    params : mapping
        By name, in lower or upper case.

    Raises
    ------
    SettingsError
        For a name that a project may not set, and for a bad value.
    """
    if not params:
        return settings
    own = {name.lower(): value for name, value in params.items()}
    # A project that was connected with one of these goes on; new params with it are refused.
    own = {name: value for name, value in own.items() if name not in REMOVED}
    for name, value in own.items():
        if name not in PROJECT_SETTINGS:
            raise SettingsError(
                f"the extra params have {name[:40]!r}, which no project can set; "
                f"expected some of {', '.join(PROJECT_SETTINGS)}"
            )
        if value is None:
            raise SettingsError(f"{name.upper()} is null in the extra params; leave it out")
    return load_settings(**{**settings.model_dump(), **own})
