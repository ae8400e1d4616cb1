"""Runs, documents and deliveries by schedule and month: what is there and, in numbers, what was purged."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import UTC
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from pipeline.bulk import insert_new
from pipeline.models import Delivery, Document, Run, Total

KINDS = ("runs", "documents", "deliveries")
# Kind and status, as `deliveries` and `accepted`.
Counts = Counter[tuple[str, str]]
Months = dict[tuple[str, str], Counts]


class Numbers:
    """What is about to go, counted by schedule and month."""

    def __init__(self) -> None:
        self.months: Months = defaultdict(Counter)

    def add(self, run: Run, kind: str, status: str) -> None:
        month = run.due_at.astimezone(UTC).strftime("%Y-%m")
        self.months[run.schedule_key, month][kind, status] += 1


def add(session: Session, numbers: Numbers) -> None:
    """Keep the numbers, in the transaction that deletes the rows: each row counts once."""
    for (key, month), counts in sorted(numbers.months.items()):
        insert_new(session, Total, [{"schedule_key": key, "month": month, "counts": {}}])
        mine = select(Total).where(Total.schedule_key == key, Total.month == month).with_for_update()
        row = session.scalars(mine.execution_options(populate_existing=True)).one()
        kept = {kind: dict(by_status) for kind, by_status in row.counts.items()}
        for (kind, status), count in counts.items():
            by_status = kept.setdefault(kind, {})
            by_status[status] = by_status.get(status, 0) + count
        row.counts = kept
        session.flush()


def months(session: Session, schedule: str | None = None) -> Months:
    """All that there was, by schedule and month (UTC) that the runs were due in."""
    found: Months = defaultdict(Counter)
    purged = select(Total).where(Total.schedule_key == schedule) if schedule else select(Total)
    for row in session.scalars(purged):
        for kind, by_status in row.counts.items():
            for status, count in by_status.items():
                found[row.schedule_key, row.month][kind, status] += count
    month = _month(session)
    tables: tuple[Any, ...] = (Run, Document, Delivery)
    for table in tables:
        counted = select(Run.schedule_key, month, table.status, func.count())
        counted = counted if table is Run else counted.join(Run, Run.id == table.run_id)
        counted = counted.where(Run.schedule_key == schedule) if schedule else counted
        for key, name, status, count in session.execute(counted.group_by(Run.schedule_key, month, table.status)):
            found[key, name][table.__tablename__, status] += count
    return found


def _month(session: Session) -> ColumnElement[str]:
    if session.get_bind().dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", Run.due_at), "YYYY-MM")
    return func.strftime("%Y-%m", Run.due_at)
