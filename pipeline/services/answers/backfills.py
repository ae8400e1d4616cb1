"""Every backfill, and how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.models import FINAL_RUN, Backfill, Decision, Run, Slot
from pipeline.services.answers import marks
from pipeline.services.answers.lists import known
from pipeline.services.answers.slots import zone


@dataclass(frozen=True)
class BackfillSummary:
    """A range of slots that was run after the fact; `since` up to `until` is UTC, half-open; `zone` the schedule's.

    `status` is running, cancelling, cancelled or finished. `runs` counts its runs by their status, `skipped` its slots
    that have none, since one before had succeeded or was at work.
    """

    id: UUID
    schedule: str
    zone: str
    since: datetime
    until: datetime
    first: str
    concurrency: int
    again: bool
    status: str
    triggered_by: str
    cancelled_by: str | None
    created_at: datetime
    finished_at: datetime | None
    slots: int
    skipped: int
    runs: dict[str, int]

    @property
    def over(self) -> int:
        """How many of its runs have ended."""
        return sum(count for status, count in self.runs.items() if status in FINAL_RUN)


@dataclass(frozen=True)
class BackfillPage:
    """Some backfills, the newest first; `next` is the mark of the page behind them, None for the last page."""

    backfills: list[BackfillSummary]
    next: str | None


def backfills(session: Session, schedule: str | None = None, *, limit: int, after: str | None = None) -> BackfillPage:
    """From the mark `after` on. Raises NotFound for an unknown schedule, Refused for a mark that is none."""
    statement = select(Backfill).order_by(Backfill.id.desc()).limit(limit + 1)
    if schedule is not None:
        statement = statement.where(Backfill.schedule_key == known(session, schedule).key)
    if after is not None:
        statement = statement.where(Backfill.id < marks.place(after, UUID)[0])
    found = session.scalars(statement).all()
    more = marks.mark(found[limit - 1].id) if len(found) > limit else None
    return BackfillPage(summarise_backfills(session, found[:limit]), more)


def summarise_backfills(session: Session, found: Sequence[Backfill]) -> list[BackfillSummary]:
    """The backfills, in the order given, with the counts of their slots and runs."""
    ids = [backfill.id for backfill in found]
    runs: dict[UUID | None, dict[str, int]] = {}
    counted = select(Run.backfill_id, Run.status, func.count()).where(Run.backfill_id.in_(ids))
    for backfill_id, status, count in session.execute(counted.group_by(Run.backfill_id, Run.status)):
        runs.setdefault(backfill_id, {})[status] = count
    slots: dict[str, dict[str, int]] = {}
    mine = select(Slot.origin, Slot.decision, func.count()).where(
        Slot.schedule_key.in_({backfill.schedule_key for backfill in found}), Slot.origin.in_([str(one) for one in ids])
    )
    for origin, decision, count in session.execute(mine.group_by(Slot.origin, Slot.decision)):
        slots.setdefault(origin, {})[decision] = count
    zones = {key: zone(session, key) for key in {backfill.schedule_key for backfill in found}}
    return [_summary(one, zones[one.schedule_key], slots.get(str(one.id), {}), runs.get(one.id, {})) for one in found]


def _summary(backfill: Backfill, zone: str, slots: dict[str, int], runs: dict[str, int]) -> BackfillSummary:
    return BackfillSummary(
        id=backfill.id,
        schedule=backfill.schedule_key,
        zone=zone,
        since=backfill.since,
        until=backfill.until,
        first=backfill.first,
        concurrency=backfill.concurrency,
        again=backfill.again,
        status=_status(backfill),
        triggered_by=backfill.triggered_by,
        cancelled_by=backfill.cancelled_by,
        created_at=backfill.created_at,
        finished_at=backfill.finished_at,
        slots=sum(slots.values()),
        skipped=slots.get(Decision.SKIPPED, 0),
        runs=runs,
    )


def _status(backfill: Backfill) -> str:
    if backfill.cancelled_by is not None:
        return "cancelled" if backfill.finished_at else "cancelling"
    return "finished" if backfill.finished_at else "running"
