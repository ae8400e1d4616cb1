"""What a run has stored: documents, files of its steps, and the data that it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from pipeline.errors import NotFound
from pipeline.mistakes import did_you_mean
from pipeline.models import Artifact, Document, Run, RunArtifact
from pipeline.services import documents
from pipeline.services.answers import marks


@dataclass(frozen=True)
class ArtifactDetail:
    """One stored file, as the run knows it by `name`; `size` in bytes, `file_name` to save it under.

    `kind` is document, or file for what a step of a workflow has put; dataset, batch and bundle are what they are made
    of. `key`, `format` and `pages` are a document's.
    """

    id: UUID
    name: str
    kind: str
    media_type: str
    size: int
    sha256: str
    file_name: str
    key: str | None
    format: str | None
    pages: int | None
    created_at: datetime


@dataclass(frozen=True)
class ArtifactPage:
    """Some of a run's artifacts, by name; `next` is the mark of the page behind them."""

    artifacts: list[ArtifactDetail]
    next: str | None


def artifact_page(
    session: Session,
    run: Run,
    *,
    kind: str | None = None,
    key: str | None = None,
    limit: int = 100,
    after: str | None = None,
) -> ArtifactPage:
    """What the run has stored, from the mark `after` on; of one kind, or of one key's document, if that is said."""
    rows = _rows(run)
    if kind is not None:
        rows = rows.where(Artifact.kind == kind)
    if key is not None:
        rows = rows.where(Document.key == key)
    if after is not None:
        rows = rows.where(RunArtifact.name > marks.place(after, str)[0])
    found = [_detail(run, *row) for row in session.execute(rows.order_by(RunArtifact.name).limit(limit + 1))]
    shown = found[:limit]
    return ArtifactPage(shown, marks.mark(shown[-1].name) if len(found) > limit else None)


def artifact(session: Session, run: Run, name: str) -> ArtifactDetail:
    """The one that the run knows by this name. Raises NotFound, with the nearest there is."""
    row = session.execute(_rows(run).where(RunArtifact.name == name)).one_or_none()
    if row is None:
        known = session.scalars(select(RunArtifact.name).where(RunArtifact.run_id == run.id).limit(1000))
        raise NotFound(f'run {run.id} has stored nothing as "{name}"{did_you_mean(name, known, lead=": ")}')
    return _detail(run, *row)


def _rows(run: Run) -> Select[RunArtifact, Artifact, Document]:
    joined = select(RunArtifact, Artifact, Document).join(Artifact, Artifact.id == RunArtifact.artifact_id)
    return joined.outerjoin(Document, Document.id == RunArtifact.document_id).where(RunArtifact.run_id == run.id)


def _detail(run: Run, named: RunArtifact, stored: Artifact, document: Document | None) -> ArtifactDetail:
    return ArtifactDetail(
        id=stored.id,
        name=named.name,
        kind=stored.kind,
        media_type=stored.media_type,
        size=stored.size,
        sha256=stored.sha256,
        file_name=documents.artifact_name(run, named.name, stored.uri, document.key if document else None),
        key=document.key if document else None,
        format=named.format,
        pages=document.pages if document else None,
        created_at=stored.created_at,
    )
