"""Who did what, when and from where."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Select, literal, or_, select, tuple_
from sqlalchemy.orm import Session

from pipeline.models import Audit
from pipeline.services.answers import marks


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


@dataclass(frozen=True)
class AuditPage:
    """Some acts, the newest first; `next` is the mark that the page behind them begins with, None for the last page."""

    acts: list[AuditEntry]
    next: str | None


def audit(
    session: Session, subject: str | None = None, since: datetime | None = None, limit: int | None = None
) -> list[AuditEntry]:
    """The newest acts first.

    `subject` is a schedule's key (all that was done to it and its runs), or the id, or its beginning, of a run or of
    whatever else was acted on.
    """
    return [_entry(row) for row in session.scalars(_fitting(subject, since).limit(limit))]


def audit_page(
    session: Session, subject: str | None, since: datetime | None, *, limit: int, after: str | None
) -> AuditPage:
    """The same page by page, from the mark `after` on. Raises Refused for a mark that is none."""
    statement = _fitting(subject, since)
    if after is not None:
        at, act = marks.place(after, datetime, UUID)
        statement = statement.where(
            tuple_(Audit.at, Audit.id) < tuple_(literal(at, Audit.at.type), literal(act, Audit.id.type))
        )
    found = [_entry(row) for row in session.scalars(statement.limit(limit + 1))]
    shown = found[:limit]
    return AuditPage(shown, marks.mark(shown[-1].at, shown[-1].id) if len(found) > limit else None)


def _fitting(subject: str | None, since: datetime | None) -> Select[Audit]:
    statement = select(Audit).order_by(Audit.at.desc(), Audit.id.desc())
    if subject is not None:
        begins = Audit.subject.startswith(subject.lower(), autoescape=True)
        statement = statement.where(or_(Audit.schedule_key == subject, Audit.subject == subject, begins))
    return statement if since is None else statement.where(Audit.at >= since)


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
