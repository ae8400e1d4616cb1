"""Runs over HTTP: opened with one call, followed with another, listed, and watched as they go on."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline import tasks
from pipeline.api import watching
from pipeline.api.handing import hand_over
from pipeline.api.identity import Operator, Reader
from pipeline.api.parameters import After, Instant, Limit
from pipeline.api.problems import RESPONSES
from pipeline.api.standing import Standing, standing
from pipeline.api.urls import status_url
from pipeline.db import reading
from pipeline.models import Scope, Trigger
from pipeline.report import Scalar
from pipeline.services import answers, backfills
from pipeline.services import runs as rows
from pipeline.services.answers import RunDetail, RunFilter, RunPage

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=RESPONSES)
KeyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=200, description="The same key opens no second run."),
]
# Documents and deliveries that went wrong in as many ways are told one by one.
STORIES = 50
EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {"event": {"enum": ["progress", "end"]}, "id": {"type": "string"}, "data": {"type": "string"}},
}


class Wish(BaseModel):
    """A run that is wanted now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"schedule": "carrier_review", "period": "last_week", "keys": ["UA"]}]},
    )

    schedule: str = Field(description="The schedule's name.", min_length=1, max_length=200)
    params: dict[str, Scalar] = Field({}, description="Values for the report's or workflow's parameters.")
    period: str | None = Field(
        None, max_length=200, description="last_week, 2026-Q3, 2026-07-01..2026-10-01. Default: as of now."
    )
    keys: list[str] = Field([], description="Only the documents of these keys.")
    to: list[str] = Field([], description="To these addresses instead of the schedule's recipients.")
    send: bool = Field(default=True, description="false makes the documents and sends nothing.")
    now: bool = Field(default=False, description="true does not wait for its data (ready_when, after).")


class Opened(BaseModel):
    """Where the run that was opened can be followed."""

    id: UUID
    status: str
    status_url: str
    new: bool = Field(description="false: the same Idempotency-Key had opened it before.")


@router.post("", status_code=202, summary="Open a run")
def open_run(
    wish: Wish,
    caller: Operator,
    request: Request,
    response: Response,
    key: KeyHeader = None,
) -> Opened:
    """The run is kept in the database before this answers; a broker that is away only delays it.

    409 where the schedule lets one run at a time: `run` is the one that is at work.
    """
    wanted = rows.Request(
        wish.schedule,
        wish.params,
        wish.period,
        wish.keys,
        wish.to,
        wish.send,
        wish.now,
        trigger=Trigger.API,
        actor=caller.actor,
        idempotency_key=f"http:{caller.token_id}/{key}" if key else None,
    )
    run, new = tasks.open_run(wanted)
    if new:
        hand_over(request, run.id)
    url = status_url(request, run.id)
    response.headers["Location"] = url
    return Opened(id=run.id, status=run.status, status_url=url, new=new)


@router.get("", summary="List runs")
def list_runs(
    caller: Reader,
    schedule: Annotated[str | None, Query(max_length=200)] = None,
    status: Annotated[list[str] | None, Query(description="`failed`, `running` …; several times for more.")] = None,
    trigger: Annotated[str | None, Query(description="schedule, manual, api or backfill.")] = None,
    recipient: Annotated[
        str | None, Query(max_length=320, description="An address, a domain (`@acme.example`), or a part of a name.")
    ] = None,
    backfill: Annotated[str | None, Query(max_length=40, description="Only those of this backfill.")] = None,
    since: Annotated[Instant | None, Query(description="Opened at this instant or later.")] = None,
    until: Annotated[Instant | None, Query(description="Opened before this instant.")] = None,
    limit: Limit = 50,
    after: After = None,
) -> RunPage:
    """The newest first, with how much of each arrived; as quick on the last page as on the first."""
    with reading() as session:
        backfill_id = backfills.find(session, backfill).id if backfill else None
        wanted = RunFilter(schedule, status or [], trigger, recipient, backfill_id, since, until)
        return answers.run_page(session, wanted, limit=limit, after=after)


@router.get("/{run_id}", summary="One run, with its progress in numbers")
def one_run(run_id: str, caller: Reader) -> Standing:
    """`run_id` is an id or its beginning, a task id, NAME (its latest run) or NAME@DAY."""
    with reading() as session:
        return standing(session, rows.find(session, run_id), caller)


@router.get("/{run_id}/steps", summary="One run in full: steps, attempts, what went wrong, what to do next")
def whole_run(run_id: str, caller: Reader) -> RunDetail:
    """What went wrong in the same way is told once, with how many others. Tracebacks are for the scope operate."""
    with reading() as session:
        found = answers.show(session, rows.find(session, run_id), stories=STORIES)
    return found if caller.may(Scope.OPERATE) else found.without_traces()


@router.get(
    "/{run_id}/events",
    summary="A run's progress as it changes",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Server-sent events: `progress` whenever something has changed, `end` when it is over; "
            "the data of each is a run's status in numbers, as JSON.",
            "content": {"text/event-stream": {"schema": EVENT}},
        },
        204: {"description": "It was over when you were connected last"},
    },
)
async def watch_run(
    run_id: str,
    caller: Reader,
    request: Request,
    last: Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)] = None,
) -> Response:
    """Connected again by itself, as browsers do, it goes on with how the run stands then."""
    return watching.answer(request, await run_in_threadpool(_id, run_id), last)


def _id(run_id: str) -> UUID:
    with reading() as session:
        return rows.find(session, run_id).id
