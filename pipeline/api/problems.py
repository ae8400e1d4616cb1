"""Errors as RFC 9457 problem details: a sentence, the field where there is one, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from pipeline import log
from pipeline.api.phrases import in_http, mistake
from pipeline.api.urls import status_url
from pipeline.db import is_away
from pipeline.errors import NotFound, Occupied, PipelineError, Refused, TransientError

logger = log.get(__name__)
MEDIA_TYPE = "application/problem+json"
EXAMPLE: dict[str, Any] = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": 'parameter limit="many": must be a whole number, as its default 10 is',
    "field": "params.limit",
    "pointer": "#/params/limit",
}


class Problem(BaseModel):
    """RFC 9457: what is wrong, as a title by its status and a sentence about this one case."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    # Where in the request it is, such as `params.region`; None when it is no single field.
    field: str | None = None
    # The same as a JSON pointer into the body, where it is there.
    pointer: str | None = None
    # The run that is in the way, and where its status is.
    run: str | None = None
    status_url: str | None = None


# For every endpoint's documentation: what else it may answer.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {
        "description": HTTPStatus(status).phrase,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for status in (400, 401, 403, 404, 409, 413, 422, 500, 503)
}


def problem(
    status: int, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The answer; `more` are other members of a Problem."""
    said = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, field=field, **more)
    return _Answer(said.model_dump(exclude_none=True), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


class _Answer(JSONResponse):
    """A sentence may quote what was sent, half a character included."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def install(app: FastAPI) -> None:
    """Answer every error of ours, FastAPI's and the database's as a problem."""
    app.add_exception_handler(PipelineError, _of_ours)
    app.add_exception_handler(RequestValidationError, _of_the_request)
    app.add_exception_handler(HTTPException, _of_http)
    app.add_exception_handler(DBAPIError, _of_the_database)


def _of_ours(request: Request, error: Exception) -> JSONResponse:
    said = in_http(str(error))
    match error:
        case NotFound():
            return problem(404, said)
        case Occupied(run_id=UUID() as run_id):
            return problem(409, said, run=str(run_id), status_url=status_url(request, run_id))
        case Refused(field=str() as field):
            return problem(422, said, field=field, pointer=_pointer(request, field.split(".", 1)))
        case Refused():
            return problem(409, said)
        case TransientError():
            return problem(503, said, headers={"Retry-After": "5"})
        case _:
            return problem(422, said)


def _of_the_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is installed for this class
    first = error.errors()[0]
    place, *path = (str(part) for part in first["loc"])
    if first["type"] == "json_invalid":  # its place is a number of bytes
        path = []
    field = ".".join(path) or place
    pointer = _pointer(request, path) if place == "body" else None
    return problem(422, mistake(first, field, _fields(request)), field=field, pointer=pointer)


def _fields(request: Request) -> Sequence[str]:
    """What the body of such a request may hold."""
    body = getattr(request.scope.get("route"), "body_field", None)
    models = list(get_args(body.field_info.annotation) or [body.field_info.annotation]) if body else []
    return [
        field.alias or name
        for model in models
        if isinstance(model, type) and issubclass(model, BaseModel)
        for name, field in model.model_fields.items()
    ]


def _pointer(request: Request, path: Sequence[str]) -> str | None:
    """RFC 6901, as a fragment; only of what has a body."""
    if request.method not in {"POST", "PUT", "PATCH"} or not path:
        return None
    return "#/" + "/".join(part.replace("~", "~0").replace("/", "~1") for part in path)


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is installed for this class
    return problem(error.status_code, str(error.detail), headers=error.headers)


def _of_the_database(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)  # noqa: S101 - the handler is installed for this class
    if not is_away(error):
        raise error
    logger.warning("the database is away", error=str(error.orig))
    return problem(503, "the pipeline's database does not answer", headers={"Retry-After": "5"})
