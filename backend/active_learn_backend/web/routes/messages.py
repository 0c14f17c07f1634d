"""Bodies of the protocol's requests and answers; the OpenAPI document is made of these.

Other fields of a request's body are ignored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar

from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, WithJsonSchema
from werkzeug.exceptions import RequestEntityTooLarge

from ...errors import BadRequestError
from ...wording import first_fault
from ..limits import check_values, largest_body
from ..ml_backend import LARGEST_ID, PROJECT_ID

__all__ = [
    "Exchange",
    "HealthAnswer",
    "NotedAnswer",
    "PredictAnswer",
    "PredictRequest",
    "Refusal",
    "SetupAnswer",
    "SetupRequest",
    "TrainRequest",
    "VersionsAnswer",
    "WebhookRequest",
    "exchange_of",
    "exchanges",
    "read_body",
]

MOST_LEVELS = 100  # of a body; Label Studio's own have about ten

# As Label Studio writes it, "<id>.<created_at>"; what does not fit is refused by project_number.
ProjectId = Annotated[
    str | int,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^{PROJECT_ID}$"},
                {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
            ]
        }
    ),
]


class _Message(BaseModel):
    model_config = ConfigDict(strict=True)


class SetupRequest(_Message):
    """Body of /setup; its host name and access token are not used."""

    project: ProjectId
    schema_: str = Field(alias="schema", description="The labeling config, XML.")
    extra_params: Any = Field(None, description="Settings of the project: an object, or its JSON.")


class PredictTask(_Message):
    """One task of /predict."""

    id: int | None = None
    data: dict[str, Any]


class PredictParams(_Message):
    """The part of the params of /predict that is read."""

    context: dict[str, Any] | None = Field(
        None,
        description="Of interactive preannotations: `result` is what the annotation holds so far.",
    )


class PredictRequest(_Message):
    """Body of /predict."""

    tasks: list[PredictTask]
    project: ProjectId
    label_config: str | None = None
    params: PredictParams | None = None


class WebhookProject(_Message):
    """The part of a webhook's project that is read."""

    id: int = Field(ge=1, le=LARGEST_ID)


class WebhookRequest(_Message):
    """The part of a webhook's body that is read; without a project, a header names it."""

    action: str = Field(max_length=100)
    project: WebhookProject | None = None


class TrainRequest(_Message):
    """Body of /train."""

    project: ProjectId


class HealthAnswer(_Message):
    """The web process is up; problems of the rest are listed in words."""

    status: Literal["UP"]
    model_class: str
    degraded: list[str] = Field(description='Such as "worker: not seen for 40 s".')


class SetupAnswer(_Message):
    """Version of live answers."""

    model_version: str


class Prediction(_Message):
    """The answer for one task; `result` is empty where there is none."""

    result: list[dict[str, Any]]
    score: float
    model_version: str


class PredictAnswer(_Message):
    """One answer a task, in order."""

    results: list[Prediction]
    model_version: str


class NotedAnswer(_Message):
    """It was noted for the worker."""

    status: Literal["noted"]


class VersionsAnswer(_Message):
    """Saved heads, newest first."""

    versions: list[str]


class Refusal(_Message):
    """Why a request was refused, in one line."""

    error: str


Body = TypeVar("Body", bound=BaseModel)
View = TypeVar("View", bound=Callable[..., Response])


@dataclass(frozen=True)
class Exchange:
    """Models of a view's request and response; None: no body, or no JSON."""

    request_model: type[BaseModel] | None
    response_model: type[BaseModel] | None


def exchanges(
    response_model: type[BaseModel] | None, *, request_model: type[BaseModel] | None = None
) -> Callable[[View], View]:
    """Declare the models of a view, which is called with the parsed request where it has one."""

    def mark(view: View) -> View:
        @wraps(view)
        def answer(**arguments: Any) -> Response:
            if request_model is None:
                return view(**arguments)
            return view(read_body(request_model), **arguments)

        answer.exchange = Exchange(request_model, response_model)  # type: ignore[attr-defined]
        return answer  # type: ignore[return-value]

    return mark


def exchange_of(view: Callable[..., Any]) -> Exchange:
    """Return the models of a view."""
    exchange: Exchange = view.exchange  # type: ignore[attr-defined]
    return exchange


def read_body(kind: type[Body]) -> Body:
    """Read the request's JSON body.

    Raises
    ------
    BadRequestError
        In one line, naming the first field that does not fit.
    """
    try:
        if (request.content_length or 0) > largest_body(request.path):
            raise RequestEntityTooLarge
        raw = request.get_data()
        check_values(raw)
        body = _parse(raw)
        _check_depth(body)
        return kind.model_validate(body)
    except ValidationError as error:
        raise BadRequestError(first_fault(error, f"the body of {request.path}")) from None
    except (ValueError, RecursionError):
        raise BadRequestError(
            f"the body of {request.path} is no JSON; expected an object"
        ) from None


def _parse(raw: bytes) -> Any:
    """Read JSON in UTF-8; NaN and infinities are none."""
    return json.loads(raw.decode("utf-8"), parse_constant=_finite, parse_float=_finite)


def _check_depth(body: Any) -> None:
    """Refuse a body that is nested too deeply for the code that walks through it later."""
    level = [body]
    for _ in range(MOST_LEVELS):
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return
    raise BadRequestError(
        f"the body of {request.path} is nested more than {MOST_LEVELS} levels deep; "
        "expected what Label Studio sends"
    )


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:20]} is no number of JSON")
    return number
