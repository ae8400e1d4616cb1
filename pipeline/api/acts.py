"""What is done to runs over HTTP: ended, done again, approved, rejected, let go on."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline.api.handing import hand_over
from pipeline.api.identity import Operator
from pipeline.api.problems import RESPONSES
from pipeline.api.standing import Standing, standing
from pipeline.db import transaction
from pipeline.services import approvals, cancelling, rerunning, runs, waiting

router = APIRouter(prefix="/api/runs", tags=["runs"], responses=RESPONSES)


class Ending(BaseModel):
    """Why something is to end."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the data was wrong"}]})

    reason: str | None = Field(None, max_length=1000)


class Ended(Standing):
    """The run, cancelled."""

    new: bool = Field(description="false: it had been cancelled before, as `error` says, and nothing was changed.")


@router.post("/{run_id}/cancel", summary="End a run")
def cancel_run(run_id: str, caller: Operator, ending: Ending | None = None) -> Ended:
    """At once, or within seconds where steps are at work (`cancelling` until then); what was sent stays sent."""
    with transaction() as session:
        run = runs.find(session, run_id)
        run, before = cancelling.cancel(session, run.id, caller.actor, ending.reason if ending else None)
        session.flush()
        return Ended(**standing(session, run, caller).model_dump(), new=before is None)


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


class Reopened(Standing):
    """The run, reopened."""

    new: bool = Field(description="false: the same rerun had been asked for before.")


@router.post("/{run_id}/rerun", status_code=202, summary="Do a run again")
def rerun(run_id: str, caller: Operator, request: Request, again: Again | None = None) -> Reopened:
    """It is reopened as its next generation; nobody who had theirs gets it twice, unless `force` says so."""
    with transaction() as session:
        wish = rerunning.Wish(**again.model_dump()) if again else rerunning.Wish()
        run, new = rerunning.rerun(session, runs.find(session, run_id).id, caller.actor, wish)
        session.flush()
        answer = Reopened(**standing(session, run, caller).model_dump(), new=new)
    hand_over(request, run.id)
    return answer


class Answered(BaseModel):
    """What somebody says to a run that waits for an approval."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"note": "the new rows are right"}]})

    note: str | None = Field(None, max_length=1000)


@router.post("/{run_id}/approve", summary="Let a run send what it has made")
def approve_run(run_id: str, caller: Operator, request: Request, answered: Answered | None = None) -> Standing:
    """Where it waits for an approval; a second answer is refused, and told the first."""
    with transaction() as session:
        found = runs.find(session, run_id)
        run, called = approvals.approve(session, caller.actor, found.id, answered.note if answered else None)
        session.flush()
        answer = standing(session, run, caller)
    if called:
        hand_over(request, called)
    return answer


@router.post("/{run_id}/reject", summary="End a run without sending anything of it")
def reject_run(run_id: str, caller: Operator, answered: Answered | None = None) -> Standing:
    """Where it waits for an approval; a second answer is refused, and told the first."""
    with transaction() as session:
        found = runs.find(session, run_id)
        run = approvals.reject(session, caller.actor, found.id, answered.note if answered else None)
        session.flush()
        return standing(session, run, caller)


@router.post("/{run_id}/proceed", summary="Let a run go on without its data")
def proceed(run_id: str, caller: Operator, request: Request) -> Standing:
    """Where it waits for its data (`ready_when`, `after`): it goes on with what is there."""
    with transaction() as session:
        run = runs.find(session, run_id)
        called = waiting.release(session, run, caller.actor)
        session.flush()
        answer = standing(session, run, caller)
    if called:
        hand_over(request, called)
    return answer
