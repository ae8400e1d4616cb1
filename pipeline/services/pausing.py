"""Pausing a schedule and resuming it: meanwhile its slots are recorded, and none of them fires."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, and_, delete, func, select
from sqlalchemy.orm import Session

from pipeline import schedule as definitions
from pipeline.db import clock
from pipeline.errors import DefinitionError, Refused
from pipeline.models import Audit, Decision, Door, Schedule, ScheduleRevision, Slot
from pipeline.services import audit, firing, schedules
from pipeline.services.answers import lists, wording
from pipeline.services.audit import BEAT, Actor
from pipeline.services.due import INSTANT, next_due, zone_of
from pipeline.settings import settings

# Pauses that one look of a beat ends at most.
LIMIT = 100


@dataclass(frozen=True)
class Paused:
    """A schedule that fires nothing from `paused_at` on, up to `paused_until` if that is known (UTC).

    `before`: that it was paused already, since when and by whom; not `new` where that was as good.
    """

    schedule: str
    zone: str
    paused_at: datetime | None
    paused_by: str | None
    paused_until: datetime | None
    note: str | None
    new: bool = True
    before: str | None = None


@dataclass(frozen=True)
class Resumed:
    """A schedule that fires again, from `next_due_at` (UTC) on.

    `missed` slots were due during the pause, since `paused_at`; `made_up` says what was decided about them after all.
    """

    schedule: str
    zone: str
    paused_at: datetime
    next_due_at: datetime | None
    missed: int
    made_up: dict[str, int]


def pause(
    session: Session, key: str, actor: Actor, *, note: str | None = None, until: datetime | None = None
) -> Paused:
    """Fire no slot of the schedule from now on, up to `until` (UTC) if given; what is due already fires.

    A schedule that is paused already is so with this note and until this instant. Raises NotFound, and Refused for a
    schedule that fires nothing anyway or an instant that is past.
    """
    row, definition = _locked(session, key)
    now = clock(session)
    if definition is not None and definition.when is None:
        raise Refused(f"{key} has no `when`: it never fires by itself, and there is nothing to pause")
    if until is not None and until <= now:
        raise Refused(f"{until:%F %T} UTC is past already: nothing was paused", field="until")
    zone = _zone(definition)
    before = lists.pause(row, zone) if row.paused else None
    new = before is None or (row.note, row.paused_until) != (note, until)
    if before is None:
        firing.settle(session, row, now)
        row.paused, row.paused_at = True, now
    if new:
        row.note, row.paused_by, row.paused_until = note, str(actor), until
        said = until.isoformat() if until else None
        audit.record(session, actor, "pause", "schedule", key, schedule=key, at=now, note=note, until=said)
    return Paused(key, zone, row.paused_at, row.paused_by, row.paused_until, row.note, new, before)


def resume(session: Session, key: str, actor: Actor, *, catch_up: bool = False) -> Resumed:
    """Let the schedule fire again, from now on.

    `catch_up`: what was due during the pause is made up for as after a downtime, by the schedule's own `catch_up`; but
    nothing from before its last edit. Raises NotFound, and Refused for a schedule that is not paused.
    """
    row, definition = _locked(session, key)
    if not row.paused:
        raise Refused(f"{key} is not paused{_resumed(session, key, _zone(definition))}")
    now = clock(session)
    paused_at = row.paused_at or now
    missed = _end(session, row, definition, now)
    since = max(paused_at, row.changed_at)
    made_up: dict[str, int] = {}
    if catch_up and definition is not None:
        session.execute(delete(Slot).where(_decided_since(key, since), Slot.decision == Decision.PAUSED))
        row.high_water_mark, row.next_due_at = since, next_due(definition, since)
        firing.settle(session, row, now)
        made_up = _counted(session, key, since)
    audit.record(session, actor, "resume", "schedule", key, schedule=key, at=now, missed=missed, made_up=made_up)
    return Resumed(key, _zone(definition), paused_at, row.next_due_at, missed, made_up)


def end_those_over(session: Session) -> None:
    """Resume the schedules whose pause ends by itself: their first slot at or after that instant fires."""
    now = clock(session)
    over = select(Schedule).where(Schedule.paused_until <= now, Schedule.paused, Schedule.retired_at.is_(None))
    rows = over.order_by(Schedule.paused_until).limit(LIMIT).with_for_update(skip_locked=True, key_share=True)
    for row in session.scalars(rows).all():
        missed = _end(session, row, _definition(session, row), (row.paused_until or now) - INSTANT)
        audit.record(session, BEAT, "resume", "schedule", row.key, schedule=row.key, at=now, missed=missed)


def _locked(session: Session, key: str) -> tuple[Schedule, definitions.Schedule | None]:
    row, _ = schedules.current(session, key)
    session.refresh(row, with_for_update={"key_share": True})
    return row, _definition(session, row)


def _definition(session: Session, row: Schedule) -> definitions.Schedule | None:
    """None for one that cannot be read: it can be paused and resumed all the same."""
    stored = session.get_one(ScheduleRevision, (row.key, row.revision)).definition
    try:
        return definitions.parse(stored, f"schedule {row.key}")
    except DefinitionError:
        return None


def _zone(definition: definitions.Schedule | None) -> str:
    return zone_of(definition) if definition else settings().timezone


def _resumed(session: Session, key: str, zone: str) -> str:
    """Who has ended its last pause, and when."""
    mine = select(Audit).where(Audit.subject == key, Audit.kind == "schedule", Audit.action == "resume")
    last = session.scalar(mine.order_by(Audit.id.desc()).limit(1))
    if last is None:
        return ""
    return f": {Actor(last.by, Door(last.source))} resumed it on {wording.moment(last.at, zone)}"


def _end(session: Session, row: Schedule, definition: definitions.Schedule | None, at: datetime) -> int:
    """Record every slot up to `at` as paused, and let the schedule fire from there on; how many slots it missed."""
    firing.settle(session, row, at)
    missed = _counted(session, row.key, row.paused_at or at).get(Decision.PAUSED, 0)
    row.paused, row.note, row.paused_at, row.paused_by, row.paused_until = False, None, None, None, None
    row.high_water_mark = max(at, row.high_water_mark)
    row.next_due_at = next_due(definition, row.high_water_mark) if definition else None
    return missed


def _decided_since(key: str, since: datetime) -> ColumnElement[bool]:
    return and_(Slot.schedule_key == key, Slot.origin == "schedule", Slot.due_at > since)


def _counted(session: Session, key: str, since: datetime) -> dict[str, int]:
    """How many slots after `since` were decided which way."""
    statement = (
        select(Slot.decision, func.count().label("times")).where(_decided_since(key, since)).group_by(Slot.decision)
    )
    return {row.decision: row.times for row in session.execute(statement)}
