"""Schedules as rows: loading their files, and opening a run for every slot that is due."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from pipeline import log, schedule, timing
from pipeline.adapters.home import ScheduleFile
from pipeline.db import clock, is_away, one_at_a_time
from pipeline.errors import NotFound, PipelineError, Refused
from pipeline.models import Decision, Run, Schedule, ScheduleRevision, Slot, Trigger
from pipeline.services import runs
from pipeline.settings import settings

logger = log.get(__name__)
# Slots missed for longer than this are not made up for (scheduling.md, catch-up: window).
WINDOW = timedelta(hours=24)
INSTANT = timedelta(microseconds=1)
# Due schedules that one transaction takes (scheduling.md, rule 2).
BATCH = 200


@dataclass
class Synced:
    """What loading changed, by schedule key."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)


def sync(
    session: Session, files: Mapping[str, ScheduleFile], kept: AbstractSet[str] = frozenset(), *, force: bool = False
) -> Synced:
    """Make the schedules' rows say what `files` say. A changed file never fires for instants already past.

    Slots that were due before the change are decided as the file said then; reconcile publishes their runs. `kept` are
    the keys of files that are there but wrong: their last good revision goes on. Raises Refused when more than half of
    the schedules would go, unless `force`.
    """
    one_at_a_time(session, "sync")
    now = clock(session)
    rows = {row.key: row for row in session.scalars(select(Schedule).order_by(Schedule.key).with_for_update())}
    living = {key for key, row in rows.items() if row.retired_at is None}
    gone = living - files.keys() - kept
    if len(gone) * 2 > len(living) and not force:
        raise Refused(
            f"{len(gone)} of {len(living)} schedules are gone from the folder: nothing was changed; "
            "`pipeline sync --force` retires them if that is what you mean"
        )
    synced = Synced(retired=sorted(gone))
    for key, file in sorted(files.items()):
        _sync_one(session, rows.get(key), file, now, synced)
    for key in gone:
        _fire_overdue(session, rows[key], now)
        rows[key].retired_at, rows[key].next_due_at = now, None
    return synced


def _sync_one(session: Session, row: Schedule | None, file: ScheduleFile, now: datetime, synced: Synced) -> None:
    if row is None:
        row = Schedule(key=file.key, revision=file.revision, high_water_mark=now, changed_at=now)
        session.add(row)
        synced.added.append(file.key)
    elif row.revision == file.revision and row.retired_at is None:
        if row.next_due_at is None:  # never due again, or a definition that could not be read when it was due
            row.next_due_at = next_due(file.schedule, max(now, row.high_water_mark))
        return
    else:
        _fire_overdue(session, row, now)
        synced.changed.append(file.key)
    session.flush()
    before = session.get(ScheduleRevision, (file.key, row.revision))
    if session.get(ScheduleRevision, (file.key, file.revision)) is None:
        session.add(
            ScheduleRevision(schedule_key=file.key, revision=file.revision, definition=file.definition, created_at=now)
        )
    same_when = before is not None and before.definition.get("when") == file.definition.get("when")
    if not same_when or row.retired_at is not None or before is None:
        row.high_water_mark = max(now, row.high_water_mark)
        row.next_due_at = next_due(file.schedule, row.high_water_mark)
    row.revision, row.retired_at, row.changed_at = file.revision, None, now


def _fire_overdue(session: Session, row: Schedule, now: datetime) -> None:
    if row.next_due_at is not None and row.next_due_at <= now and not row.paused:
        _decide(session, row, now)


def next_due(definition: schedule.Schedule, after: datetime) -> datetime | None:
    """The next slot (UTC) strictly after `after`, or None for a schedule that is triggered by hand only."""
    if definition.when is None:
        return None
    zone = zone_of(definition)
    return timing.next_after(definition.when.spec(settings().timezone), zone, after)


def zone_of(definition: schedule.Schedule) -> str:
    """The zone that the schedule's times are local to."""
    return (definition.when.timezone if definition.when else None) or settings().timezone


def current(session: Session, key: str) -> tuple[Schedule, dict[str, Any]]:
    """The schedule named `key` and its current definition. Raises NotFound with what exists."""
    row = session.get(Schedule, key)
    if row is None or row.retired_at is not None:
        known = sorted(session.scalars(select(Schedule.key).where(Schedule.retired_at.is_(None))))
        near = get_close_matches(key, known, n=1)
        hint = (
            f"did you mean {near[0]}?"
            if near
            else f"known schedules: {', '.join(known) or 'none, see `pipeline check`'}"
        )
        raise NotFound(f'there is no schedule "{key}": {hint}')
    revision = session.get_one(ScheduleRevision, (key, row.revision))
    return row, revision.definition


def fire_due(session: Session) -> list[Run]:
    """Decide every slot that is due, in this one transaction: slots, runs with their step `start`, next slots.

    Several beats may do this at once: PostgreSQL's rows are skipped while another beat holds them, SQLite has one
    writer. The caller publishes the returned runs after commit.
    """
    now = clock(session)
    due = select(Schedule).where(Schedule.next_due_at <= now, Schedule.paused.is_(False)).order_by(Schedule.next_due_at)
    # NO KEY UPDATE: a plain FOR UPDATE collides with the foreign-key checks of other transactions and skips due rows.
    rows = session.scalars(due.limit(BATCH).with_for_update(skip_locked=True, key_share=True)).all()
    return [run for row in rows if (run := _decide(session, row, now))]


def _decide(session: Session, row: Schedule, now: datetime) -> Run | None:
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
        request = runs.Request(schedule_key=row.key, trigger=Trigger.SCHEDULE, by="beat")
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
