"""Errors as RFC 9457 problem details: a sentence, the field where there is one, and never a traceback."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException

from pipeline import log
from pipeline.db import is_away
from pipeline.errors import NotFound, PipelineError, Refused, TransientError

logger = log.get(__name__)
MEDIA_TYPE = "application/problem+json"


class Problem(BaseModel):
    """RFC 9457: what is wrong, as a title by its status and a sentence about this one case."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    # Where in the request it is, such as `params.region`; None when it is no single field.
    field: str | None = None


# For every endpoint's documentation: what else it may answer.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {MEDIA_TYPE: {}}, "description": HTTPStatus(status).phrase}
    for status in (400, 401, 403, 404, 409, 422, 503)
}


def problem(
    status: int, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None, **more: Any
) -> JSONResponse:
    """The answer; `more` are members of its own, such as the id of the run that is in the way."""
    said = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, field=field)
    return _Answer(
        {**said.model_dump(exclude_none=True), **more}, status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


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


def _of_ours(_: Request, error: Exception) -> JSONResponse:
    match error:
        case NotFound():
            return problem(404, str(error))
        case Refused():
            return problem(409, str(error))
        case TransientError():
            return problem(503, str(error), headers={"Retry-After": "5"})
        case _:
            return problem(422, str(error))


def _of_the_request(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - the handler is installed for this class
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
    return problem(422, f"{field}: {first['msg']}", field=field)


def _of_http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - the handler is installed for this class
    return problem(error.status_code, str(error.detail), headers=error.headers)


def _of_the_database(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DBAPIError)  # noqa: S101 - the handler is installed for this class
    if not is_away(error):
        raise error
    logger.warning("the database is away", error=str(error.orig))
    return problem(503, "the pipeline's database does not answer", headers={"Retry-After": "5"})
