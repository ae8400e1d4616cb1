"""Schedules as rows: loading their files, and naming one."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.adapters.home import ScheduleFile
from pipeline.db import clock, one_at_a_time
from pipeline.errors import NotFound, Refused
from pipeline.mistakes import did_you_mean
from pipeline.models import Schedule, ScheduleRevision
from pipeline.services import audit, firing
from pipeline.services.audit import BEAT, Actor
from pipeline.services.due import next_due


@dataclass
class Synced:
    """What loading changed, by schedule key."""

    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    retired: list[str] = field(default_factory=list)


def sync(
    session: Session,
    files: Mapping[str, ScheduleFile],
    kept: AbstractSet[str] = frozenset(),
    *,
    force: bool = False,
    actor: Actor = BEAT,
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
    for change, keys in vars(synced).items():
        for key in keys:
            audit.record(session, actor, "sync", "schedule", key, schedule=key, at=now, change=change)
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
        firing.decide(session, row, now)


def current(session: Session, key: str) -> tuple[Schedule, dict[str, Any]]:
    """The schedule named `key` and its current definition. Raises NotFound with what exists."""
    row = session.get(Schedule, key)
    if row is None or row.retired_at is not None:
        known = sorted(session.scalars(select(Schedule.key).where(Schedule.retired_at.is_(None))))
        hint = did_you_mean(key, known, f"known schedules: {', '.join(known) or 'none, see `pipeline check`'}")
        raise NotFound(f'there is no schedule "{key}": {hint}')
    revision = session.get_one(ScheduleRevision, (key, row.revision))
    return row, revision.definition
