"""The stored files of a run's documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Artifact, Document, Run, RunArtifact


@dataclass(frozen=True)
class DocumentFile:
    """One document in one format, as it lies in the store; `size` in bytes."""

    document_id: UUID
    key: str
    format: str
    media_type: str
    size: int
    pages: int | None
    sha256: str
    uri: str


def files(
    session: Session, run: Run, keys: Sequence[str] = (), *, of: Sequence[UUID] | None = None
) -> list[DocumentFile]:
    """The files of the run's documents by key and format; only those of `keys` if any are given, or of the ids `of`.

    Raises NotFound, with what there is or why there is none, for a key without a file.
    """
    joined = select(Document, RunArtifact.format, Artifact).join(RunArtifact, RunArtifact.document_id == Document.id)
    statement = joined.join(Artifact).where(Document.run_id == run.id)
    if keys:
        statement = statement.where(Document.key.in_(keys))
    if of is not None:
        statement = statement.where(Document.id.in_(of))
    rows = session.execute(statement.order_by(Document.key, RunArtifact.format))
    found = [
        DocumentFile(
            document_id=document.id,
            key=document.key,
            format=kind or "",
            media_type=artifact.media_type,
            size=artifact.size,
            pages=document.pages,
            sha256=artifact.sha256,
            uri=artifact.uri,
        )
        for document, kind, artifact in rows
    ]
    for key in keys:
        if not any(file.key == key for file in found):
            raise NotFound(_missing(session, run, key))
    return found


def _missing(session: Session, run: Run, key: str) -> str:
    document = session.scalar(select(Document).where(Document.run_id == run.id, Document.key == key))
    if document is not None:
        return f'the document "{key}" has no file: it is {document.status}' + (
            f": {document.error}" if document.error else ""
        )
    keys = select(Document.key).where(Document.run_id == run.id).order_by(Document.key)
    known = session.scalars(keys.limit(10_000)).all()
    held = f"it has {', '.join(known[:5]) or 'none'}{' …' if len(known) > 5 else ''}"
    return f'the run has no document "{key}": {did_you_mean(key, known, held)}'
