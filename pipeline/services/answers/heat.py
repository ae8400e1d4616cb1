"""A schedule's slots day by day, for a calendar that shows at a glance when something went wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import BigInteger, cast, extract, func, select
from sqlalchemy.orm import Session

from pipeline import timing
from pipeline.models import Run, Slot
from pipeline.services.answers.slots import Span, zone

# Zones differ by quarters of an hour: slots of one quarter are of one day, wherever that is.
QUARTER = 900


@dataclass(frozen=True)
class SlotDay:
    """The slots that were due on one day of the schedule's zone.

    `decisions` counts them by what was decided, `runs` the runs of those that fired by how they stand; a run that has
    been purged is counted in `decisions` only.
    """

    day: date
    decisions: dict[str, int]
    runs: dict[str, int]


def slot_days(session: Session, key: str, span: Span) -> list[SlotDay]:
    """The days in `span` on which slots were decided, the oldest first, backfilled ones included. Raises NotFound."""
    local = timing.find_zone(zone(session, key))
    quarter = cast(extract("epoch", Slot.due_at), BigInteger) // QUARTER
    columns = select(quarter, Slot.decision, Run.status, func.count()).outerjoin(Run, Run.id == Slot.run_id)
    mine = columns.where(Slot.schedule_key == key)
    if span.since is not None:
        mine = mine.where(Slot.due_at >= span.since)
    if span.until is not None:
        mine = mine.where(Slot.due_at < span.until)
    decisions: dict[date, Counter[str]] = defaultdict(Counter)
    runs: dict[date, Counter[str]] = defaultdict(Counter)
    for number, decision, status, count in session.execute(mine.group_by(quarter, Slot.decision, Run.status)):
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=number * QUARTER)
        day = at.astimezone(local).date()
        decisions[day][decision] += count
        if status is not None:
            runs[day][status] += count
    return [SlotDay(day, dict(decisions[day]), dict(runs[day])) for day in sorted(decisions)]
