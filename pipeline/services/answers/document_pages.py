"""A run's documents, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.models import Document, Run


@dataclass(frozen=True)
class DocumentRow:
    """A document: its title where that says more than its key, and why it was not made."""

    id: UUID
    key: str
    title: str | None
    status: str
    rows: int
    pages: int | None
    error: str | None


@dataclass(frozen=True)
class DocumentPage:
    """Some documents; `next` is the key that the page behind them begins after."""

    documents: list[DocumentRow]
    next: str | None


def document_page(
    session: Session,
    run: Run,
    *,
    status: str | None = None,
    text: str | None = None,
    after: str | None = None,
    limit: int = 24,
) -> DocumentPage:
    """The run's documents by key, after the key `after`, or the first; `text` is the beginning of keys."""
    statement = select(Document).where(Document.run_id == run.id)
    if status:
        statement = statement.where(Document.status == status)
    if text:
        statement = statement.where(Document.key.istartswith(text, autoescape=True))
    if after is not None:
        statement = statement.where(Document.key > after)
    rows = session.scalars(statement.order_by(Document.key).limit(limit + 1)).all()
    found = [_document(row) for row in rows[:limit]]
    return DocumentPage(found, found[-1].key if len(rows) > limit else None)


def _document(row: Document) -> DocumentRow:
    named = (row.context or {}).get("title")
    return DocumentRow(row.id, row.key, str(named) if named else None, row.status, row.rows, row.pages, row.error)
