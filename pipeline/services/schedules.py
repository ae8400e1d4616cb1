"""Schedules as rows: naming one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean, listed
from pipeline.models import BadFile, Schedule, ScheduleRevision


def current(session: Session, key: str) -> tuple[Schedule, dict[str, Any]]:
    """The schedule named `key` and its current definition. Raises NotFound with what exists."""
    of = and_(ScheduleRevision.schedule_key == Schedule.key, ScheduleRevision.revision == Schedule.revision)
    joined = select(Schedule, ScheduleRevision.definition).join(ScheduleRevision, of).where(Schedule.key == key)
    row, definition = session.execute(joined).one_or_none() or (None, {})
    if row is None or row.retired_at is not None:
        raise unknown(session, key)
    return row, definition


def unknown(session: Session, key: str) -> NotFound:
    """What is said of a name that no schedule has: what is wrong with its file, or which there are."""
    wrong = session.scalar(select(BadFile.error).where(BadFile.schedule_key == key))
    known = sorted(session.scalars(select(Schedule.key).where(Schedule.retired_at.is_(None))))
    hint = did_you_mean(key, known, f"known schedules: {listed(known) or 'none, see `pipeline check`'}")
    return NotFound(f'there is no schedule "{key}": {f"its file is wrong: {wrong}" if wrong else hint}')
