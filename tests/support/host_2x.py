"""A stand-in for label-studio-ml 2.x, which is not on PyPI: it does what its code does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from flask import Flask, jsonify, request
from label_studio_ml.exceptions import exception_handler

__all__ = ["Base2", "init_app"]


class Base2:
    """LabelStudioMLBase of 2.x: read-only properties, a cache, and `setup` at the end."""

    _cache: ClassVar[dict[tuple[str, str], str]] = {}

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        self._label_config = label_config
        self.setup()

    def setup(self) -> None: ...

    def get(self, key: str) -> str | None:
        return self._cache.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        self._cache[self.project_id, key] = value

    def has(self, key: str) -> bool:
        return (self.project_id, key) in self._cache

    @property
    def label_config(self) -> str | None:
        return self._label_config

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")


TRAIN_EVENTS = ("ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED", "START_TRAINING")


def init_app(
    model_class: Callable[..., Any],
    basic_auth_user: str | None = None,  # of which the stand-in makes nothing
    basic_auth_pass: str | None = None,
) -> Flask:
    """Return a server that does in /health, /setup, /predict and /webhook what 2.x does."""
    app = Flask("label-studio-ml 2.x")

    @app.get("/health")
    def health() -> Any:
        return jsonify({"status": "UP", "model_class": model_class.__name__})

    @app.post("/setup")
    @exception_handler
    def setup() -> Any:
        data = request.json
        project_id = data.get("project").split(".", 1)[0]
        model = model_class(project_id=project_id, label_config=data.get("schema"))
        if data.get("extra_params"):
            model.set_extra_params(data["extra_params"])
        return jsonify({"model_version": model.get("model_version")})

    @app.post("/predict")
    @exception_handler
    def predict() -> Any:
        data = request.json
        project_id = str(data.get("project")).split(".", 1)[0]
        params = data.get("params", {})
        context = params.pop("context", {})
        model = model_class(project_id=project_id, label_config=data.get("label_config"))
        return jsonify({"results": list(model.predict(data["tasks"], context=context, **params))})

    @app.post("/webhook")
    def webhook() -> Any:
        data = request.json
        event = data.pop("action")
        if event not in TRAIN_EVENTS:
            return jsonify({"status": "Unknown event"}), 200
        model = model_class(
            str(data["project"]["id"]), label_config=data["project"]["label_config"]
        )
        return jsonify({"result": model.fit(event, data), "status": "ok"}), 201

    return app
