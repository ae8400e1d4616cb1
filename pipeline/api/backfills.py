"""Backfills over HTTP: what would be run, running it, how far it is, and ending it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.api.acts import Ending
from pipeline.api.handing import hand_over
from pipeline.api.identity import Operator, Reader
from pipeline.api.parameters import After, Day, Limit
from pipeline.api.problems import RESPONSES
from pipeline.db import clock, reading, transaction
from pipeline.models import Order
from pipeline.services import answers, backfills, ranges
from pipeline.services.answers import BackfillPage, BackfillSummary
from pipeline.services.backfills import Cancelled
from pipeline.services.ranges import Preview, Wish

router = APIRouter(prefix="/api", tags=["backfills"], responses=RESPONSES)


class Range(BaseModel):
    """The slots of a schedule that are to be run after the fact."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={"examples": [{"from": "2026-11-01", "to": "2026-11-15"}]},
    )

    since: Day = Field(alias="from", description="Slots from this instant on, or from this day of the schedule's zone.")
    until: Day | None = Field(None, alias="to", description="Up to this instant, or with this day; default: up to now.")
    order: Order = Field(Order.OLDEST, description="Which slots come first.")
    concurrency: int = Field(1, ge=1, le=backfills.CONCURRENCY, description="How many runs at a time.")
    again: bool = Field(default=False, description="Also slots that have a successful run.")


@router.post("/schedules/{schedule}/backfills/preview", summary="What a backfill would run")
def preview(schedule: str, caller: Reader, asked: Range) -> Preview:
    """Its slots, in their order, and what is known of each; nothing is opened."""
    with reading() as session:
        return ranges.preview(session, _wish(session, schedule, asked))


@router.post("/schedules/{schedule}/backfills", status_code=202, summary="Run slots after the fact")
def open_backfill(
    schedule: str, caller: Operator, asked: Range, request: Request, later: BackgroundTasks
) -> BackfillSummary:
    """Those of the range that have no successful run, each about its own period; some at a time."""
    with transaction() as session:
        backfill = backfills.open_backfill(session, _wish(session, schedule, asked), caller.actor)
        session.flush()
        found = answers.summarise_backfills(session, [backfill])[0]
    later.add_task(fill, request, backfill.id)
    return found


def _wish(session: Session, schedule: str, asked: Range) -> Wish:
    zone = answers.zone(session, schedule)
    until = clock(session) if asked.until is None else _instant(asked.until, zone, end=True)
    return Wish(schedule, _instant(asked.since, zone), until, asked.order, asked.concurrency, asked.again)


def _instant(said: datetime | date, zone: str, *, end: bool = False) -> datetime:
    return said if isinstance(said, datetime) else timing.day_instant(said, zone, end=end)


def fill(request: Request, backfill_id: UUID) -> None:
    """Behind the answer: should this process be killed meanwhile, reconcile goes on."""
    more = True
    while more:
        with transaction() as session:
            filled = backfills.fill(session, backfill_id)
        more = filled.more
        hand_over(request, *filled.begun)


@router.get("/backfills", summary="List the backfills")
def list_backfills(
    caller: Reader,
    schedule: Annotated[str | None, Query(max_length=200)] = None,
    limit: Limit = 50,
    after: After = None,
) -> BackfillPage:
    """The newest first, with how far each is."""
    with reading() as session:
        return answers.backfills(session, schedule, limit=limit, after=after)


@router.get("/backfills/{backfill_id}", summary="One backfill")
def one_backfill(backfill_id: str, caller: Reader) -> BackfillSummary:
    """`backfill_id` is an id or its beginning; its runs are those of `GET /api/runs?backfill=ID`."""
    with reading() as session:
        return answers.summarise_backfills(session, [backfills.find(session, backfill_id)])[0]


@router.post("/backfills/{backfill_id}/cancel", summary="End a backfill")
def cancel_backfill(backfill_id: str, caller: Operator, ending: Ending | None = None) -> Cancelled:
    """What has not begun never will; what is at work is cancelled; what was sent stays sent."""
    with transaction() as session:
        found = backfills.find(session, backfill_id)
        return backfills.cancel(session, found.id, caller.actor, ending.reason if ending else None)
