"""Who did what, when and from where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from pipeline.models import Audit


@dataclass(frozen=True)
class AuditEntry:
    """One act; `subject` is what it was done to, by `kind`, and `at` is UTC."""

    id: UUID
    at: datetime
    action: str
    kind: str
    subject: str
    schedule: str | None
    by: str
    source: str
    address: str | None
    detail: dict[str, Any]


def audit(
    session: Session, subject: str | None = None, since: datetime | None = None, limit: int | None = None
) -> list[AuditEntry]:
    """The newest acts first.

    `subject` is a schedule's key (all that was done to it and its runs), or the id, or its beginning, of a run or of
    whatever else was acted on.
    """
    statement = select(Audit).order_by(Audit.at.desc(), Audit.id.desc()).limit(limit)
    if subject is not None:
        begins = Audit.subject.startswith(subject.lower(), autoescape=True)
        statement = statement.where(or_(Audit.schedule_key == subject, Audit.subject == subject, begins))
    if since is not None:
        statement = statement.where(Audit.at >= since)
    return [_entry(row) for row in session.scalars(statement)]


def _entry(row: Audit) -> AuditEntry:
    return AuditEntry(
        id=row.id,
        at=row.at,
        action=row.action,
        kind=row.kind,
        subject=row.subject,
        schedule=row.schedule_key,
        by=row.by,
        source=row.source,
        address=row.address,
        detail=row.detail,
    )
