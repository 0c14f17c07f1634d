"""What is unsafe or missing in this installation, or unsafe in its settings, and what to do."""

from __future__ import annotations

import importlib.metadata
from dataclasses import dataclass
from importlib.util import find_spec

from active_learn.errors import MissingOptionalDependencyError

from .settings import Settings

__all__ = [
    "LOOPBACK",
    "Danger",
    "require_engine",
    "require_training",
    "unsafe_packages",
    "unsafe_settings",
]

#: Names under which only this machine reaches us.
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Danger:
    """Something unsafe, and the remedy."""

    what: str
    remedy: str


def unsafe_packages() -> list[Danger]:
    """List the installed packages that are a danger."""
    dangers = []
    flask = importlib.metadata.version("flask")
    if tuple(int(part) for part in flask.split(".")[:2]) < (2, 3):
        dangers.append(
            Danger(
                f"Flask {flask} has known security holes",
                "run: pip install -U flask werkzeug jinja2 itsdangerous",
            )
        )
    if "active-learn" in importlib.metadata.packages_distributions().get("active_learn", []):
        dangers.append(
            Danger(
                "PyPI's package 'active-learn' owns the same import name as ours",
                "run: pip uninstall active-learn, then install this project again",
            )
        )
    return dangers


def unsafe_settings(settings: Settings) -> list[Danger]:
    """List the settings that open the backend to anyone."""
    if settings.basic_auth_user or settings.host in LOOPBACK:
        return []
    return [
        Danger(
            f"listening on {settings.host} without auth: anyone who reaches port {settings.port} "
            "can use this backend",
            "set BASIC_AUTH_USER and BASIC_AUTH_PASS",
        )
    ]


def require_engine(settings: Settings) -> None:
    """Ask for the packages of the setting ``engine``, before anything heavy is loaded.

    Raises
    ------
    MissingOptionalDependencyError
        When it is Ray, and Ray is not installed.
    """
    if settings.engine == "ray" and any(find_spec(name) is None for name in ("ray", "pyarrow")):
        raise MissingOptionalDependencyError(
            "ENGINE is ray, whose package is not installed: "
            "pip install 'label-studio-active-sampler[ray]'"
        )


def require_training(settings: Settings) -> None:
    """Ask for the packages of the setting ``train``, before anything heavy is loaded.

    Raises
    ------
    MissingOptionalDependencyError
        When a model is to be fine-tuned, and one of them is not installed.
    """
    missing = [name for name in ("accelerate", "peft") if find_spec(name) is None]
    if settings.train != "off" and missing:
        raise MissingOptionalDependencyError(
            f"TRAIN is {settings.train}, whose packages are not installed ({', '.join(missing)}): "
            "pip install 'label-studio-active-sampler[train]'"
        )
