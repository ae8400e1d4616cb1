"""Every due slot is decided once: a run is opened for it, or its row says why not."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline import log, schedule, timing
from pipeline.db import clock, is_away
from pipeline.errors import PipelineError
from pipeline.models import Decision, Run, Schedule, ScheduleRevision, Slot, Trigger
from pipeline.services import runs
from pipeline.services.due import next_due, zone_of
from pipeline.settings import settings

logger = log.get(__name__)
# Slots missed for longer than this are not made up for (scheduling.md, catch-up: window).
WINDOW = timedelta(hours=24)
INSTANT = timedelta(microseconds=1)
# Due schedules that one transaction takes (scheduling.md, rule 2).
BATCH = 200


def fire_due(session: Session) -> list[Run]:
    """Decide every slot that is due, in this one transaction: slots, runs with their step `start`, next slots.

    Several beats may do this at once: PostgreSQL's rows are skipped while another beat holds them, SQLite has one
    writer. The caller publishes the returned runs after commit.
    """
    now = clock(session)
    due = select(Schedule).where(Schedule.next_due_at <= now, Schedule.paused.is_(False)).order_by(Schedule.next_due_at)
    # NO KEY UPDATE: a plain FOR UPDATE collides with the foreign-key checks of other transactions and skips due rows.
    rows = session.scalars(due.limit(BATCH).with_for_update(skip_locked=True, key_share=True)).all()
    return [run for row in rows if (run := decide(session, row, now))]


def decide(session: Session, row: Schedule, now: datetime) -> Run | None:
    """Decide the slots that one schedule is due for; one that cannot be fired says why in a row, and harms no other."""
    try:
        with session.begin_nested():
            return _fire(session, row, now)
    except Exception as error:  # one bad schedule must not keep the others from firing, whatever is wrong with it
        if isinstance(error, DBAPIError) and is_away(error):
            raise
        bug = None if isinstance(error, PipelineError) else error
        logger.warning("schedule could not be fired", schedule=row.key, error=str(error), exc_info=bug)
        if row.next_due_at is not None:
            reason = f"could not be fired: {error}"
            session.add(_decided(row, row.next_due_at, now, Decision.SKIPPED, reason))
        row.high_water_mark = max(now, row.high_water_mark)
        row.next_due_at = _next_due_if_readable(session, row)
        return None


def _next_due_if_readable(session: Session, row: Schedule) -> datetime | None:
    """None for a definition that cannot be read any more: the next `sync` of a good one sets it."""
    stored = session.get_one(ScheduleRevision, (row.key, row.revision)).definition
    try:
        return next_due(schedule.parse(stored, row.key), row.high_water_mark)
    except PipelineError:
        return None


def _fire(session: Session, row: Schedule, now: datetime) -> Run | None:
    """Decide every slot since the mark; the run of the newest one, unless that is too late."""
    run = None
    stored = session.get_one(ScheduleRevision, (row.key, row.revision)).definition
    definition = schedule.parse(stored, row.key)
    slots = list(_missed(definition, row, now))
    session.add_all(_decided(row, slot.due_at, now, Decision.SKIPPED, slot.note) for slot in slots if not slot.fires)
    due = [slot for slot in slots if slot.fires]
    if due and now - due[-1].due_at > WINDOW:
        late = "more than 24 h late when beat came back"
        session.add_all(_decided(row, slot.due_at, now, Decision.SKIPPED, late) for slot in due)
    elif due:
        missed = f"missed; {due[-1].due_at:%F %T} UTC stands for it"
        session.add_all(_decided(row, slot.due_at, now, Decision.COALESCED, missed) for slot in due[:-1])
        request = runs.Request(schedule_key=row.key, trigger=Trigger.SCHEDULE)
        run = runs.add(session, request, row, stored, definition, due_at=due[-1].due_at, now=now)
        decided = _decided(row, due[-1].due_at, now, Decision.FIRED, due[-1].note or None)
        decided.run_id = run.id
        session.add(decided)
    row.high_water_mark = max(now, row.high_water_mark)
    row.next_due_at = next_due(definition, row.high_water_mark)
    return run


def _missed(definition: schedule.Schedule, row: Schedule, now: datetime) -> Iterator[timing.Slot]:
    if definition.when is None or row.next_due_at is None:
        return
    spec = definition.when.spec(settings().timezone)
    # From the mark on, so that what the clocks dropped since then leaves its row too.
    yield from timing.slots_between(spec, zone_of(definition), row.high_water_mark + INSTANT, now + INSTANT)


def _decided(row: Schedule, due_at: datetime, now: datetime, decision: Decision, reason: str | None) -> Slot:
    return Slot(schedule_key=row.key, due_at=due_at, decision=decision, reason=reason, decided_at=now)


def soonest(session: Session) -> datetime | None:
    """When the next slot of any schedule is due (UTC)."""
    statement = select(Schedule.next_due_at).where(Schedule.next_due_at.is_not(None), Schedule.paused.is_(False))
    return session.scalar(statement.order_by(Schedule.next_due_at).limit(1))
