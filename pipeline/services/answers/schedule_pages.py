"""Schedules, page by page or one in full, as the database has them: whoever asks need not see the home's files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.adapters.home import Loaded
from pipeline.errors import DefinitionError, Refused
from pipeline.models import BadFile, Schedule, ScheduleRevision
from pipeline.services import schedules
from pipeline.services.answers import lists, marks, slots, upcoming
from pipeline.services.answers.lists import ScheduleSummary
from pipeline.services.answers.summary import title
from pipeline.services.answers.upcoming import Upcoming
from pipeline.settings import settings


@dataclass(frozen=True)
class SchedulePage:
    """Some schedules, by their keys; `next` is the mark of the page behind them."""

    schedules: list[ScheduleSummary]
    next: str | None


@dataclass(frozen=True)
class ScheduleDetail:
    """One schedule; `definition` is what its file says, `revision` the hash of that."""

    summary: ScheduleSummary
    revision: str
    definition: dict[str, Any]


def schedule_page(
    session: Session, *, text: str | None = None, retired: bool = False, limit: int = 100, after: str | None = None
) -> SchedulePage:
    """The schedules whose key holds `text`, from the mark `after` on. Raises Refused for a mark that is none.

    A file that is bad and never was good has no row: it is among them, too.
    """
    wrong = _bad_files(session)
    keys = select(Schedule.key)
    if not retired:
        keys = keys.where(Schedule.retired_at.is_(None))
    named = {*session.scalars(keys), *wrong.errors_by_key}
    begin = marks.place(after, str)[0] if after is not None else ""
    found = sorted(key for key in named if key > begin and (text or "").lower() in key.lower())
    shown = lists.schedules(session, wrong, retired=retired, only=found[:limit])
    return SchedulePage(shown, marks.mark(found[limit - 1]) if len(found) > limit else None)


def schedule(session: Session, key: str) -> ScheduleDetail:
    """One schedule, also a retired one. Raises NotFound."""
    row = lists.known(session, key)
    stored = session.get_one(ScheduleRevision, (row.key, row.revision)).definition
    summary = lists.schedules(session, _bad_files(session), retired=True, only=[key])[0]
    return ScheduleDetail(summary, row.revision, stored)


def next_slots(session: Session, key: str, after: datetime, count: int) -> Upcoming:
    """The next fires of the schedule, later than `after` (aware). Raises NotFound, and Refused where it has none."""
    row, _ = schedules.current(session, key)
    definition = slots.definition(session, row)
    if definition is None:
        raise Refused(f"{key} is defined for another version, which this one cannot read")
    if definition.when is None:
        raise Refused(f"{key} has no `when`: it runs when somebody triggers it")
    return upcoming.upcoming(definition.when, settings().timezone, after, count)


@dataclass(frozen=True)
class DueNext:
    """A schedule and when it is due next (UTC); `zone` is its own."""

    schedule: str
    title: str
    zone: str
    at: datetime


def due_next(session: Session, limit: int) -> list[DueNext]:
    """The schedules whose turn comes first."""
    coming = (Schedule.next_due_at.is_not(None), Schedule.paused.is_(False), Schedule.retired_at.is_(None))
    same = (ScheduleRevision.schedule_key == Schedule.key) & (ScheduleRevision.revision == Schedule.revision)
    joined = select(Schedule, ScheduleRevision.definition).join(ScheduleRevision, same).where(*coming)
    rows = session.execute(joined.order_by(Schedule.next_due_at, Schedule.key).limit(limit))
    return [DueNext(row.key, title(stored, row.key), _zone(stored), row.next_due_at) for row, stored in rows]


def _zone(stored: dict[str, Any]) -> str:
    when = stored.get("when")
    named = when.get("timezone") if isinstance(when, dict) else None
    return str(named or settings().timezone)


def _bad_files(session: Session) -> Loaded:
    """The home, as far as the database knows it: which of its files cannot be used, and why."""
    return Loaded(errors={row.file: DefinitionError(row.error) for row in session.scalars(select(BadFile))})
