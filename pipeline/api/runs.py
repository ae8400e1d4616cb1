"""Runs over HTTP: opened with one call, followed with another."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline import tasks
from pipeline.api.identity import Operator, Reader
from pipeline.api.problems import RESPONSES
from pipeline.db import reading, transaction
from pipeline.models import Run, Trigger
from pipeline.report import Scalar
from pipeline.services import answers, approvals, cancelling, rerunning
from pipeline.services import runs as rows

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=RESPONSES)
KeyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", max_length=200, description="The same key opens no second run."),
]


class Wish(BaseModel):
    """A run that is wanted now."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"schedule": "carrier_review", "period": "last_week", "keys": ["UA"]}]},
    )

    schedule: str = Field(description="The schedule's name.", min_length=1)
    params: dict[str, Scalar] = Field({}, description="Values for the report's or workflow's parameters.")
    period: str | None = Field(None, description="last_week, 2026-Q3, 2026-07-01..2026-10-01. Default: as of now.")
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
    later: BackgroundTasks,
    key: KeyHeader = None,
) -> Opened:
    """The run is kept in the database before this answers; a broker that is away only delays it."""
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
        idempotency_key=f"{caller.actor}/{key}" if key else None,
    )
    run, new = tasks.open_run(wanted)
    if new:
        later.add_task(tasks.publish, run.id)
    url = str(request.url_for("one_run", run_id=run.id))
    response.headers["Location"] = url
    return Opened(id=run.id, status=run.status, status_url=url, new=new)


class Ending(BaseModel):
    """Why a run is to end."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = Field(None, max_length=1000)


@router.post("/{run_id}/cancel", summary="End a run")
def cancel_run(run_id: str, caller: Operator, ending: Ending | None = None) -> dict[str, Any]:
    """At once, or within seconds where steps are at work (`cancelling` until then); what was sent stays sent."""
    with transaction() as session:
        run = rows.find(session, run_id)
        cancelling.cancel(session, run.id, caller.actor, ending.reason if ending else None)
        session.flush()
        return answers.progress(session, run)


class Again(BaseModel):
    """What of a run that has ended is to be done again; by default what failed. Only one of the first three."""

    model_config = ConfigDict(
        extra="forbid", populate_by_name=True, json_schema_extra={"examples": [{"from": "render", "generation": 1}]}
    )

    begin: str | None = Field(None, alias="from", max_length=500, description="From this step, or kind of step, on.")
    everything: bool = Field(default=False, alias="all", description="From its first step on, with fresh data.")
    failed_deliveries: bool = Field(default=False, description="Only what could not be delivered.")
    newest: bool = Field(default=False, alias="newest_definition", description="As the schedule says today.")
    force: list[str] = Field([], max_length=1000, description="Addresses that get once more what they had.")
    reason: str | None = Field(None, max_length=1000)
    generation: int | None = Field(None, ge=1, description="The one you have seen: the same rerun twice is one.")


@router.post("/{run_id}/rerun", status_code=202, summary="Do a run again")
def rerun(run_id: str, caller: Operator, later: BackgroundTasks, again: Again | None = None) -> dict[str, Any]:
    """It is reopened as its next generation; nobody who had theirs gets it twice, unless `force` says so."""
    with transaction() as session:
        wish = rerunning.Wish(**again.model_dump()) if again else rerunning.Wish()
        run, new = rerunning.rerun(session, rows.find(session, run_id).id, caller.actor, wish)
        session.flush()
        answer = {**answers.progress(session, run), "generation": run.generation, "new": new}
    later.add_task(tasks.publish, run.id)
    return answer


class Answered(BaseModel):
    """What somebody says to a run that waits for an approval."""

    model_config = ConfigDict(extra="forbid")

    note: str | None = Field(None, max_length=1000)


@router.post("/{run_id}/approve", summary="Let a run send what it has made")
def approve_run(
    run_id: str, caller: Operator, later: BackgroundTasks, answered: Answered | None = None
) -> dict[str, Any]:
    """Where it waits for an approval; a second answer is refused, and told the first."""
    with transaction() as session:
        found = rows.find(session, run_id)
        run, called = approvals.approve(session, caller.actor, found.id, answered.note if answered else None)
        session.flush()
        if called:
            later.add_task(tasks.publish, called)
        return answers.progress(session, run)


@router.post("/{run_id}/reject", summary="End a run without sending anything of it")
def reject_run(run_id: str, caller: Operator, answered: Answered | None = None) -> dict[str, Any]:
    """Where it waits for an approval; a second answer is refused, and told the first."""
    with transaction() as session:
        found = rows.find(session, run_id)
        run = approvals.reject(session, caller.actor, found.id, answered.note if answered else None)
        session.flush()
        return answers.progress(session, run)


@router.get("/{run_id}", summary="One run, with its progress in numbers", name="one_run")
def one_run(run_id: str, caller: Reader) -> dict[str, Any]:
    """`run_id` is an id or its beginning, a task id, NAME (its latest run) or NAME@DAY."""
    with reading() as session:
        run: Run = rows.find(session, run_id)
        return answers.progress(session, run)
