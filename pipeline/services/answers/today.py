"""One day on one line: what ran, what runs, and what is due until it ends, over all schedules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import islice

from sqlalchemy import ColumnElement, Select, or_, select
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.db import clock
from pipeline.models import Run, Schedule
from pipeline.services import plans
from pipeline.services.answers.summary import RunSummary, summarise, title
from pipeline.services.due import slots_between, zone_of

# Runs and schedules that a day names at most, and slots of one schedule that are due.
RUNS, SCHEDULES, SLOTS = 500, 500, 100


@dataclass(frozen=True)
class DueToday:
    """A schedule that fires until the day ends: at the instants `due` (UTC), `more` of which were left out."""

    schedule: str
    title: str
    zone: str
    due: list[datetime]
    more: bool


@dataclass(frozen=True)
class Timeline:
    """A day of `zone`, from `since` up to `until` (UTC); runs by when they began, what is due by when.

    `more_runs` and `more_due` say whether there are more than are named.
    """

    day: date
    zone: str
    now: datetime
    since: datetime
    until: datetime
    runs: list[RunSummary]
    more_runs: bool
    due: list[DueToday]
    more_due: bool


def timeline(session: Session, zone: str, day: date | None = None) -> Timeline:
    """What was, is and will be on `day` by the calendar of `zone`; today without one."""
    now, local = clock(session), timing.find_zone(zone)
    day = day or now.astimezone(local).date()
    since, until = (datetime.combine(one, datetime.min.time(), local) for one in (day, day + timedelta(days=1)))
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    runs, due = _runs(session, since, until, now), _due(session, max(since, now), until)
    found = summarise(session, runs[:RUNS])
    found.sort(key=lambda run: (run.started_at or run.created_at, run.id))
    return Timeline(day, zone, now, since, until, found, len(runs) > RUNS, due[:SCHEDULES], len(due) > SCHEDULES)


def _runs(session: Session, since: datetime, until: datetime, now: datetime) -> Sequence[Run]:
    """Those that were opened, or ended, that day, and those that are open while it lasts; the newest, if too many."""
    within: list[ColumnElement[bool]] = [Run.created_at >= since, Run.created_at < until]
    ended = (Run.finished_at >= since, Run.finished_at < until, Run.created_at < since)
    found = {run.id: run for where in (within, ended) for run in session.scalars(_newest(*where))}
    if since <= now < until:
        still = (Run.finished_at.is_(None), Run.created_at < since)
        found |= {run.id: run for run in session.scalars(_newest(*still))}
    return sorted(found.values(), key=lambda run: run.created_at, reverse=True)


def _newest(*where: ColumnElement[bool]) -> Select[Run]:
    return select(Run).where(*where).order_by(Run.created_at.desc()).limit(RUNS + 1)


def _due(session: Session, since: datetime, until: datetime) -> list[DueToday]:
    if since >= until:
        return []
    fires = (Schedule.next_due_at < until, Schedule.retired_at.is_(None))
    awake = or_(Schedule.paused.is_(False), Schedule.paused_until < until)
    rows = session.scalars(select(Schedule).where(*fires, awake).order_by(Schedule.next_due_at).limit(SCHEDULES + 1))
    of = {row.key: row for row in rows}
    found = []
    for key, plan in plans.read(session, [(row.key, row.revision) for row in of.values()]).items():
        if isinstance(plan, Exception):
            continue  # of a version that cannot be read: the list of schedules says so
        begin = max(filter(None, (since, of[key].paused_until if of[key].paused else None)))
        slots = (slot.due_at for slot in slots_between(plan.definition, begin, until) if slot.fires)
        due = list(islice(slots, SLOTS + 1))
        if due:
            named = title(plan.stored, key)
            found.append(DueToday(key, named, zone_of(plan.definition), due[:SLOTS], len(due) > SLOTS))
    return sorted(found, key=lambda one: (one.due[0], one.schedule))
