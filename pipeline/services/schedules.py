"""Schedules as rows: naming one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import and_, select
from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Schedule, ScheduleRevision


def current(session: Session, key: str) -> tuple[Schedule, dict[str, Any]]:
    """The schedule named `key` and its current definition. Raises NotFound with what exists."""
    of = and_(ScheduleRevision.schedule_key == Schedule.key, ScheduleRevision.revision == Schedule.revision)
    joined = select(Schedule, ScheduleRevision.definition).join(ScheduleRevision, of).where(Schedule.key == key)
    row, definition = session.execute(joined).one_or_none() or (None, {})
    if row is None or row.retired_at is not None:
        known = sorted(session.scalars(select(Schedule.key).where(Schedule.retired_at.is_(None))))
        hint = did_you_mean(key, known, f"known schedules: {', '.join(known) or 'none, see `pipeline check`'}")
        raise NotFound(f'there is no schedule "{key}": {hint}')
    return row, definition
