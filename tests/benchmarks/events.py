"""The requests with which benchmarks play Label Studio's webhook."""

from __future__ import annotations

from pathlib import Path

from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.state.store import Store

__all__ = ["JSON", "event_headers"]

JSON = {"Content-Type": "application/json"}


def event_headers(model_dir: Path, project: int) -> dict[str, str]:
    """Return the headers with which Label Studio sends the events of a project."""
    store = Store(f"sqlite:///{model_dir / 'state.sqlite3'}")
    try:
        return {**JSON, SECRET_HEADER: store.known_project(project).webhook_secret}
    finally:
        store.close()
