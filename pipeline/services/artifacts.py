"""Artifacts as rows: what was stored, under which name a run knows it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from pipeline.bulk import CHUNK, among, insert_new
from pipeline.models import Artifact, RunArtifact, new_id

# Younger ones may belong to a step that is still at work: no step takes longer than an hour.
A_DAY = timedelta(days=1)
KNOWN = exists().where(RunArtifact.artifact_id == Artifact.id)


@dataclass(frozen=True)
class StoredFile:
    """Bytes that lie in the store, about to be recorded: `size` in bytes, `uri` containing the sha256."""

    name: str
    sha256: str
    size: int
    uri: str
    kind: str
    media_type: str
    document_id: UUID | None = None
    format: str | None = None


def record(session: Session, run_id: UUID, files: Sequence[StoredFile], now: datetime) -> None:
    """Record stored files under their names in the run; a name recorded again points to the newest bytes."""
    if not files:
        return
    rows = [
        {
            "id": new_id(),
            "sha256": file.sha256,
            "kind": file.kind,
            "media_type": file.media_type,
            "size": file.size,
            "uri": file.uri,
            "created_at": now,
        }
        for file in {file.uri: file for file in files}.values()
    ]
    ids = _ids(session, rows)
    session.execute(
        delete(RunArtifact).where(RunArtifact.run_id == run_id, RunArtifact.name.in_([file.name for file in files]))
    )
    links = [
        {
            "run_id": run_id,
            "name": file.name,
            "artifact_id": ids[file.uri],
            "document_id": file.document_id,
            "format": file.format,
        }
        for file in files
    ]
    insert_new(session, RunArtifact, links)


def _ids(session: Session, rows: Sequence[dict[str, Any]]) -> dict[str, UUID]:
    """Insert artifacts; their ids by URI.

    One that is there counts as stored now: retention spares it or, if it was faster, the row is made anew.
    """
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    table = Artifact.__table__
    statement = dialect.insert(table)
    again = statement.on_conflict_do_update(
        index_elements=[table.c.uri], set_={"created_at": statement.excluded.created_at}
    )
    # In one order, so that two who record the same bytes wait for each other in one direction only.
    ordered = sorted(rows, key=lambda row: str(row["uri"]))
    return dict(session.connection().execute(again.returning(table.c.uri, table.c.id), ordered).all())


def uri(session: Session, run_id: UUID, name: str) -> str | None:
    """Where the bytes lie that the run knows as `name`."""
    statement = select(Artifact.uri).join(RunArtifact).where(RunArtifact.run_id == run_id, RunArtifact.name == name)
    return session.scalar(statement)


def newest_uri(session: Session) -> str | None:
    """Where the artifact lies that was stored last: the store has it, unless it is another one."""
    return session.scalar(select(Artifact.uri).order_by(Artifact.id.desc()).limit(1))


def of_documents(session: Session, document_ids: Sequence[UUID]) -> dict[UUID, dict[str, Artifact]]:
    """The stored files of documents, by document and format."""
    statement = select(RunArtifact.document_id, RunArtifact.format, Artifact).join(Artifact)
    found: dict[UUID, dict[str, Artifact]] = {}
    for document_id, kind, artifact in among(session, statement, document_ids):
        if document_id is not None and kind is not None:
            found.setdefault(document_id, {})[kind] = artifact
    return found


def unreferred(session: Session, before: datetime, limit: int = CHUNK) -> Sequence[Artifact]:
    """Up to `limit` artifacts that were stored before `before` (UTC) and that no run knows."""
    return session.scalars(select(Artifact).where(Artifact.created_at < before, ~KNOWN).limit(limit)).all()


def unreferred_size(session: Session, before: datetime) -> tuple[int, int]:
    """How many artifacts that were stored before `before` (UTC) no run knows, and their bytes."""
    sums = select(func.count(), func.coalesce(func.sum(Artifact.size), 0))
    count, size = session.execute(sums.where(Artifact.created_at < before, ~KNOWN)).one()
    return count, int(size)


def forget(session: Session, ids: Sequence[UUID]) -> int:
    """Drop the rows of artifacts whose bytes are gone, but not of one that a run has come to know since; how many.

    Bytes first, then rows: a crash in between is mended by the next call, where bytes without a row would lie for ever.
    """
    mine = select(Artifact.id).where(Artifact.id.in_(ids), ~KNOWN).with_for_update(skip_locked=True)
    gone = delete(Artifact).where(Artifact.id.in_(session.scalars(mine).all()))
    return session.connection().execute(gone).rowcount
