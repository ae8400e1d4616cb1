"""Whether this process lives, whether a run that is opened now would be carried out, and what Prometheus is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import DBAPIError

from pipeline import log, migrating, vitals
from pipeline.adapters import broker
from pipeline.api.identity import Reader
from pipeline.api.problems import RESPONSES
from pipeline.celery import app as celery
from pipeline.db import reading
from pipeline.errors import TransientError
from pipeline.services import health
from pipeline.settings import settings

router = APIRouter(tags=["health"])
logger = log.get(__name__)
# Seconds for which an answer is taken for true: it needs no token, and whoever asks often costs nothing.
TRUE_FOR = 2.0
# Seconds that a worker has to answer, of which any one will do.
PATIENCE = 1.0


class Part(BaseModel):
    """One thing that is needed, and how it is."""

    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether all that is needed is there: `ready`, or `not ready` with 503."""

    status: str
    parts: dict[str, Part]


class Alive(BaseModel):
    """Always `ok`: whoever is not does not answer."""

    status: str = "ok"


@router.get("/healthz", summary="This process answers")
def live() -> Alive:
    """Answers as long as the process does, whatever else is away: for a supervisor that restarts it."""
    return Alive()


@router.get("/readyz", summary="Runs would be carried out", responses={503: {"model": Readiness}})
def ready() -> Response:
    """Database, broker, beat and workers, each with a word on how it is: for a balancer, or an application's start."""
    found = _kept()
    return JSONResponse(found.model_dump(), 200 if found.status == "ready" else 503)


@router.get(
    "/metrics",
    summary="What Prometheus reads",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **RESPONSES},
)
def metrics(caller: Reader) -> Response:
    """The same as beat tells on PIPELINE_METRICS_PORT; here it takes a token of scope read."""
    return Response(vitals.exposition(), media_type=vitals.TEXT)


_lock = threading.Lock()
_last: tuple[float, Readiness] | None = None


def _kept() -> Readiness:
    global _last  # noqa: PLW0603 - one answer a process is the point
    with _lock:  # who asks at the same time waits for the same answer
        if _last is None or time.monotonic() - _last[0] > TRUE_FOR:
            found = _look()
            _last = (time.monotonic(), found)
        return _last[1]


def _look() -> Readiness:
    parts = {name: _part(look) for name, look in (("database", _database), ("broker", _broker))}
    parts["beat"] = _part(_beat) if parts["database"].ok else Part(ok=False, detail="the database would know")
    parts["worker"] = _part(_worker) if parts["broker"].ok else Part(ok=False, detail="the broker would know")
    status = "ready" if all(part.ok for part in parts.values()) else "not ready"
    return Readiness(status=status, parts=parts)


def _part(look: Callable[[], str | None]) -> Part:
    try:
        trouble = look()
    except (DBAPIError, TransientError, OSError) as error:
        # Addresses and versions are for the log: whoever asks here shows no token.
        logger.warning("not ready", error=str(getattr(error, "orig", error)))
        return Part(ok=False, detail="does not answer")
    return Part(ok=trouble is None, detail=trouble or "answers")


def _database() -> str | None:
    return None if migrating.is_migrated() else "its tables are of another version: `pipeline migrate`"


def _broker() -> None:
    broker.ask(settings().broker_url)


def _beat() -> str | None:
    with reading() as session:
        return health.beats_trouble(session)


def _worker() -> str | None:
    """One that is at work shows itself in the database; one that is idle is asked."""
    with reading() as session:
        if health.somebody_works(session):
            return None
    try:
        answers: Any = celery.control.ping(timeout=PATIENCE, limit=1)
    except Exception as error:  # each transport raises errors of its own; all mean the same here
        raise TransientError(str(error)) from error
    return None if answers else "no worker answers"
