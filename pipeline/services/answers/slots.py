"""Why did it (not) run on Sunday? What was decided about each slot of a schedule, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline import schedule as definitions
from pipeline import timing
from pipeline.db import clock
from pipeline.errors import DefinitionError, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import Decision, Run, Schedule, ScheduleRevision, Slot
from pipeline.services.answers.lists import known, pause
from pipeline.services.answers.summary import RunSummary, summarise
from pipeline.services.due import INSTANT, slots_between, zone_of
from pipeline.settings import settings

# Beat decides within a second; a slot that waits longer than this waits for a beat.
OVERDUE = timedelta(seconds=10)
# How many of the slots that come next are named.
UPCOMING = 3


@dataclass(frozen=True)
class SlotAnswer:
    """One slot: `due_at` is UTC, `local` the same instant in the schedule's zone; `run` is what it opened, if kept.

    `origin` is `schedule`, or the id of the backfill that it belongs to.
    """

    schedule: str
    due_at: datetime
    local: str
    zone: str
    origin: str
    decision: str
    reason: str | None
    decided_at: datetime
    run_id: UUID | None
    run: RunSummary | None


@dataclass(frozen=True)
class Slots:
    """A schedule's decided slots, the newest first; those to come; and a sentence where there is something to explain.

    `when` is English; None for a schedule that is triggered by hand only, or whose definition cannot be read.
    """

    schedule: str
    zone: str
    when: str | None
    slots: list[SlotAnswer]
    upcoming: list[timing.Slot]
    explanation: str | None


@dataclass(frozen=True)
class Span:
    """From `since` up to `until` (UTC, half-open); None is open."""

    since: datetime | None = None
    until: datetime | None = None


EVER = Span()


def zone(session: Session, key: str) -> str:
    """The zone that the schedule's times are local to. Raises NotFound."""
    return _zone(definition(session, known(session, key)))


def slots(
    session: Session, key: str, span: Span = EVER, decision: str | None = None, limit: int | None = None
) -> Slots:
    """What was decided about the schedule's slots in `span`, backfilled ones included.

    Raises NotFound for a schedule that there is none of, Refused for a decision that there is none of.
    """
    row = known(session, key)
    defined, now = definition(session, row), clock(session)
    statement = select(Slot).where(Slot.schedule_key == key).order_by(Slot.due_at.desc(), Slot.id.desc()).limit(limit)
    if span.since is not None:
        statement = statement.where(Slot.due_at >= span.since)
    if span.until is not None:
        statement = statement.where(Slot.due_at < span.until)
    if decision is not None:
        statement = statement.where(Slot.decision == _decision(decision))
    zone = _zone(defined)
    found = _answers(session, session.scalars(statement).all(), zone)
    when = defined.when if defined else None
    gap = None if found or decision else _nothing(session, row, defined, span, now)
    return Slots(
        schedule=key,
        zone=zone,
        when=timing.describe(when.spec(zone), zone) if when else None,
        slots=found,
        upcoming=[] if row.retired_at else _upcoming(defined, span, now),
        explanation=_paused(row, zone) or _overdue(row, now) or gap,
    )


def _zone(definition: definitions.Schedule | None) -> str:
    return settings().timezone if definition is None else zone_of(definition)


def definition(session: Session, row: Schedule) -> definitions.Schedule | None:
    """What the schedule says now; None for one of another version that this one cannot read."""
    stored = session.get_one(ScheduleRevision, (row.key, row.revision)).definition
    try:
        return definitions.parse(stored, f"schedule {row.key}")
    except DefinitionError:
        return None


def _decision(text: str) -> str:
    if text not in set(Decision):
        hint = did_you_mean(text, list(Decision), f"it is one of {', '.join(Decision)}")
        raise Refused(f'no slot is decided "{text}": {hint}', field="decision")
    return text


def _answers(session: Session, found: Sequence[Slot], zone: str) -> list[SlotAnswer]:
    ids = [slot.run_id for slot in found if slot.run_id is not None]
    runs = {run.id: run for run in summarise(session, session.scalars(select(Run).where(Run.id.in_(ids))).all())}
    local = timing.find_zone(zone)
    return [
        SlotAnswer(
            schedule=slot.schedule_key,
            due_at=slot.due_at,
            local=slot.due_at.astimezone(local).isoformat(),
            zone=zone,
            origin=slot.origin,
            decision=slot.decision,
            reason=slot.reason,
            decided_at=slot.decided_at,
            run_id=slot.run_id,
            run=runs.get(slot.run_id) if slot.run_id else None,
        )
        for slot in found
    ]


def _upcoming(definition: definitions.Schedule | None, span: Span, now: datetime) -> list[timing.Slot]:
    if definition is None:
        return []
    since = max(now, span.since or now) + INSTANT
    return list(islice(slots_between(definition, since, span.until or datetime.max.replace(tzinfo=UTC)), UPCOMING))


def _paused(row: Schedule, zone: str) -> str | None:
    if not row.paused:
        return None
    return f"It is {pause(row, zone)}. What is due meanwhile does not fire: `pipeline resume {row.key}`"


def _overdue(row: Schedule, now: datetime) -> str | None:
    if row.next_due_at is None or row.next_due_at > now - OVERDUE:
        return None
    return f"It is due since {row.next_due_at:%F %T} UTC, and no beat has looked: does one run? `pipeline doctor`"


def _nothing(
    session: Session, row: Schedule, definition: definitions.Schedule | None, span: Span, now: datetime
) -> str:
    """Why there is no row in the span, as far as it can be known."""
    if definition is None:
        return "Its definition is of another version, which this one cannot read."
    if definition.when is None:
        return f"It has no `when`: it runs when somebody triggers it; `pipeline runs {row.key}` lists what was run."
    first = session.scalar(
        select(func.min(ScheduleRevision.created_at)).where(ScheduleRevision.schedule_key == row.key)
    )
    if first is not None and span.until is not None and span.until <= first:
        return f"It was loaded first at {first:%F %T} UTC: there was no such schedule before."
    since = max(filter(None, (first, span.since)), default=now)
    why = "It was not due then." if span != EVER else "No slot has been due yet."
    for slot in slots_between(definition, since, min(span.until or now, now)):
        if slot.fires:
            return (
                f"As its file says now it would have been due at {slot.due_at:%F %T} UTC: it said otherwise then, "
                f"or was gone; `pipeline audit {row.key}` says when it was loaded"
            )
        why = f"{slot.note}. (Its row is written when the next slot fires.)"
    return why
