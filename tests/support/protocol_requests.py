"""What Label Studio sends to the web process, about project 9."""

from __future__ import annotations

from typing import Any

from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.state.store import Store

__all__ = ["CONFIG", "UID", "predict_body", "secret_of", "setup_body"]

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
UID = "9.1795327219"


def secret_of(store: Store, number: int = 9) -> dict[str, str]:
    return {SECRET_HEADER: store.known_project(number).webhook_secret}


def setup_body(config: str = CONFIG, **fields: Any) -> dict[str, Any]:
    return {
        "project": UID,
        "schema": config,
        "hostname": "http://127.0.0.1:8080",
        "access_token": "0123",
        "extra_params": None,
    } | fields


def predict_body(*texts: Any) -> dict[str, Any]:
    tasks = [{"id": n, "data": {"text": text}, "annotations": []} for n, text in enumerate(texts)]
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": UID, "label_config": CONFIG, "params": params}
