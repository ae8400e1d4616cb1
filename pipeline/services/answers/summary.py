"""One run in a line: what, when, why, how it stands, and how much of it arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK
from pipeline.models import FINAL_RUN, Delivery, DeliveryStatus, Document, DocumentStatus, Run
from pipeline.services.answers import plain

# What nobody waits for: left out on purpose, each with its reason.
LEFT_OUT = frozenset({DeliveryStatus.SKIPPED, DeliveryStatus.SUPPRESSED})
Counts = dict[str, int]


@dataclass(frozen=True)
class RunSummary:
    """A run and its counts; instants are UTC, `zone` is where its schedule lives, `period` has ISO instants."""

    id: UUID
    schedule: str
    title: str
    status: str
    waiting_for: str | None
    error: str | None
    period: dict[str, str]
    zone: str
    due_at: datetime
    trigger: str
    triggered_by: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    documents: Counts
    deliveries: Counts

    @property
    def over(self) -> bool:
        return self.status in FINAL_RUN

    @property
    def seconds(self) -> float | None:
        """How long it took; None unless it has started and ended."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    @property
    def documents_wanted(self) -> int:
        return sum(self.documents.values()) - self.documents[DocumentStatus.SKIPPED]

    @property
    def deliveries_wanted(self) -> int:
        return sum(self.deliveries.values()) - sum(self.deliveries[status] for status in LEFT_OUT)

    @property
    def all_arrived(self) -> bool:
        """Whether every wanted document was rendered and every wanted delivery accepted."""
        rendered = self.documents[DocumentStatus.RENDERED] == self.documents_wanted
        return rendered and self.deliveries[DeliveryStatus.ACCEPTED] == self.deliveries_wanted


def summarise(session: Session, runs: Sequence[Run]) -> list[RunSummary]:
    """The runs, in the order given, with the counts of their documents and deliveries."""
    ids = [run.id for run in runs]
    documents = counted(session, Document, DocumentStatus, ids)
    deliveries = counted(session, Delivery, DeliveryStatus, ids)
    return [_summary(run, documents[run.id], deliveries[run.id]) for run in runs]


def counted(session: Session, table: Any, statuses: Any, run_ids: Sequence[UUID]) -> dict[UUID, Counts]:
    """How many rows of each run stand where; every status is there, most are 0."""
    found: dict[UUID, Counts] = {run_id: {str(status): 0 for status in statuses} for run_id in run_ids}
    for at in range(0, len(run_ids), CHUNK):
        mine = table.run_id.in_(run_ids[at : at + CHUNK])
        statement = select(table.run_id, table.status, func.count()).where(mine)
        for run_id, status, count in session.execute(statement.group_by(table.run_id, table.status)):
            found[run_id][status] = count
    return found


def _summary(run: Run, documents: Counts, deliveries: Counts) -> RunSummary:
    return RunSummary(
        id=run.id,
        schedule=run.schedule_key,
        title=title(run.definition, run.schedule_key),
        status=run.status,
        waiting_for=run.waiting_for,
        error=run.error,
        period=plain.period(run.period),
        zone=run.zone,
        due_at=run.due_at,
        trigger=run.trigger,
        triggered_by=run.triggered_by,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        documents=documents,
        deliveries=deliveries,
    )


def title(definition: Mapping[str, Any], key: str) -> str:
    """What people call it: the report's title, else the schedule's key."""
    report = definition.get("report")
    return str((report.get("title") if isinstance(report, Mapping) else None) or key)
