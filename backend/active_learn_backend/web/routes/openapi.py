"""The OpenAPI document of the protocol, made of the models that the routes use."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Flask, Response, current_app, jsonify
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from ...labelstudio.registration import SECRET_HEADER
from .messages import Exchange, Refusal, exchange_of, exchanges

__all__ = ["document", "openapi"]

openapi = Blueprint("openapi", __name__)

REFERENCE = "#/components/schemas/{model}"
REFUSALS = {
    "400": "The request is malformed; nothing was changed.",
    "401": "Wrong or missing credentials.",
    "403": "The request comes from a page of another site, or was sent to a name that is not ours.",
    "413": "The body is larger than 8 MiB (/predict: 32 MiB).",
    "415": "The body is not declared as application/json.",
    "429": "Too many projects wait to be connected; nothing was changed.",
    "503": "The project state or a model cannot be used now; the backend's log says why.",
}


@openapi.route("/openapi.json", methods=["GET"])
@exchanges(response_model=None)
def describe() -> Response:
    """Return this document."""
    return jsonify(document(current_app))


def document(app: Flask) -> dict[str, Any]:
    """Describe an app's routes.

    Returns
    -------
    dict
        An OpenAPI 3.1 document.
    """
    views = {
        rule.rule: (rule, view)
        for rule in app.url_map.iter_rules()
        if hasattr(view := app.view_functions[rule.endpoint], "exchange")  # pages have none
    }
    spoken = {path: exchange_of(view) for path, (_, view) in sorted(views.items())}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Active sampler, an ML backend of Label Studio",
            "version": importlib.metadata.version("label-studio-active-sampler"),
        },
        "paths": {
            path: _operations(views[path][0], str(views[path][1].__doc__), exchange)
            for path, exchange in spoken.items()
        },
        "components": {
            "schemas": _schemas(list(spoken.values())),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "secret": {"type": "apiKey", "in": "header", "name": SECRET_HEADER},
            },
        },
    }


def _operations(rule: Rule, docstring: str, exchange: Exchange) -> Mapping[str, Any]:
    operation: dict[str, Any] = {
        "summary": docstring.strip().splitlines()[0],
        "responses": _answers(exchange),
        # The empty one: without BASIC_AUTH_USER nothing is asked for.
        "security": [{"basic": []}, *[{"secret": []}] * (rule.rule == "/webhook"), {}],
    }
    if exchange.request_model is not None:
        content = {"application/json": {"schema": _refer(exchange.request_model)}}
        operation["requestBody"] = {"required": True, "content": content}
    if rule.rule == "/versions":
        project = {"name": "project", "in": "query", "schema": {"type": "string"}}
        operation["parameters"] = [project]
    methods = set(rule.methods or ()) - {"HEAD", "OPTIONS"}
    return {method.lower(): operation for method in methods}


def _answers(exchange: Exchange) -> dict[str, Any]:
    refusal = {"application/json": {"schema": _refer(Refusal)}}
    answers: dict[str, Any] = {
        status: {"description": words, "content": refusal} for status, words in REFUSALS.items()
    }
    answers["200"] = {"description": "Done, or the answer."}
    if exchange.response_model is not None:
        answers["200"] = {
            "description": " ".join(str(exchange.response_model.__doc__).split()),
            "content": {"application/json": {"schema": _refer(exchange.response_model)}},
        }
    return answers


def _refer(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": REFERENCE.format(model=model.__name__)}


def _schemas(spoken: list[Exchange]) -> Any:
    models = {
        model
        for one in spoken
        for model in (one.request_model, one.response_model)
        if model is not None
    }
    ordered = sorted(models | {Refusal}, key=lambda model: model.__name__)
    _, definitions = models_json_schema(
        [(model, "validation") for model in ordered], ref_template=REFERENCE
    )
    return definitions["$defs"]
