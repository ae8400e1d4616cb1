"""Schedules over HTTP: what there is, when it is due, what was decided, and pausing it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from pipeline.api.identity import Operator, Reader
from pipeline.api.parameters import After, Instant, Limit
from pipeline.api.problems import RESPONSES
from pipeline.db import clock, reading, transaction
from pipeline.services import answers, pausing
from pipeline.services.answers import ScheduleDetail, SchedulePage, SlotDay, Slots, Span, Upcoming
from pipeline.services.pausing import Paused, Resumed

router = APIRouter(prefix="/api/schedules", tags=["schedules"], responses=RESPONSES)
Since = Annotated[Instant | None, Query(description="From this instant on: `2026-11-01T00:00:00Z`.")]
Until = Annotated[Instant | None, Query(description="Up to this instant, which does not belong to it.")]


@router.get("", summary="List the schedules")
def list_schedules(
    caller: Reader,
    text: Annotated[str | None, Query(max_length=200, description="A part of the name.")] = None,
    retired: Annotated[bool, Query(description="Also those whose files are gone.")] = False,
    limit: Limit = 100,
    after: After = None,
) -> SchedulePage:
    """By name: what each is, when it is due next, how its last run went."""
    with reading() as session:
        return answers.schedule_page(session, text=text, retired=retired, limit=limit, after=after)


@router.get("/{schedule}", summary="One schedule")
def one_schedule(schedule: str, caller: Reader) -> ScheduleDetail:
    """With its parameters and their defaults, which a run may be opened with."""
    with reading() as session:
        return answers.schedule(session, schedule)


@router.get("/{schedule}/next", summary="When it is due next")
def next_slots(
    schedule: str,
    caller: Reader,
    count: Annotated[int, Query(ge=1, le=1000)] = 5,
    after: Annotated[Instant | None, Query(description="Later than this instant; default: now.")] = None,
) -> Upcoming:
    """In local time and UTC, with a note where a change of the clocks or a calendar moves or drops one."""
    with reading() as session:
        return answers.next_slots(session, schedule, after or clock(session), count)


@router.get("/{schedule}/slots", summary="What was decided about its slots")
def list_slots(
    schedule: str,
    caller: Reader,
    since: Since = None,
    until: Until = None,
    decision: Annotated[str | None, Query(description="fired, skipped, coalesced, late or paused")] = None,
    limit: Limit = 100,
) -> Slots:
    """Every due instant, the newest first: fired or why not, and what became of the run.

    Where there is none, `explanation` says why.
    """
    with reading() as session:
        return answers.slots(session, schedule, Span(since, until), decision, limit)


@router.get("/{schedule}/days", summary="Its slots, day by day")
def slots_by_day(schedule: str, caller: Reader, since: Since = None, until: Until = None) -> list[SlotDay]:
    """How many were decided which way, and how their runs stand: what a calendar is coloured by."""
    with reading() as session:
        return answers.slot_days(session, schedule, Span(since, until))


class Pause(BaseModel):
    """Why, and until when, nothing fires."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"note": "the warehouse moves", "until": "2027-01-01T06:00:00Z"}]},
    )

    note: str | None = Field(None, max_length=1000)
    until: Instant | None = Field(None, description="It resumes by itself then; default: when somebody says so.")


@router.post("/{schedule}/pause", summary="Let it fire nothing for a while")
def pause(schedule: str, caller: Operator, wish: Pause | None = None) -> Paused:
    """Its slots are recorded as paused; open runs go on, and it can be triggered all the same."""
    said = wish or Pause()
    with transaction() as session:
        return pausing.pause(session, schedule, caller.actor, note=said.note, until=said.until)


class Resume(BaseModel):
    """How a pause ends."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"catch_up": True}]})

    catch_up: bool = Field(default=False, description="Make up for what was due, as its file says for a downtime.")


@router.post("/{schedule}/resume", summary="Let it fire again")
def resume(schedule: str, caller: Operator, wish: Resume | None = None) -> Resumed:
    """From now on; what was missed, and what was made up for, is counted."""
    with transaction() as session:
        return pausing.resume(session, schedule, caller.actor, catch_up=(wish or Resume()).catch_up)
